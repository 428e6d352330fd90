"""Distances of many pairs with few single-source runs, in this process or in several.

The workers are plain Python processes that read arrays from a folder: scipy's Dijkstra holds the interpreter
lock, so threads gain nothing, and multiprocessing would ask every user's script for a ``__main__`` guard and
import whatever that script imports.
"""

from __future__ import annotations

import heapq
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from cytokeras._progress import progress
from cytokeras.surfaces._unfolding import PointLinks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BATCH_BYTES = 16 * 2**20  # one batch of distance rows, float64
_CHUNKS_PER_WORKER = 4  # several even out the load …
_CHUNK_SOURCES = 200  # … but each starts a process (0.5 to 1 s), which small ones would not be worth


def choose_sources(first: Ints, second: Ints, count: int) -> NDArray[np.bool_]:
    """Choose which end of each pair is its source, so that few points are sources (greedy vertex cover).

    Args:
        first: (N,) index of one end, 0 … count - 1.
        second: (N,) index of the other end.
        count: Number of points.

    Returns:
        (N,) bool, True where ``first`` is the source.
    """
    ends = np.concatenate([first, second])
    order = np.argsort(ends, kind="stable")
    bounds = np.searchsorted(ends[order], np.arange(count + 1))
    pair_of = order % len(first)
    degree = np.diff(bounds)
    heap = [(-int(d), point) for point, d in enumerate(degree) if d]
    heapq.heapify(heap)
    first_is_source = np.zeros(len(first), bool)
    served = np.zeros(len(first), bool)
    while heap:
        negative, point = heapq.heappop(heap)
        if degree[point] == 0:
            continue
        if -negative != degree[point]:
            heapq.heappush(heap, (-int(degree[point]), point))
            continue
        pairs = pair_of[bounds[point] : bounds[point + 1]]
        pairs = np.unique(pairs[~served[pairs]])
        served[pairs] = True
        first_is_source[pairs] = first[pairs] == point
        np.subtract.at(degree, first[pairs], 1)
        np.subtract.at(degree, second[pairs], 1)
    return first_is_source


def distance_rows(graph: csr_array, sources: PointLinks) -> Iterator[tuple[slice, Floats]]:
    """Yield (rows of ``sources``, their distances to all vertices (rows, V) float64 mm), batch by batch."""
    count = graph.shape[0]
    batch = max(1, _BATCH_BYTES // (8 * count))
    for start in range(0, len(sources), batch):
        rows = slice(start, min(start + batch, len(sources)))
        extended = _with_sources(graph, sources[rows])
        nodes = np.arange(count, extended.shape[0])
        yield rows, dijkstra(extended, directed=True, indices=nodes)[:, :count]


def _with_sources(graph: csr_array, sources: PointLinks) -> csr_array:
    """Append one node a source, with one-way links to the vertices around it."""
    exists = np.isfinite(sources.lengths)
    size = graph.shape[0] + len(sources)
    ends = graph.indptr[-1] + np.cumsum(exists.sum(axis=1))
    data = np.concatenate([graph.data, sources.lengths[exists]])
    indices = np.concatenate([graph.indices, sources.nodes[exists].astype(graph.indices.dtype)])
    indptr = np.concatenate([graph.indptr, ends.astype(graph.indptr.dtype)])
    return csr_array((data, indices, indptr), shape=(size, size))


def run_pairs(
    graph: csr_array, sources: PointLinks, source_of: Ints, targets: PointLinks, *, workers: int, show: bool
) -> Floats:
    """Return the distance of each pair through the graph, (N,) float64 mm, infinite between components.

    Args:
        graph: (V, V) symmetric lengths.
        sources: (S, K) links of the distinct sources.
        source_of: (N,) ascending index into ``sources``.
        targets: (N, K) links of the targets.
        workers: Number of processes; 1 stays in this one.
        show: Show progress, counted in sources.
    """
    if workers <= 1 or len(sources) < 2 * workers:
        return run_here(graph, sources, source_of, targets, show)
    wanted = min(workers * _CHUNKS_PER_WORKER, len(sources) // _CHUNK_SOURCES)
    chunks = np.array_split(np.arange(len(sources)), max(workers, wanted))
    result = np.empty(len(source_of))
    with tempfile.TemporaryDirectory(prefix="cytokeras-") as name:
        folder = Path(name)
        shared = {"data": graph.data, "indices": graph.indices, "indptr": graph.indptr}
        for key, array in shared.items():
            np.save(folder / f"{key}.npy", array)
        slices = []
        for number, chunk in enumerate(chunks):
            rows = slice(*np.searchsorted(source_of, [chunk[0], chunk[-1] + 1]))
            np.savez(
                folder / f"chunk{number}.npz",
                source_nodes=sources.nodes[chunk],
                source_lengths=sources.lengths[chunk],
                source_of=source_of[rows] - chunk[0],
                target_nodes=targets.nodes[rows],
                target_lengths=targets.lengths[rows],
            )
            slices.append(rows)
        with ThreadPoolExecutor(workers) as pool:
            finished = pool.map(lambda number: _run_process(folder, number), range(len(chunks)))
            for number in progress(finished, "geodesic distances, parts", len(chunks), show):
                result[slices[number]] = np.load(folder / f"result{number}.npy", allow_pickle=False)
    return result


def run_here(graph: csr_array, sources: PointLinks, source_of: Ints, targets: PointLinks, show: bool) -> Floats:
    """Do what `run_pairs` does, in this process."""
    result = np.empty(len(source_of))
    batches = distance_rows(graph, sources)
    total = -(-len(sources) // max(1, _BATCH_BYTES // (8 * graph.shape[0])))
    for rows, distances in progress(batches, "geodesic distances, batches", total, show):
        pairs = slice(*np.searchsorted(source_of, [rows.start, rows.stop]))
        line = source_of[pairs, None] - rows.start
        result[pairs] = (distances[line, targets.nodes[pairs]] + targets.lengths[pairs]).min(axis=1)
    return result


def _run_process(folder: Path, number: int) -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "cytokeras.surfaces._pair_worker", str(folder), str(number)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(f"geodesic worker failed with status {finished.returncode}: {finished.stderr}")
    return number
