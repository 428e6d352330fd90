"""One of several processes that train together (JAX): a run that is stopped and goes on, and one that is not.

At the end it prints what is said where the processes do not see the same folder.

python tests/_process_training.py FOLDER COORDINATOR PROCESSES PROCESS
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
from _dense_training import KillAt, Killed, dense_training

from cytokeras.errors import UserError
from cytokeras.training import join_hosts, training_scope


def main() -> None:
    folder, coordinator, processes, process = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    join_hosts(coordinator, processes, process)
    options = {"eager": False, "read_only": process > 0}
    with training_scope("all"):
        whole, _ = dense_training(folder / "whole", **options)
        with contextlib.suppress(Killed):
            dense_training(folder / "stopped", [KillAt(19)], **options)
        resumed, _ = dense_training(folder / "stopped", **options)
        try:
            dense_training(folder / ("stopped" if process == 0 else "elsewhere"), **options)
        except UserError as error:
            print(error)
    for name, model in (("whole", whole), ("resumed", resumed)):
        np.savez(folder / f"{name}-{process}.npz", *model.get_weights())


if __name__ == "__main__":
    main()
