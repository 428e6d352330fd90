"""Annotations kept as a label image, which may be coarser than the section image."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain._block_reader import BlockReader
from cytokeras.brain._label_scheme import UNLABELLED
from cytokeras.brain._tiff_file import TiffFileInfo
from cytokeras.brain._tile_cache import tile_cache
from cytokeras.errors import UserError


class ImageLabels:
    """Class indices from an array or a label TIFF.

    Label pixel ``l`` is centred on image pixel ``offset + scale * l`` (rows and columns alike; pixel centres
    are integers), and every image pixel takes the label of the nearest label pixel. A label image made by
    keeping every 8th pixel from pixel 0 has ``scale=8, offset=(0, 0)``; one made by reducing 8 x 8 blocks has
    ``offset=(3.5, 3.5)``.

    Args:
        source: ``(h, w)`` uint8 array, or the path of a one-channel 8-bit TIFF; values are class indices,
            255 is not annotated.
        scale: Image pixels per label pixel, above 0.
        offset: ``(row, column)`` of the centre of label pixel (0, 0), in image pixels.

    Raises:
        UserError: The file cannot be read as labels, or the geometry is not finite and positive.
    """

    def __init__(
        self,
        source: NDArray[np.uint8] | str | os.PathLike[str],
        scale: float = 1.0,
        offset: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        if not math.isfinite(scale) or scale <= 0:
            raise UserError(f"label scale: must be a number above 0 (image px per label px); received {scale}.")
        if len(offset) != 2 or not all(math.isfinite(value) for value in offset):
            raise UserError(f"label offset: must be two finite numbers (row, column); received {offset}.")
        self.scale = float(scale)
        self.offset = (float(offset[0]), float(offset[1]))
        self.path: Path | None = None
        self._array: NDArray[np.uint8] | None = None
        self._reader: BlockReader | None = None
        if isinstance(source, np.ndarray):
            if source.ndim != 2 or source.dtype != np.uint8:
                raise UserError(
                    "labels: an array must be (height, width) uint8 class indices; "
                    f"received {source.shape} {source.dtype}."
                )
            self._array = source
            self.shape: tuple[int, int] = source.shape
        else:
            self.path = Path(source)
            level = TiffFileInfo.open(self.path).levels[0]
            if level.samples != 1 or level.dtype != np.uint8:
                raise UserError(
                    f"{self.path}: a label image must have one 8-bit channel of class indices; "
                    f"received {level.samples} channel(s) of {level.dtype}."
                )
            self._reader = BlockReader([level], _no_conversion, lambda: UNLABELLED, tile_cache)
            self.shape = level.shape

    def read(self, row: float, column: float, height: int, width: int, step: float = 1) -> NDArray[np.uint8]:
        """Return the class index nearest to each sample; see ``SectionLabels.read``."""
        rows = self._nearest(row, height, step, 0)
        columns = self._nearest(column, width, step, 1)
        result = np.full((height, width), UNLABELLED, np.uint8)
        inside_rows = np.flatnonzero((rows >= 0) & (rows < self.shape[0]))
        inside_columns = np.flatnonzero((columns >= 0) & (columns < self.shape[1]))
        if inside_rows.size and inside_columns.size:
            rows, columns = rows[inside_rows], columns[inside_columns]
            values = self._gather(rows, columns)
            result[np.ix_(inside_rows, inside_columns)] = values
        return result

    def _nearest(self, start: float, count: int, step: float, axis: int) -> NDArray[np.int64]:
        positions = start + step * np.arange(count, dtype=np.float64)
        # floor(x + 0.5), not rint: halves must all go the same way or windows would not fit together
        return np.floor((positions - self.offset[axis]) / self.scale + 0.5).astype(np.int64)

    def _gather(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Give the sampled pixels; a file is read in bands of rows, so that a sparse lattice stays small."""
        if self._array is not None:
            return self._array[np.ix_(rows, columns)]
        assert self._reader is not None
        result = np.empty((rows.size, columns.size), np.uint8)
        left, right = int(columns[0]), int(columns[-1]) + 1
        band = max(1, _BAND_PIXELS // (right - left))
        first = 0
        while first < rows.size:
            last = max(first + 1, int(np.searchsorted(rows, rows[first] + band)))
            top, bottom = int(rows[first]), int(rows[last - 1]) + 1
            window = np.empty((bottom - top, right - left), np.uint8)
            self._reader.read_inside(0, top, left, window)
            result[first:last] = window[np.ix_(rows[first:last] - top, columns - left)]
            first = last
        return result


_BAND_PIXELS = 1 << 24


def _no_conversion(raw: NDArray[np.generic]) -> NDArray[np.uint8]:
    return raw.astype(np.uint8, copy=False)
