"""Windows of an image that is stored in blocks, through a cache of converted blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain._tile_cache import TileCache

Index = tuple[int, int]
_images = itertools.count()  # a name for each image in a cache that several share


class BlockSource(Protocol):
    """One resolution of an image: a grid of blocks that are read and decoded on their own."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""

    @property
    def block(self) -> tuple[int, int]:
        """(height, width) of a block in pixels; those at the right and lower edge may be smaller."""

    @property
    def samples(self) -> int:
        """Values of a pixel."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or uint16."""

    def read_blocks(self, indices: Sequence[Index]) -> Iterator[tuple[Index, NDArray[Any] | None]]:
        """Yield blocks as ``(h, w)`` or ``(h, w, samples)`` raw values, in any order; None where there is no data."""


@runtime_checkable
class WindowSource(BlockSource, Protocol):
    """A source that can give a window without its blocks."""

    @property
    def direct(self) -> bool:
        """Whether windows are cheaper than the cache: grey pixels that lie in the file as they are."""

    def read_window(self, row: int, column: int, out: NDArray[Any]) -> list[tuple[slice, slice]]:
        """Fill a window with raw values.

        Args:
            row: Its first row; it lies inside the image.
            column: Its first column.
            out: ``(h, w)`` or ``(h, w, samples)``, values of a row side by side.

        Returns:
            The parts of ``out``, (rows, columns), that there is no data for.
        """


def block_extent(source: BlockSource, i: int, j: int) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of block (i, j), cut to the image."""
    (height, width), (rows, columns) = source.block, source.shape
    top, left = i * height, j * width
    return top, left, min(top + height, rows), min(left + width, columns)


def block_grid(source: BlockSource) -> tuple[int, int]:
    """Return the number of blocks down and across."""
    return math.ceil(source.shape[0] / source.block[0]), math.ceil(source.shape[1] / source.block[1])


class BlockReader:
    """Windows of an image's levels as uint8, through a cache of converted blocks.

    Args:
        levels: Its resolutions.
        convert: From ``(h, w)`` (one sample) or ``(h, w, samples)`` raw values to ``(h, w)`` uint8.
        absent: Gives the value of blocks without data.
        cache: Where converted blocks are kept.
    """

    def __init__(
        self,
        levels: Sequence[BlockSource],
        convert: Callable[[NDArray[Any]], NDArray[np.uint8]],
        absent: Callable[[], int],
        cache: TileCache,
    ) -> None:
        self._levels = tuple(levels)
        self._windows = tuple(level if isinstance(level, WindowSource) else None for level in levels)
        self._convert = convert
        self._absent = absent
        self._cache = cache
        self._name = next(_images)

    def read_inside(self, level: int, row: int, column: int, out: NDArray[np.uint8]) -> None:
        """Fill ``out`` with the window of its shape at (row, column), which lies inside the level."""
        windows = self._windows[level]
        # an image without a cache decodes what the window needs, not whole blocks
        if windows is not None and (windows.direct or not self._cache.limit_bytes):
            self._read_window(windows, row, column, out)
            return
        source = self._levels[level]
        bottom, right = row + out.shape[0], column + out.shape[1]
        for (i, j), block in self._blocks(level, row, column, bottom, right):
            top, left, low, far = block_extent(source, i, j)
            r0, r1, c0, c1 = max(top, row), min(low, bottom), max(left, column), min(far, right)
            out[r0 - row : r1 - row, c0 - column : c1 - column] = block[r0 - top : r1 - top, c0 - left : c1 - left]

    def _read_window(self, source: WindowSource, row: int, column: int, out: NDArray[np.uint8]) -> None:
        grey = source.samples == 1
        in_place = grey and source.dtype == np.uint8
        shape = out.shape if grey else (*out.shape, source.samples)
        raw: NDArray[Any] = out if in_place else np.empty(shape, source.dtype)
        absent = source.read_window(row, column, raw)
        converted = self._convert(raw)
        if converted is not out:
            out[...] = converted
        for part in absent:
            out[part] = self._absent()

    def _blocks(
        self, level: int, row: int, column: int, bottom: int, right: int
    ) -> Iterator[tuple[Index, NDArray[np.uint8]]]:
        source = self._levels[level]
        (height, width), missing = source.block, []
        for i in range(row // height, math.ceil(bottom / height)):
            for j in range(column // width, math.ceil(right / width)):
                block = self._cache.get((self._name, level, i, j))
                if block is None:
                    missing.append((i, j))
                else:
                    yield (i, j), block
        if not missing:
            return
        for (i, j), raw in source.read_blocks(missing):
            if raw is None:
                top, left, low, far = block_extent(source, i, j)
                yield (i, j), np.broadcast_to(np.uint8(self._absent()), (low - top, far - left))
            else:
                block = np.ascontiguousarray(self._convert(raw))
                self._cache.put((self._name, level, i, j), block)
                yield (i, j), block
