"""Decoding tiles and strips of a TIFF page: into memory that is there already, and no further than needed."""

from __future__ import annotations

import contextlib
import functools
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

_PLAIN, _LZW, _DEFLATE, _ZSTD = 1, 5, (8, 32946), (34926, 50000)
_JPEG = (6, 7, 34892, 33007)
_HORIZONTAL = 2
# ISA-L, which can stop inside a tile, is as fast as libdeflate, which cannot; but starting a stream costs as much as
# the last tenth of a tile of 512 px.
_LARGEST_PART = 0.9


class SegmentCodec:
    """Decodes the tiles or strips of one page.

    Args:
        page: The page of tifffile, whose file is still open: for JPEG its decoder looks into it.
        shape: (rows, columns, samples) of a whole tile or strip.
    """

    def __init__(self, page: Any, shape: tuple[int, int, int]) -> None:
        compression = page.compression
        self._shape = shape
        self._image = int(page.imagelength), int(page.imagewidth)
        self._tiled = bool(page.is_tiled)
        self._dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
        self._differences = page.predictor == _HORIZONTAL
        self._decode: Callable[..., Any] = page.decode
        self._jpeg = compression in _JPEG
        self._jpeg_options = {} if page.jpegtables is None else {"jpegtables": page.jpegtables}
        whole_bytes = page.bitspersample == 8 * self._dtype.itemsize and page.fillorder == 1
        known = compression in (_LZW, *_DEFLATE, *_ZSTD) and page.predictor in (1, _HORIZONTAL)
        codecs = imagecodecs_installed()
        self._into = whole_bytes and known and (codecs or compression in _DEFLATE)
        # without imagecodecs tifffile would inflate a zlib bomb whole
        self._decompress = tifffile.TIFF.DECOMPRESSORS[compression] if self._into and codecs else None
        # zlib takes twice the time of libdeflate: as much for half a tile as that for all of it
        stops = _isal() is not None or not codecs
        self._stops = compression == _LZW or (compression in _DEFLATE and stops)
        self._inflates = compression in _DEFLATE

    @property
    def segment_bytes(self) -> int:
        """Bytes of a decoded tile or strip."""
        return math.prod(self._shape) * self._dtype.itemsize

    def decode(
        self, content: NDArray[np.uint8], index: int, wanted: int, scratch: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Decode a tile or strip.

        Args:
            content: ``(n,)``, its bytes in the file.
            index: Its number in the file.
            wanted: The rows that are needed, from the first on.
            scratch: ``segment_bytes`` that may be decoded into; None: what is returned is the caller's.

        Returns:
            (rows, columns, samples) with at least the rows wanted.

        Raises:
            Exception: The codec's own, where the content is damaged.
        """
        if self._into:
            values = self._decode_into(content, *self._rows_decoded(index, wanted), scratch)
            if values is not None:
                return values
        options: dict[str, Any] = {}
        if self._jpeg:
            _check_jpeg_size(content, self._shape[:2])
            options = self._jpeg_options
        data, _, shape = self._decode(content, index, **options)
        return np.asarray(data).reshape(-1, *shape[2:])  # (depth 1, rows, columns, samples)

    def _rows_decoded(self, index: int, wanted: int) -> tuple[int, bool]:
        """Return how many rows of a tile or strip are decoded, and whether more follow."""
        (length, width), (rows, columns, _) = self._image, self._shape
        if self._tiled:
            # some writers cut the tiles at the right edge off, and where their rows end is known at their end only
            whole_rows = (index % -(-width // columns) + 1) * columns <= width
        else:
            rows, whole_rows = min(rows, length - index % -(-length // rows) * rows), True
        partly = self._stops and whole_rows and wanted <= _LARGEST_PART * rows
        return (wanted, True) if partly else (rows, False)

    def _decode_into(
        self, content: NDArray[np.uint8], rows: int, partly: bool, scratch: NDArray[np.uint8] | None
    ) -> NDArray[Any] | None:
        """Decode by the codec itself; None where not all rows are there, of which tifffile knows some cases."""
        size = rows * self._shape[1] * self._shape[2] * self._dtype.itemsize
        if self._decompress is None or (partly and self._inflates):
            data: Any = _inflate(content, size, partly)
        else:
            out = np.empty(size, np.uint8) if scratch is None else scratch[:size]
            data = self._decompress(content, out=out)
        decoded = np.frombuffer(data, np.uint8)
        if decoded.size != size:
            return None
        values = decoded.view(self._dtype).reshape(rows, *self._shape[1:])
        return _summed(values) if self._differences else values


def imagecodecs_installed() -> bool:
    """Return whether the optional codecs can be imported."""
    with contextlib.suppress(ImportError):
        import imagecodecs  # noqa: F401

        return True
    return False


@functools.cache
def _isal() -> Any:
    """The zlib of ISA-L, several times as fast; an optional dependency."""
    with contextlib.suppress(ImportError):
        from isal import isal_zlib

        return isal_zlib
    return None


def _inflate(content: NDArray[np.uint8], size: int, partly: bool) -> bytes:
    """Inflate up to ``size`` bytes, and no more where a damaged tile holds a gigabyte."""
    inflater = (_isal() or zlib).decompressobj()
    data: bytes = inflater.decompress(content, size)
    if inflater.unconsumed_tail and not partly:
        raise ValueError(f"it inflates to more than {size} bytes")
    return data


def _summed(values: NDArray[Any]) -> NDArray[Any]:
    """Undo horizontal differencing of (rows, columns, samples)."""
    native = values.astype(values.dtype.newbyteorder("="))
    if not imagecodecs_installed():
        return np.cumsum(native, axis=1, dtype=native.dtype)
    summed: NDArray[Any] = tifffile.TIFF.UNPREDICTORS[_HORIZONTAL](native, axis=1, out=native)
    return summed


def _check_jpeg_size(content: NDArray[np.uint8], tile: tuple[int, ...]) -> None:
    """Refuse a JPEG that says it is larger than its tile, before the decoder takes the memory for it."""
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4].tobytes(), "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = (int.from_bytes(content[place + k : place + k + 2].tobytes(), "big") for k in (5, 7))
            if height > tile[0] or width > tile[1]:
                raise ValueError(f"a JPEG of {height} x {width} px in a tile of {tile[0]} x {tile[1]} px")
            return
        place += 2 + length
