"""Weights and batches that depend on nothing but their names and shapes, so that any framework can draw the same."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES, AREAS = 16, 13
UNLABELLED = 255
OUTPUT_SCALE_MM = 50.0
WEIGHT_DECAY = 0.001  # lambda of Spitzer et al. 2018, eq. 3
ALPHA = 10.0
MOMENTUM = 0.9
CLIPPED_TO = 1.0  # largest norm of the gradient; without it the squared distance makes the first steps chaotic


@dataclass(frozen=True)
class Task:
    """A network and its batches.

    Attributes:
        network: ``"siamese"`` or ``"unet"``.
        pixel_size_um: 2 (1019 and 2025 px) or 16 (132 and 258 px).
        batch_size: Pairs or patches in a batch.
        widths: Channels of blocks 1 to 6.
    """

    network: str
    pixel_size_um: float = 2.0
    batch_size: int = 4
    widths: tuple[int, ...] = (16, 32, 64, 64, 128, 128)

    @property
    def learning_rate(self) -> float:
        """Of SGD with Nesterov momentum; larger ones let rounding grow faster than training proceeds."""
        return 1e-4 if self.network == "siamese" else 0.001

    @property
    def patch_px(self) -> int:
        """Side of a patch."""
        fine = self.pixel_size_um == 2.0
        return (1019 if fine else 132) if self.network == "siamese" else (2025 if fine else 258)

    def batch(self, number: int) -> tuple[dict[str, npt.NDArray[Any]], Any]:
        """Inputs and targets of batch ``number``, as the pipelines give them."""
        rng = np.random.default_rng([7, number])
        if self.network == "siamese":
            patches = {name: self._images(rng) for name in ("patch_a", "patch_b")}
            places = rng.normal(0, 40, (2, self.batch_size, 3)).astype(np.float32)
            distance = rng.uniform(5, 120, self.batch_size).astype(np.float32)
            return patches, {"distance": distance, "coordinates_a": places[0], "coordinates_b": places[1]}
        atlas = rng.random((self.batch_size, 256, 256, AREAS), dtype=np.float32)
        labels = rng.integers(0, CLASSES, (self.batch_size, 68, 68)).astype(np.uint8)
        labels[:, :20] = UNLABELLED
        return {"image": self._images(rng), "atlas": atlas}, labels

    def _images(self, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Coarse and fine structure: a network finds patches of mere noise all alike, and training becomes chaotic."""
        side = self.patch_px
        coarse = rng.integers(0, 200, (self.batch_size, 8, 8), dtype=np.uint8)
        enlarged = coarse.repeat(-(-side // 8), axis=1).repeat(-(-side // 8), axis=2)[:, :side, :side]
        return (enlarged + rng.integers(0, 56, enlarged.shape, dtype=np.uint8))[..., None]


def draw_weight(layer: str, kind: str, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """The initial values of a variable by its name, in Keras' order of axes.

    Args:
        layer: Name of the layer.
        kind: "kernel", "gamma", "beta", "bias", "moving_mean" or "moving_variance".
        shape: Shape; a kernel is (height, width, channels in, channels out), transposed ones the last two the other way
            round.
    """
    if kind in ("gamma", "moving_variance"):
        return np.ones(shape, np.float32)
    if kind != "kernel":
        return np.zeros(shape, np.float32)
    inputs = np.prod(shape[:-2], dtype=int) * shape[-1 if layer.endswith("_up") else -2]
    values = np.random.default_rng(zlib.crc32(layer.encode())).normal(0, np.sqrt(2.0 / inputs), shape)
    return values.astype(np.float32)
