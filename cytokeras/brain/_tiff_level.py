"""One resolution of a TIFF file, with every defect of its structure found when it is opened.

Tiles are read with plain seeks and decoded by the codecs themselves or by ``TiffPage.decode``: tifffile's ``aszarr`` is
deprecated in later releases and slower (``benchmarks/section_reading.py``). No file stays open between reads, so that a
brain of thousands of sections does not run out of file handles and threads need not share a file position.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain._tiff_checks import check_decodable, check_plain, check_segments
from cytokeras.brain._tiff_codec import SegmentCodec
from cytokeras.errors import UserError

_SIDE_LIMIT = 1 << 20
_BLOCK_BYTES_LIMIT = 1 << 29
_SUBBLOCK_BYTES = 1 << 22
_STRIP_ROWS = 64
_PLAIN = 1

_Buffers = tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]


@dataclass(frozen=True)
class TiffLevel:
    """One resolution of a TIFF file, divided into blocks that are read and decoded on their own."""

    path: Path
    shape: tuple[int, int]
    samples: int
    dtype: np.dtype[Any]
    block: tuple[int, int]
    compression: str
    direct: bool  # uncompressed grey
    _number: int
    _codec: SegmentCodec
    _offsets: NDArray[np.int64]  # of the tiles or strips in the file
    _byte_counts: tuple[int, ...]
    _tiled: bool
    _plain: bool  # uncompressed: any rows can be read
    _stored_dtype: np.dtype[Any]  # in the byte order of the file
    _planes: int
    _segment_rows: int

    @classmethod
    def from_page(cls, page: Any, path: Path, number: int, file_size: int) -> TiffLevel:
        """Check a page's structure against the size of its file and lay out its blocks."""
        where = f"{path} (level {number})" if number else str(path)
        height, width = int(page.imagelength), int(page.imagewidth)
        if not (0 < height <= _SIDE_LIMIT and 0 < width <= _SIDE_LIMIT) or page.imagedepth != 1:
            raise UserError(
                f"{where}: the header says {height} x {width} x {page.imagedepth} px (height, width, depth); "
                f"a section image has 1 to {_SIDE_LIMIT} px a side and depth 1."
            )
        check_decodable(page, where)
        tiled, samples = bool(page.is_tiled), int(page.samplesperpixel)
        rows = int(page.tilelength) if tiled else min(int(page.rowsperstrip), height)
        columns = int(page.tilewidth) if tiled else width
        if rows < 1 or columns < 1:
            raise UserError(f"{where}: the header says tiles of {rows} x {columns} px; the file is damaged.")
        planes = samples if page.planarconfig == 2 else 1
        check_segments(page, planes * math.ceil(height / rows) * math.ceil(width / columns), where, file_size)
        row_bytes = columns * samples * page.dtype.itemsize
        plain = page.compression == _PLAIN and page.predictor == 1 and page.fillorder == 1 and planes == 1
        plain = plain and page.bitspersample == 8 * page.dtype.itemsize
        plain = plain and all(page.databytecounts) and all(page.dataoffsets)
        if plain:
            check_plain(page, height, rows, row_bytes, where)
        if plain and not tiled:
            block_rows = max(1, min(256, _SUBBLOCK_BYTES // row_bytes))
        elif rows * row_bytes > _BLOCK_BYTES_LIMIT:
            raise UserError(
                f"{where}: its tiles or strips of {rows} x {columns} px are too large to read piecewise; "
                "write it again with tiles of 512 px."
            )
        else:
            block_rows = rows if tiled else rows * max(1, _STRIP_ROWS // rows)
        return cls(
            path=path,
            shape=(height, width),
            samples=samples,
            dtype=np.dtype(page.dtype),
            block=(block_rows, columns),
            compression=getattr(page.compression, "name", str(page.compression)).lower().replace("adobe_", ""),
            direct=plain and samples == 1,
            _number=number,
            _codec=SegmentCodec(page, (rows, columns, samples if planes == 1 else 1)),
            _offsets=np.array(page.dataoffsets, np.int64),
            _byte_counts=tuple(page.databytecounts),
            _tiled=tiled,
            _plain=plain,
            _stored_dtype=np.dtype(page.dtype).newbyteorder(page.parent.byteorder),
            _planes=planes,
            _segment_rows=rows,
        )

    def read_blocks(self, indices: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], NDArray[Any] | None]]:
        """Yield blocks as ``(h, w)`` or ``(h, w, samples)`` raw values, ordered as on the disk; see ``BlockSource``."""
        with self._open() as file:
            for i, j in sorted(indices, key=self._place):
                with self._damage_told(f"block ({i}, {j})"):
                    raw = self._load(file, i, j)
                yield (i, j), raw[..., 0] if raw is not None and self.samples == 1 else raw

    def read_window(self, row: int, column: int, out: NDArray[Any]) -> list[tuple[slice, slice]]:
        """Fill ``out`` with raw values, decoding no more than it needs; see ``WindowSource``."""
        with self._open() as file, self._damage_told(f"window ({row}, {column})"):
            if self._plain:
                self._read_plain(file, row, column, out)
                return []
            return self._read_decoded(file, row, column, out)

    def _read_plain(self, file: int, row: int, column: int, out: NDArray[Any]) -> None:
        from cytokeras.brain._plain_kernels import read_window

        pixel = self.samples * self.dtype.itemsize
        lacking = read_window(
            file,
            self._offsets,
            -(-self.shape[1] // self.block[1]),
            self._segment_rows,
            self.block[1] * pixel,
            row,
            column * pixel,
            out.shape[0],
            out.shape[1] * pixel,
            out.ctypes.data,
            out.strides[0],
        )
        if lacking:
            raise ValueError(f"the file ends {lacking} bytes early")
        if not self._stored_dtype.isnative:
            out.byteswap(inplace=True)

    def _read_decoded(self, file: int, row: int, column: int, out: NDArray[Any]) -> list[tuple[slice, slice]]:
        bottom, right = row + out.shape[0], column + out.shape[1]
        rows, columns = self._segment_rows, self.block[1]
        down, across = (-(-a // b) for a, b in zip(self.shape, (rows, columns), strict=True))
        pixels = out if out.ndim == 3 else out[..., np.newaxis]
        # one for all tiles: fresh memory costs a twentieth of the time
        buffers = np.empty(max(self._byte_counts), np.uint8), np.empty(self._codec.segment_bytes, np.uint8)
        absent = []
        for i in range(row // rows, -(-bottom // rows)):
            top, low = max(row, i * rows), min(bottom, (i + 1) * rows)
            for j in range(column // columns, -(-right // columns)):
                left, far = max(column, j * columns), min(right, (j + 1) * columns)
                place = slice(top - row, low - row), slice(left - column, far - column)
                for plane in range(self._planes):
                    part = self._segment(file, (plane * down + i) * across + j, low - i * rows, buffers)
                    if part is None:
                        absent.append(place)
                        break
                    target = pixels[place] if self._planes == 1 else pixels[(*place, slice(plane, plane + 1))]
                    target[...] = part[top - i * rows : low - i * rows, left - j * columns : far - j * columns]
        return absent

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        """Yield a file descriptor: each call on a file object would let the other threads in once more."""
        try:
            file = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read any more ({error.strerror}).") from error
        try:
            yield file
        finally:
            os.close(file)

    @contextlib.contextmanager
    def _damage_told(self, part: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # every codec raises its own
            raise UserError(
                f"{self.path}: {part} of level {self._number} is damaged ({error}); copy the file again."
            ) from error

    def _place(self, index: tuple[int, int]) -> int:
        """Where a block begins in the file."""
        if self._plain and not self._tiled:
            return index[0]
        across = -(-self.shape[1] // self.block[1])
        return int(self._offsets[index[0] * self.block[0] // self._segment_rows * across + index[1]])

    def _load(self, file: int, i: int, j: int) -> NDArray[Any] | None:
        """Return block (i, j) as ``(h, w, samples)``, None where the file holds no data for it."""
        top, bottom = i * self.block[0], min((i + 1) * self.block[0], self.shape[0])
        left, right = j * self.block[1], min((j + 1) * self.block[1], self.shape[1])
        if self._plain:
            values = np.empty((bottom - top, right - left, self.samples), self.dtype)
            self._read_plain(file, top, left, values)
            return values
        down, across = (-(-a // b) for a, b in zip(self.shape, (self._segment_rows, self.block[1]), strict=True))
        planes = []
        for plane in range(self._planes):
            parts = []
            for row in range(top // self._segment_rows, -(-bottom // self._segment_rows)):
                part = self._segment(file, (plane * down + row) * across + j, self._segment_rows)
                if part is None:
                    return None
                parts.append(part)
            planes.append(np.concatenate(parts) if len(parts) > 1 else parts[0])
        block = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
        return block[: bottom - top, : right - left]

    def _segment(self, file: int, index: int, wanted: int, buffers: _Buffers = (None, None)) -> NDArray[Any] | None:
        """Return at least the first rows of a tile or strip, None where the file holds no data for it.

        They may lie in the second of the buffers, which are for its bytes in the file and for what they decode to.
        """
        count = self._byte_counts[index]
        if not count:
            if not self._tiled:
                raise ValueError(f"strip {index} has no data")
            return None
        content, decoded = buffers
        content = np.empty(count, np.uint8) if content is None else content[:count]
        _read_into(file, content, int(self._offsets[index]))
        return self._codec.decode(content, index, wanted, decoded)


def _read_into(file: int, content: NDArray[np.uint8], start: int) -> None:
    place = 0
    while place < content.size:  # a read may stop early, and does so at 2 GiB
        count = os.preadv(file, [content[place:].data], start + place)
        if not count:
            raise ValueError(f"the file ends {content.size - place} bytes early")
        place += count
