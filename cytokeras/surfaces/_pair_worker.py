"""One part of a long table of pairs: ``python -m cytokeras.surfaces._pair_worker FOLDER PART``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from cytokeras.surfaces._pair_runs import run_here
from cytokeras.surfaces._unfolding import PointLinks


def _main(folder: Path, number: int) -> None:
    data, indices, indptr = (
        np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False) for key in ("data", "indices", "indptr")
    )
    graph = csr_array((data, indices, indptr), shape=(len(indptr) - 1, len(indptr) - 1))
    with np.load(folder / f"chunk{number}.npz", allow_pickle=False) as chunk:
        sources = PointLinks(chunk["source_nodes"], chunk["source_lengths"])
        targets = PointLinks(chunk["target_nodes"], chunk["target_lengths"])
        source_of = chunk["source_of"]
    np.save(folder / f"result{number}.npy", run_here(graph, sources, source_of, targets, show=False))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
