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
# Running sums take 8 bytes a pixel: a strip of a window at a time.
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
        self._margin = block
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

    def glass(self, pixels: np.ndarray, place: Window) -> np.ndarray:
        """Which of the kept cells of a window lie on empty glass, (rows, columns) bool."""
        side = 2 * self._half_square + 1
        corner = self._offset - self._half_square
        rows, columns = (self._stride * np.arange(cells) for cells in place.cells)
        parts = []
        for first in range(0, len(rows), _GLASS_STRIP_CELLS):
            some = rows[first : first + _GLASS_STRIP_CELLS]
            strip = pixels[corner + some[0] : corner + some[-1] + side, corner : corner + columns[-1] + side]
            # whole numbers: equal in all windows
            across = _square_sums(strip, columns, side)
            parts.append(_square_sums(across.T, some - some[0], side).T)
        return ~self._differs(np.concatenate(parts) / side**2)

    def _output_extent(self, place: Window) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return first and last + 1 network pixel of the blocks under the kept cells, rows and columns."""
        extents = []
        for first_cell, cells in zip((place.cell_row, place.cell_column), place.cells, strict=True):
            # A block more on either side, so that a rim of tissue next to the window counts.
            first = first_cell * self._stride - self._margin
            extents.append((first, (first_cell + cells) * self._stride + self._margin))
        return extents[0], extents[1]

    def _differs(self, means: np.ndarray) -> np.ndarray:
        return np.abs(means.astype(np.float32) - self._source.background) > _TISSUE_CONTRAST


def _square_sums(values: np.ndarray, firsts: np.ndarray, side: int) -> np.ndarray:
    """Return the sums over ``side`` columns from each of ``firsts`` on, (rows, len(firsts)) int32."""
    running = np.zeros((values.shape[0], values.shape[1] + 1), np.int32)
    np.cumsum(values, axis=1, dtype=np.int32, out=running[:, 1:])
    return running[:, firsts + side] - running[:, firsts]


def tissue_points(image: ReadableImage, count: int) -> np.ndarray:
    """Return the places of a grid of ``count`` x ``count`` over the image that show tissue.

    Only small squares are read, at the coarsest level that resolves them: cheap for images of any size.

    Returns:
        (N, 2) float64, row and column in image pixels.
    """
    sizes = np.asarray(image.levels) * image.pixel_size_um
    level = int(np.flatnonzero(sizes <= max(_GLASS_SQUARE_UM, sizes[0]))[-1])
    side = max(1, round(_GLASS_SQUARE_UM / sizes[level]))
    rows, columns = ((np.arange(count) + 0.5) * length / count for length in image.shape)
    shown = []
    for row in rows:
        for column in columns:
            top, left = (int(place / image.levels[level]) - side // 2 for place in (row, column))
            mean = image.read(top, left, side, side, level=level).mean()
            if abs(float(mean) - image.background) > _TISSUE_CONTRAST:
                shown.append((row, column))
    return np.array(shown, np.float64).reshape(-1, 2)


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
