"""Windows of uncompressed pixels, read from the file in one compiled call.

Calls from Python for each tile would release and take the interpreter's lock a dozen times a window, so that two
threads would wait for each other longer than they read. The file is read, not mapped: pages of a map would count as the
process's memory, and a file that is cut off while it is open would kill the process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

_CHUNK_BYTES = 1 << 16  # stays in the second-level cache between reading and copying
_SKIP_BYTES = 1 << 12  # from here on another call is cheaper than reading what is not wanted

_pread = types.ExternalFunction("pread", types.intp(types.int32, types.intp, types.intp, types.int64))
_memcpy = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.intp))


@njit(cache=True, nogil=True)
def read_window(
    file: Any, offsets: Any, across: int, tile_rows: int, tile_bytes: int, row: int, left: int, rows: int, width: int,
    out: int, stride: int,
) -> int:  # fmt: skip
    """Fill a window of bytes from tiles (or strips: tiles as wide as the image) of rows of bytes.

    Args:
        file: Descriptor of the open file.
        offsets: (n,) int64, where the tiles begin in the file, row by row.
        across: Tiles side by side.
        tile_rows: Rows of a tile.
        tile_bytes: Bytes of a row of a tile.
        row: First row of the window.
        left: First byte of the window in a row of the image.
        rows: Rows of the window.
        width: Bytes of a row of the window.
        out: Address of the first byte.
        stride: Bytes from one row of the window to the next.

    Returns:
        0, or the number of bytes that a tile lacks.
    """
    scratch = np.empty(max(_CHUNK_BYTES, tile_bytes), np.uint8)
    done = 0
    while done < rows:
        i, within = divmod(row + done, tile_rows)
        count = min(tile_rows - within, rows - done)
        for j in range(left // tile_bytes, (left + width + tile_bytes - 1) // tile_bytes):
            first, last = max(left, j * tile_bytes), min(left + width, (j + 1) * tile_bytes)
            start = offsets[i * across + j] + within * tile_bytes
            lacking = _read_part(
                file, start, tile_bytes, count, first - j * tile_bytes, last - first,
                out + done * stride + first - left, stride, scratch,
            )  # fmt: skip
            if lacking:
                return lacking
        done += count
    return 0


@njit(cache=True, nogil=True)
def _read_part(
    file: Any, start: int, tile_bytes: int, count: int, first: int, width: int, out: int, stride: int, scratch: Any,
) -> int:  # fmt: skip
    """Read ``count`` rows of one tile from ``start`` on, of each ``width`` bytes from ``first`` on."""
    if tile_bytes - width >= _SKIP_BYTES:
        for k in range(count):
            lacking = _read_all(file, out + k * stride, width, start + k * tile_bytes + first)
            if lacking:
                return lacking
        return 0
    # signed, as all addresses here: with unsigned ones sums would become floating-point numbers
    buffer, at_once = np.intp(scratch.ctypes.data), scratch.size // tile_bytes
    for begin in range(0, count, at_once):
        some = min(at_once, count - begin)
        lacking = _read_all(file, buffer, some * tile_bytes, start + begin * tile_bytes)
        if lacking:
            return lacking
        for k in range(some):
            _memcpy(out + (begin + k) * stride, buffer + k * tile_bytes + first, width)
    return 0


@njit(cache=True, nogil=True)
def _read_all(file: Any, address: int, count: int, start: int) -> int:
    """Read bytes; returns how many are lacking."""
    place = 0
    while place < count:
        got = _pread(np.int32(file), address + place, count - place, start + place)
        if got <= 0:
            return count - place
        place += got
    return 0
