"""Golden pairs: inputs and the outputs that a preset gave for them when it was written.

A SHA-256 tells that the weights are those that were written; a golden pair tells that this machine, with its versions
and its backend, makes of them what the writer's did. It is the file ``golden.npz`` of a preset, written by
``save_pretrained(folder, golden=True)`` and compared by ``cytokeras info SOURCE --check``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytokeras.errors import UserError

# Backends and processors sum in another order; a wrong layer or a wrong value range shifts outputs by far more.
TOLERANCE = 1e-4

_SEED = 0
_BLOCK = 16  # cells of one brightness, one mixture of areas
_LARGEST_BYTES = 2**30


@dataclass(frozen=True)
class GoldenPair:
    """One example.

    Attributes:
        inputs: Input name -> (1, …) array: images uint8, 0 black … 255 white; atlas float32 probabilities 0 … 1.
        outputs: Output name -> (1, …) float32 array; a model with a single output calls it ``"output"``.
    """

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    @classmethod
    def of(cls, model: Any) -> GoldenPair:
        """Make inputs (the same in every run) and predict the outputs of ``model`` for them."""
        rng = np.random.default_rng(_SEED)
        inputs = {name: _example(name, tensor.shape[1:], rng) for name, tensor in sorted(model.input.items())}
        return cls(inputs, predict(model, inputs))

    def difference(self, model: Any) -> float:
        """Return the largest difference of an output of ``model``, as a share of the largest golden value.

        Raises:
            UserError: The model has other inputs or outputs than the pair.
        """
        wanted = {name: tuple(tensor.shape[1:]) for name, tensor in model.input.items()}
        given = {name: array.shape[1:] for name, array in self.inputs.items()}
        if wanted != given:
            raise UserError(f"The golden pair has the inputs {given}; the model has {wanted}.")
        found = predict(model, self.inputs)
        shapes, expected = ({name: a.shape for name, a in outputs.items()} for outputs in (found, self.outputs))
        if shapes != expected:
            raise UserError(f"The golden pair has the outputs {expected}; the model gives {shapes}.")
        return max(
            float(np.abs(found[name] - golden).max() / np.abs(golden).max()) for name, golden in self.outputs.items()
        )

    def write(self, path: Path) -> None:
        """Write the pair as ``.npz``, compressed."""
        arrays = {f"input/{name}": array for name, array in self.inputs.items()}
        arrays |= {f"output/{name}": array for name, array in self.outputs.items()}
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # takes arrays by keyword

    @classmethod
    def read(cls, path: Path, where: str) -> GoldenPair:
        """Read a pair; ``where`` names the file in errors.

        Raises:
            UserError: The file is damaged, holds something other than arrays of numbers, or is gigantic.
        """
        parts: dict[str, dict[str, np.ndarray]] = {"input": {}, "output": {}}
        try:
            _check_sizes(path, where)
            with np.load(path, allow_pickle=False) as arrays:
                for name in arrays.files:
                    kind, _, rest = name.partition("/")
                    if kind not in parts or not rest:
                        raise UserError(f"{where}: {name} is neither an input nor an output.")
                    parts[kind][rest] = arrays[name]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{where}: is damaged, no readable archive of arrays ({error}).") from error
        return cls(parts["input"], parts["output"])


def predict(model: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return output name -> float32 array of one call; a single output is called ``"output"``."""
    import keras

    outputs = model(dict(inputs), training=False)
    outputs = outputs if isinstance(outputs, Mapping) else {"output": outputs}
    return {name: np.asarray(keras.ops.convert_to_numpy(value), np.float32) for name, value in outputs.items()}


def _example(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A patch of blocks with cells and without, or blocks of area mixtures; both small when compressed."""
    rows, columns, channels = shape
    blocks = (-(-rows // _BLOCK), -(-columns // _BLOCK))
    if name == "atlas":
        shares = rng.dirichlet(np.full(channels, 0.3), blocks)
        coarse = np.round(shares * 64) / 64
        fine = coarse.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)
        return fine[None, :rows, :columns].astype(np.float32)
    levels = rng.integers(0, 224, blocks).repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[:rows, :columns]
    grey = levels[..., None] + rng.integers(0, 32, (rows, columns, channels))
    return grey[None].astype(np.uint8)


def _check_sizes(path: Path, where: str) -> None:
    """Refuse an archive whose arrays would fill the memory, before one is read."""
    with zipfile.ZipFile(path) as archive:
        total = 0
        for entry in archive.infolist():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                if version != (1, 0):
                    raise UserError(f"{where}: {entry.filename} has array format {version}, not (1, 0).")
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                total += size
                # An array that claims more than is there would take the memory all the same.
                if dtype.kind not in "fiu" or size > entry.file_size or total > _LARGEST_BYTES:
                    raise UserError(f"{where}: {entry.filename} is no array of numbers of a sensible size ({shape}).")
