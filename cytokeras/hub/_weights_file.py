"""Reading ``model.weights.h5`` without trusting it: every array is where it belongs and is the one that was written.

Keras finds the arrays of the file by the class and the number of their layer, so that a layer more or less shifts all
that follow without a word. Here each array is found by the name of its layer, which Keras writes beside it, and is
compared with the SHA-256 that ``metadata.json`` states for it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytokeras.errors import UserError

_DEEPEST_GROUP = 16  # Keras nests two groups a level of models; deeper ones may be a circle of links


@dataclass(frozen=True)
class Variable:
    """Name, shape and type of one weight array, as listed in ``metadata.json``.

    Attributes:
        path: Layer and variable, ``"texture_block1_conv1/kernel"``.
        shape: Shape.
        dtype: NumPy name of the type.
        sha256: SHA-256 of the values in C order, little endian; None for a model without values.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str | None = None

    def __str__(self) -> str:
        return f"{self.path} {self.shape}"

    @property
    def layer(self) -> str:
        """Path of the layer that the variable belongs to."""
        return self.path.rpartition("/")[0]


def sha256_of_array(array: np.ndarray) -> str:
    """Return the SHA-256 of the values of an array, in C order and little endian."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()


def read_weights(path: Path, variables: Sequence[Variable], where: str) -> dict[str, np.ndarray]:
    """Return path of a variable -> its values; nothing is read before names and shapes of all agree.

    Args:
        path: The HDF5 file.
        variables: What it has to hold.
        where: Name of the file in error messages.

    Raises:
        UserError: The file is no readable HDF5 file, holds links, other arrays than those listed, arrays of other
            values or in other places, or values that are NaN or infinite.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = _match(_arrays(file, "", "", where), variables, where)
            return {variable.path: _read(item, variable, where) for variable, item in found}
    except (OSError, KeyError, RuntimeError) as error:
        raise UserError(f"{where}: is damaged, no readable HDF5 file ({error}).") from error


def _arrays(group: Any, prefix: str, layer: str, where: str) -> Iterator[tuple[str, Any]]:
    """Yield the layer name and the array of everything in the file."""
    import h5py

    if prefix.count("/") > _DEEPEST_GROUP:
        raise UserError(f"{where}: {prefix} is nested too deeply; no weights of Keras are.")
    for name in group:
        # Links to other places and arrays kept outside the file could read any file of this machine.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UserError(f"{where}: {prefix}{name} is a link to another place, which is refused.")
        item = group[name]
        if isinstance(item, h5py.Group):
            inner = str(item.attrs["name"]) if "name" in item.attrs else layer
            yield from _arrays(item, f"{prefix}{name}/", inner, where)
        elif not _is_plain(item):
            raise UserError(f"{where}: {prefix}{name} is not stored as a plain array of numbers.")
        else:
            yield layer, item


def _is_plain(item: Any) -> bool:
    import h5py

    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub":
        return False
    return not (item.is_virtual or item.external) and item.chunks is None


def _match(arrays: Iterator[tuple[str, Any]], variables: Sequence[Variable], where: str) -> list[tuple[Variable, Any]]:
    """Pair every listed variable with its array, by the name of the layer and the number within the layer."""
    by_layer: dict[str, dict[str, Any]] = defaultdict(dict)
    surplus = []
    for layer, item in arrays:
        number = item.name.rpartition("/")[2]
        if by_layer[layer].setdefault(number, item) is not item:
            surplus.append(item.name)
    pairs = []
    numbers: dict[str, int] = defaultdict(int)
    for variable in variables:
        item = by_layer[variable.layer].pop(str(numbers[variable.layer]), None)
        numbers[variable.layer] += 1
        if item is None:
            raise UserError(f"{where}: has no array for {variable}, which metadata.json lists.")
        _check_stored(item, variable, where)
        pairs.append((variable, item))
    surplus += [item.name for items in by_layer.values() for item in items.values()]
    if surplus:
        raise UserError(f"{where}: holds {surplus[0].lstrip('/')}, which belongs to no variable of metadata.json.")
    return pairs


def _check_stored(item: Any, variable: Variable, where: str) -> None:
    name = item.name.lstrip("/")
    if item.shape != variable.shape or str(item.dtype) != variable.dtype:
        raise UserError(
            f"{where}: {name} is {item.shape} {item.dtype}; metadata.json lists {variable} {variable.dtype}."
        )
    # An array that was never written takes no place in the file, and all the memory when it is read.
    if item.id.get_storage_size() != item.nbytes:
        raise UserError(f"{where}: {name} of shape {item.shape} is not stored as a plain array of numbers.")


def _read(item: Any, variable: Variable, where: str) -> np.ndarray:
    name = item.name.lstrip("/")
    array: np.ndarray = item[()]
    if not np.all(np.isfinite(array)):
        raise UserError(f"{where}: {name} holds NaN or infinite values; these weights are useless.")
    if sha256_of_array(array) != variable.sha256:
        raise UserError(
            f"{where}: {name} does not hold the values that metadata.json states for {variable.path}; arrays were "
            "replaced or swapped."
        )
    return array
