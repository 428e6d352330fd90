"""Windows that cover a section: pure arithmetic on the field geometry of a network.

A fully convolutional network with pooling is not invariant to every shift: only shifts by its *period* (the
product of all strides on the way down, 128 pixels for the network of the paper at 2 µm) give the same output
cells. Windows are therefore laid out in steps of whole periods, so that their outputs, put side by side,
equal one pass over the whole section. Not stated in the paper; our decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cytokeras.errors import UserError

# Valid convolutions waste a halo of one receptive field around every window. With 512 cells of output (8.2 mm at
# 16 µm) the network at 2 µm with atlas computes 4,050 multiply-adds a pixel (one pass over the whole section: 3,073).
# Windows of 640 cells save another tenth of the time for 0.2 to 0.5 GB more memory, those of 768 no more than that.
DEFAULT_WINDOW_CELLS = 512

# Windows shrink for small sections in steps of this many cells, so that sections of similar size share one
# shape and the network is compiled once.
_WINDOW_QUANTUM_CELLS = 64


class Field(Protocol):
    """What tiling needs of a FieldGeometry (see `cytokeras.models.FieldGeometry`)."""

    @property
    def stride(self) -> int | float: ...
    @property
    def offset(self) -> int | float: ...
    @property
    def period(self) -> int | float: ...
    def output_size(self, input_size: int) -> int: ...
    def is_valid(self, input_size: int) -> bool: ...
    def valid_size(self, at_least: int) -> int: ...


@dataclass(frozen=True)
class OutputGrid:
    """Where the cells of an output map lie in the section image they were computed from.

    Cell (r, c) is centred on pixel ``origin_px + step_px * (r, c)`` of the original image (full resolution,
    row and column, pixel centres are integers; the position may fall between pixels when the image was
    resampled).

    Attributes:
        shape: Rows and columns of the map.
        pixel_size_um: Edge length of a cell in µm.
        origin_px: Row and column of the centre of cell (0, 0), in image pixels.
        step_px: Image pixels from one cell to the next.
    """

    shape: tuple[int, int]
    pixel_size_um: float
    origin_px: tuple[float, float]
    step_px: float

    @property
    def rows_px(self) -> np.ndarray:
        """Image rows of the cell centres, (shape[0],) float64."""
        return self.origin_px[0] + self.step_px * np.arange(self.shape[0], dtype=np.float64)

    @property
    def columns_px(self) -> np.ndarray:
        """Image columns of the cell centres, (shape[1],) float64."""
        return self.origin_px[1] + self.step_px * np.arange(self.shape[1], dtype=np.float64)

    def to_pixel(self, cells: np.ndarray) -> np.ndarray:
        """Turn cells, (N, 2) row and column, into image pixels, (N, 2) float64."""
        return np.asarray(self.origin_px) + self.step_px * np.asarray(cells, np.float64)

    def to_cell(self, pixels: np.ndarray) -> np.ndarray:
        """Turn image pixels, (N, 2) row and column, into fractional cells, (N, 2) float64."""
        return (np.asarray(pixels, np.float64) - np.asarray(self.origin_px)) / self.step_px


@dataclass(frozen=True)
class Window:
    """One pass of the network: what is read and where its output goes.

    Attributes:
        row, column: First pixel read, in pixels of the network's pixel size; negative at the upper and left
            border.
        cell_row, cell_column: Cell of the whole map that receives the window's output cell (0, 0).
        cells: Rows and columns of the window's output that are kept, counted from its cell (0, 0).
    """

    row: int
    column: int
    cell_row: int
    cell_column: int
    cells: tuple[int, int]


@dataclass(frozen=True)
class TilePlan:
    """Windows of one shape whose kept outputs cover a map exactly once.

    Attributes:
        window_px: Rows and columns of every window in network pixels, both valid sizes of the network.
        window_cells: Rows and columns of every window's output in cells.
        shape: Rows and columns of the whole output map.
        first_pixel: Network pixel (the same for row and column) on which cell 0 is centred; ends in .5 where
            the centre lies between two pixels.
        windows: The windows in row-major order.
    """

    window_px: tuple[int, int]
    window_cells: tuple[int, int]
    shape: tuple[int, int]
    first_pixel: float
    windows: tuple[Window, ...]

    def __len__(self) -> int:
        return len(self.windows)

    def __iter__(self) -> Iterator[Window]:
        return iter(self.windows)


def plan_windows(field: Field, image_shape: tuple[int, int], window: int | None = None) -> TilePlan:
    """Plan the windows that cover an image of the network's pixel size.

    The map has one cell for every ``field.stride`` pixels, rounded up, and cell 0 is centred on the first
    such block of pixels (to half a pixel). Windows reach over the border of the image, where the reader
    answers with the background.

    Args:
        field: Geometry of the segmentation network.
        image_shape: Rows and columns of the image in network pixels.
        window: Side of a square window in network pixels; default: for rows and columns the size of at most
            512 output cells with which the fewest pixels pass through the network.

    Returns:
        Windows that write every cell of the map exactly once.

    Raises:
        UserError: The image has no pixels, or ``window`` is not a valid size or yields less than one period.
    """
    height, width = (int(n) for n in image_shape)
    if height < 1 or width < 1:
        raise UserError(f"image: shape {height} x {width} px has no pixels; an image of at least 1 x 1 is needed.")
    stride = int(field.stride)
    sizes = _WindowSizes(field)
    shape = (-(-height // stride), -(-width // stride))
    if window is None:
        window_px = (_default_window(sizes, shape[0]), _default_window(sizes, shape[1]))
    else:
        window_px = (_checked_window(field, sizes, window, max(shape)),) * 2
    produced = (sizes.cells_of(window_px[0]), sizes.cells_of(window_px[1]))
    rows, columns = (_spans(*axis, sizes.step) for axis in zip(shape, produced, strict=True))
    shift = math.ceil((stride - 1) / 2 - field.offset)
    windows = tuple(
        Window(shift + top * stride, shift + left * stride, top, left, (kept_rows, kept_columns))
        for top, kept_rows in rows
        for left, kept_columns in columns
    )
    return TilePlan(window_px, produced, shape, shift + field.offset, windows)


class _WindowSizes:
    """The valid sizes of a network: a smallest one, then one every period.

    Attributes:
        step: Output cells of one period.
    """

    def __init__(self, field: Field) -> None:
        self._smallest = field.valid_size(1)
        self._fewest = field.output_size(self._smallest)
        self._period = int(field.period)
        self.step = self._period // int(field.stride)

    def cells_of(self, size: int) -> int:
        """Return how many output cells a window of ``size`` pixels yields along a side."""
        return self._fewest + (size - self._smallest) // self._period * self.step

    def at_least(self, cells: int) -> int:
        """Return the smallest valid window that yields ``cells`` output cells or more."""
        periods = -(-max(0, cells - self._fewest) // self.step)
        return self._smallest + periods * self._period


def _spans(cells: int, produced: int, step: int) -> list[tuple[int, int]]:
    """Return (first cell, kept cells) of the windows along one axis."""
    # Only whole periods may be stepped over; the last window keeps all it produces.
    advance = produced // step * step
    spans = []
    first = 0
    while first + produced < cells:
        spans.append((first, advance))
        first += advance
    spans.append((first, cells - first))
    return spans


def _default_window(sizes: _WindowSizes, cells: int) -> int:
    """Return the size with which the fewest input pixels are computed; of equal ones the largest."""
    quantum = -(-_WINDOW_QUANTUM_CELLS // sizes.step) * sizes.step
    best, fewest = 0, math.inf
    for kept in range(quantum, max(DEFAULT_WINDOW_CELLS, quantum) + 1, quantum):
        size = sizes.at_least(kept)
        computed = len(_spans(cells, sizes.cells_of(size), sizes.step)) * size
        if computed <= fewest:
            best, fewest = size, computed
    return best


def _checked_window(field: Field, sizes: _WindowSizes, window: int, cells: int) -> int:
    if not isinstance(window, int | np.integer) or window < 1 or not field.is_valid(int(window)):
        at_least = int(window) if isinstance(window, int | float | np.number) and window >= 1 else 1
        raise UserError(
            f"window: {window!r} px is not a valid input size of the network; the next valid size is "
            f"{field.valid_size(at_least)} px, valid sizes are {field.period} px apart."
        )
    produced = sizes.cells_of(int(window))
    if produced < min(sizes.step, cells):
        raise UserError(
            f"window: {window} px give {produced} output cells, fewer than the {sizes.step} that windows are "
            f"moved by; choose at least {sizes.at_least(sizes.step)} px."
        )
    return int(window)
