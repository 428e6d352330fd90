"""Windows of a TIFF file through a cache of converted blocks."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain._tiff_file import TiffLevel
from cytokeras.errors import UserError

_CACHE_BYTES = 32 << 20  # holds the 25 tiles of 512 px under a window of 2025 px four times over


class BlockReader:
    """Windows of a file's levels as uint8, through a cache of converted blocks.

    Args:
        path: The file.
        levels: Its resolutions.
        convert: From ``(h, w)`` (one sample) or ``(h, w, samples)`` raw values to ``(h, w)`` uint8.
        absent: Gives the value of blocks that the file leaves out.
        cache_bytes: Limit of the cache; the last block is kept even where it is larger.
    """

    def __init__(
        self,
        path: Path,
        levels: Sequence[TiffLevel],
        convert: Callable[[NDArray[Any]], NDArray[np.uint8]],
        absent: Callable[[], int],
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self._path = path
        self._levels = tuple(levels)
        self._convert = convert
        self._absent = absent
        self._limit = cache_bytes
        self._cached: OrderedDict[tuple[int, int, int], NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def read_inside(self, level: int, row: int, column: int, out: NDArray[np.uint8]) -> None:
        """Fill ``out`` with the window of its shape at (row, column), which lies inside the level."""
        bottom, right = row + out.shape[0], column + out.shape[1]
        for (i, j), block in self._blocks(level, row, column, bottom, right):
            top, left, low, far = self._levels[level].block_extent(i, j)
            r0, r1, c0, c1 = max(top, row), min(low, bottom), max(left, column), min(far, right)
            out[r0 - row : r1 - row, c0 - column : c1 - column] = block[r0 - top : r1 - top, c0 - left : c1 - left]

    def raw_blocks(self, level: int, indices: Sequence[tuple[int, int]]) -> Iterator[NDArray[Any] | None]:
        """Yield raw blocks, unconverted and past the cache."""
        with self._open() as file:
            for i, j in indices:
                yield self._load(file, level, i, j)

    def _blocks(
        self, level: int, row: int, column: int, bottom: int, right: int
    ) -> Iterator[tuple[tuple[int, int], NDArray[np.uint8]]]:
        source = self._levels[level]
        (height, width), missing = source.block, []
        for i in range(row // height, math.ceil(bottom / height)):
            for j in range(column // width, math.ceil(right / width)):
                block = self._get((level, i, j))
                if block is None:
                    missing.append((i, j))
                else:
                    yield (i, j), block
        if not missing:
            return
        with self._open() as file:
            for i, j in sorted(missing, key=lambda index: source.order(*index)):
                raw = self._load(file, level, i, j)
                if raw is None:
                    top, left, low, far = source.block_extent(i, j)
                    block = np.full((low - top, far - left), self._absent(), np.uint8)
                else:
                    block = np.ascontiguousarray(self._convert(raw))
                    self._put((level, i, j), block)
                yield (i, j), block

    def _open(self) -> IO[bytes]:
        try:
            return open(self._path, "rb")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be read any more ({error.strerror}).") from error

    def _load(self, file: IO[bytes], level: int, i: int, j: int) -> NDArray[Any] | None:
        try:
            raw = self._levels[level].load(file, i, j)
        except Exception as error:  # every codec raises its own
            raise UserError(
                f"{self._path}: block ({i}, {j}) of level {level} is damaged ({error}); copy the file again."
            ) from error
        return raw[..., 0] if raw is not None and raw.shape[-1] == 1 else raw

    def _get(self, key: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        with self._lock:
            block = self._cached.get(key)
            if block is not None:
                self._cached.move_to_end(key)
            return block

    def _put(self, key: tuple[int, int, int], block: NDArray[np.uint8]) -> None:
        with self._lock:
            if key in self._cached:
                return
            self._cached[key] = block
            self._bytes += block.nbytes
            while self._bytes > self._limit and len(self._cached) > 1:
                self._bytes -= self._cached.popitem(last=False)[1].nbytes
