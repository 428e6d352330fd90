"""The state of a training on disk: what a stopped run needs to go on as if it had never stopped.

The order of the samples and their augmentation follow from seed and step (see ``pair_dataset``), and the networks have
no random layers. So weights, optimizer and the number of steps are the whole state; no generator has to be kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from cytokeras._files import atomic_path
from cytokeras.errors import UserError

_FORMAT = 1


def save_state(
    path: str | os.PathLike[str], model: keras.Model, optimizer: Any | None, progress: Mapping[str, Any]
) -> None:
    """Write weights, optimizer and progress into one HDF5 file, whole or not at all.

    Args:
        path: The file; an earlier state is replaced when the new one is complete.
        model: The network, with all branches.
        optimizer: Its optimizer with all that it keeps (momenta, averages, accumulated gradients, steps); None
            between two phases of a training.
        progress: JSON values that ``load_state`` gives back.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = _FORMAT
        file.attrs["progress"] = json.dumps(dict(progress))
        _write(file, "weights", model.variables)
        if optimizer is not None:
            _write(file, "optimizer", optimizer.variables)


def read_progress(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the progress that ``save_state`` was given.

    Raises:
        UserError: The file cannot be read or has another format.
    """
    with _opened(path) as file:
        progress: dict[str, Any] = json.loads(file.attrs["progress"])
        return progress


def load_state(path: str | os.PathLike[str], model: keras.Model, optimizer: Any | None) -> None:
    """Put a state back into a network and its optimizer, which must be built as they were when it was saved.

    Raises:
        UserError: The file cannot be read, or belongs to another network or optimizer; nothing is changed then.
    """
    with _opened(path) as file:
        parts = {"weights": model.variables}
        if optimizer is not None:
            parts["optimizer"] = optimizer.variables
        read = {name: _read(file, name, variables, path) for name, variables in parts.items()}
    for name, variables in parts.items():
        for variable, value in zip(variables, read[name], strict=True):
            variable.assign(value)


def _write(file: h5py.File, name: str, variables: Sequence[Any]) -> None:
    group = file.create_group(name)
    for number, variable in enumerate(variables):
        value = keras.ops.convert_to_numpy(variable.value)
        group.create_dataset(f"{number:05d}", data=value).attrs["path"] = variable.path


def _read(file: h5py.File, name: str, variables: Sequence[Any], path: Any) -> list[np.ndarray]:
    """Arrays of one part, checked against the variables they are for."""
    stored = [file[name][key] for key in sorted(file[name])] if name in file else []
    if [array.shape for array in stored] != [tuple(variable.shape) for variable in variables]:
        raise UserError(
            f"{path}: holds {len(stored)} arrays of another {'network' if name == 'weights' else 'optimizer'}, not the "
            f"{len(variables)} of this one; start the run in a new folder."
        )
    return [array[()] for array in stored]


def _opened(path: str | os.PathLike[str]) -> h5py.File:
    try:
        file = h5py.File(Path(path), "r")
    except OSError as error:
        raise UserError(f"{path}: cannot be read as the state of a training ({error}).") from error
    if file.attrs.get("format") != _FORMAT:
        found = file.attrs.get("format")
        file.close()
        raise UserError(f"{path}: is no state of a training of format {_FORMAT} (found {found}).")
    return file
