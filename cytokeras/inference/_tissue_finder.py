"""Where a section shows tissue and where empty glass."""

from __future__ import annotations

import numpy as np

from cytokeras.inference._resampled_image import ReadableImage, ResampledImage
from cytokeras.inference.tiling import Field, Window

# Tissue is looked for in blocks of about this size: fine enough for a thin gyrus, and so coarse that noise of
# the empty glass averages out.
_TISSUE_BLOCK_UM = 64.0
# A cell of the output is glass by the mean over a square of this side: three cells, wider than a cell body.
_GLASS_SQUARE_UM = 48.0
# Grey levels by which the mean of a block departs from the background where there is tissue; white matter,
# the palest tissue, departs by some 20.
_TISSUE_CONTRAST = 10.0
# Sums over squares take 16 bytes a pixel: a strip of a window at a time.
_GLASS_STRIP_CELLS = 32


class TissueFinder:
    """Tells tissue from empty glass, from a coarse level and from what was read for a window.

    Args:
        image: The section.
        source: The section on the network's pixel grid.
        field: Geometry of the network.
    """

    def __init__(self, image: ReadableImage, source: ResampledImage, field: Field) -> None:
        self._source = source
        self._stride = int(field.stride)
        self._offset = int(np.floor(field.offset))
        self._half_square = max(self._stride // 2, round(_GLASS_SQUARE_UM / source.pixel_size_um / 2 - 0.5))
        block = max(self._stride, round(_TISSUE_BLOCK_UM / source.pixel_size_um))
        self._block = block
        overview = ResampledImage(image, block * source.pixel_size_um)
        # Without a coarse level the overview would cost as much reading as the windows themselves.
        self._overview = overview if overview.level > source.level else None

    def possible(self, place: Window) -> bool:
        """Whether the output of a window may show tissue, as far as the coarse level tells."""
        if self._overview is None:
            return True
        ratio = self._overview.factor / self._source.factor
        (top, bottom), (left, right) = self._output_extent(place)
        row, column = int(np.floor(top / ratio)), int(np.floor(left / ratio))
        height, width = int(np.ceil(bottom / ratio)) - row, int(np.ceil(right / ratio)) - column
        return bool(self._differs(self._overview.read(row, column, height, width)).any())

    def present(self, pixels: np.ndarray, place: Window) -> bool:
        """Whether the output of a window shows tissue, by the pixels that were read for it."""
        (top, bottom), (left, right) = self._output_extent(place)
        shown = pixels[top - place.row : bottom - place.row, left - place.column : right - place.column]
        rows, columns = (n // self._block * self._block for n in shown.shape)
        blocks = shown[:rows, :columns].reshape(rows // self._block, self._block, columns // self._block, self._block)
        return bool(self._differs(blocks.mean(axis=(1, 3), dtype=np.float32)).any())

    def glass(self, pixels: np.ndarray, place: Window) -> np.ndarray:
        """Which of the kept cells of a window lie on empty glass, (rows, columns) bool."""
        parts = [
            self._glass_strip(pixels, first, min(_GLASS_STRIP_CELLS, place.cells[0] - first), place.cells[1])
            for first in range(0, place.cells[0], _GLASS_STRIP_CELLS)
        ]
        return np.concatenate(parts)

    def _glass_strip(self, pixels: np.ndarray, first_cell: int, rows: int, columns: int) -> np.ndarray:
        side = 2 * self._half_square + 1
        corner = self._offset - self._half_square
        top = corner + self._stride * first_cell
        strip = pixels[top : top + self._stride * (rows - 1) + side]
        sums = np.zeros((strip.shape[0] + 1, strip.shape[1] + 1), np.int64)
        sums[1:, 1:] = strip.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)  # whole numbers: equal in all windows
        low, left = self._stride * np.arange(rows), corner + self._stride * np.arange(columns)
        high, right = low + side, left + side
        total = (
            sums[np.ix_(high, right)] - sums[np.ix_(low, right)] - sums[np.ix_(high, left)] + sums[np.ix_(low, left)]
        )
        return ~self._differs(total / side**2)

    def _output_extent(self, place: Window) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return first and last + 1 network pixel of the blocks under the kept cells, rows and columns."""
        extents = []
        for first_cell, cells in zip((place.cell_row, place.cell_column), place.cells, strict=True):
            # A block more on either side, so that a rim of tissue next to the window counts.
            first = first_cell * self._stride - self._block
            extents.append((first, (first_cell + cells) * self._stride + self._block))
        return extents[0], extents[1]

    def _differs(self, means: np.ndarray) -> np.ndarray:
        return np.abs(means.astype(np.float32) - self._source.background) > _TISSUE_CONTRAST


def tissue_rows(image: ReadableImage, step_mm: float) -> list[np.ndarray]:
    """Return the places of a square grid that show tissue, row by row.

    Args:
        image: The section.
        step_mm: Distance of neighbouring places.

    Returns:
        Rows with at least one place, each (N, 2) float64, row and column in image pixels.
    """
    overview = ResampledImage(image, max(_TISSUE_BLOCK_UM, image.pixel_size_um))
    means = overview.read(0, 0, *overview.shape).astype(np.float32)
    tissue = np.abs(means - overview.background) > _TISSUE_CONTRAST
    step_px = step_mm * 1000 / image.pixel_size_um
    rows, columns = (step_px * (np.arange(round(length / step_px)) + 0.5) - 0.5 for length in image.shape)
    result = []
    for row in rows:
        places = np.column_stack([np.full(len(columns), row), columns])
        cells = np.rint(overview.from_pixel(places)).astype(int).clip(0, np.array(overview.shape) - 1)
        shown = places[tissue[tuple(cells.T)]]
        if len(shown):
            result.append(shown)
    return result
