"""A section image seen at the pixel size of a network, resampled where it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cytokeras.errors import UserError

# Pixel sizes that differ by less are taken as equal: over a 150 mm section 0.1 % is 0.15 mm, below a cortical
# layer, and headers round their pixel sizes by about as much.
_SAME_SIZE_TOLERANCE = 1e-3

# Source pixels held in memory while one strip is resampled (float32: 64 MB).
_STRIP_PIXELS = 16_000_000


class ReadableImage(Protocol):
    """What is read from: `SectionImage`, `ArrayImage` or anything with the same interface."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def pixel_size_um(self) -> float: ...
    @property
    def background(self) -> int: ...
    @property
    def levels(self) -> Sequence[float]: ...
    def read(self, row: int, column: int, height: int, width: int, level: int = 0) -> np.ndarray: ...


class ResampledImage:
    """Reads an image on the fixed pixel grid of another pixel size.

    Pixel k of the grid covers the image from pixel edge ``k * factor`` to ``(k + 1) * factor``, wherever a
    read begins, so neighbouring reads agree bit by bit. Shrinking averages exactly the covered area,
    enlarging interpolates linearly; the coarsest pyramid level that is not coarser than the grid is read.

    Attributes:
        shape: Rows and columns of the grid (the last ones cover at least half a pixel of the image).
        factor: Image pixels per grid pixel; that of a pyramid level where it differs by at most 0.1 %.
        pixel_size_um: Edge length of a grid pixel in µm.
        background: Value outside the image, uint8.
    """

    def __init__(self, image: ReadableImage, pixel_size_um: float) -> None:
        if not math.isfinite(pixel_size_um) or pixel_size_um <= 0:
            raise UserError(f"pixel_size_um: expected a positive number of µm, received {pixel_size_um!r}.")
        self.image = image
        self.background = int(image.background)
        wanted = pixel_size_um / image.pixel_size_um
        self.level, level_factor = _pick_level(image.levels, wanted)
        same_size = abs(level_factor / wanted - 1) <= _SAME_SIZE_TOLERANCE
        self.factor = level_factor if same_size else wanted
        self._level_step = self.factor / level_factor
        self.pixel_size_um = self.factor * image.pixel_size_um
        self.shape = (
            _resampled_size(image.shape[0], self.factor),
            _resampled_size(image.shape[1], self.factor),
        )

    def read(self, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Return (height, width) uint8 from grid pixel (row, column) on; outside the image the background."""
        if self._level_step == 1.0:
            return self.image.read(row, column, height, width, level=self.level)
        source_width = math.ceil(width * self._level_step) + 2
        strip = max(1, int(_STRIP_PIXELS / (source_width * self._level_step)))
        parts = [
            self._read_strip(top, column, min(strip, row + height - top), width)
            for top in range(row, row + height, strip)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def to_pixel(self, points: np.ndarray) -> np.ndarray:
        """Turn grid pixels, (N, 2) row and column, into image pixels at full resolution, (N, 2) float64."""
        return (np.asarray(points, np.float64) + 0.5) * self.factor - 0.5

    def from_pixel(self, points: np.ndarray) -> np.ndarray:
        """Turn image pixels at full resolution, (N, 2), into fractional grid pixels, (N, 2) float64."""
        return (np.asarray(points, np.float64) + 0.5) / self.factor - 0.5

    def _read_strip(self, row: int, column: int, height: int, width: int) -> np.ndarray:
        rows, row_weights = _taps(row, height, self._level_step)
        columns, column_weights = _taps(column, width, self._level_step)
        top, left = int(rows[0]), int(columns[0])
        source = self.image.read(
            top,
            left,
            int(rows[-1]) + row_weights.shape[1] - top,
            int(columns[-1]) + column_weights.shape[1] - left,
            level=self.level,
        ).astype(np.float32)
        across = _weighted(source.T, columns - left, column_weights).T
        resampled = _weighted(across, rows - top, row_weights)
        return np.rint(resampled).astype(np.uint8)


def _weighted(source: np.ndarray, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum ``weights.shape[1]`` successive rows of ``source`` from each of ``first`` on, weighted."""
    total = source[first] * weights[:, :1]
    for tap in range(1, weights.shape[1]):
        total += source[first + tap] * weights[:, tap : tap + 1]
    return total


def _taps(start: int, count: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the first source pixel (count,) and the weights (count, taps) of ``count`` grid pixels."""
    index = np.arange(start, start + count, dtype=np.float64)
    if step < 1:
        centre = (index + 0.5) * step - 0.5
        first = np.floor(centre)
        fraction = centre - first
        weights = np.stack([1 - fraction, fraction], axis=1)
        return first.astype(np.int64), weights.astype(np.float32)
    low, high = index * step, (index + 1) * step
    first = np.floor(low)
    edges = first[:, None] + np.arange(math.ceil(step) + 1)
    covered = np.minimum(high[:, None], edges + 1) - np.maximum(low[:, None], edges)
    return first.astype(np.int64), (np.clip(covered, 0, None) / step).astype(np.float32)


def _resampled_size(size: int, factor: float) -> int:
    return max(1, round(size / factor))


def _pick_level(levels: Sequence[float], factor: float) -> tuple[int, float]:
    """Return the coarsest pyramid level (index, downsampling) that is not coarser than ``factor``."""
    fitting = [
        (float(level), index) for index, level in enumerate(levels) if level <= factor * (1 + _SAME_SIZE_TOLERANCE)
    ]
    level_factor, index = max(fitting, default=(1.0, 0))
    return index, level_factor
