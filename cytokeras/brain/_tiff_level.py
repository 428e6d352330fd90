"""One resolution of a TIFF file, with every defect of its structure found when it is opened.

Tiles are read with plain seeks and decoded by ``TiffPage.decode``: tifffile's ``aszarr`` is deprecated in later
releases and slower (``benchmarks/section_reading.py``). No file stays open between reads, so that a brain of thousands
of sections does not run out of file handles and threads need not share a file position.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from cytokeras.errors import UserError

_SIDE_LIMIT = 1 << 20
_BLOCK_BYTES_LIMIT = 1 << 29
_SUBBLOCK_BYTES = 1 << 22
_STRIP_ROWS = 64
_PLAIN, _DEFLATE, _JPEG = 1, (8, 32946), (6, 7, 34892, 33007)
_HORIZONTAL = 2
_NO_CODEC = 'needs imagecodecs; install it with: pip install "cytokeras[codecs]"'


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
    _page: Any
    _decode: Callable[..., Any]
    _jpeg_tables: bytes | None
    _rows: bool  # uncompressed strips, of which any rows can be read
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
        _check_decodable(page, where)
        tiled, samples = bool(page.is_tiled), int(page.samplesperpixel)
        rows = int(page.tilelength) if tiled else min(int(page.rowsperstrip), height)
        columns = int(page.tilewidth) if tiled else width
        if rows < 1 or columns < 1:
            raise UserError(f"{where}: the header says tiles of {rows} x {columns} px; the file is damaged.")
        planes = samples if page.planarconfig == 2 else 1
        _check_segments(page, planes * math.ceil(height / rows) * math.ceil(width / columns), where, file_size)
        row_bytes = columns * samples * page.dtype.itemsize
        plain = page.compression == _PLAIN and page.predictor == 1 and page.fillorder == 1 and planes == 1
        plain = plain and page.bitspersample == 8 * page.dtype.itemsize
        plain = plain and all(page.databytecounts) and all(page.dataoffsets)
        if plain:
            _check_plain(page, height, rows, row_bytes, where)
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
            _page=page,
            _decode=_decoder(page),  # built here: for JPEG it looks into the file, which is closed afterwards
            _jpeg_tables=page.jpegtables,
            _rows=plain and not tiled,
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

    def read_window(self, row: int, column: int, out: NDArray[Any]) -> None:
        """Fill ``out`` with raw values; only where ``direct``. See ``BlockSource``."""
        bottom, right = row + out.shape[0], column + out.shape[1]
        across, rows, stored = -(-self.shape[1] // self.block[1]), self._segment_rows, self.block[1]
        dtype = self.dtype.newbyteorder(self._page.parent.byteorder)
        scratch = np.empty((min(rows, out.shape[0]), stored), dtype)
        with self._open() as file, self._damage_told(f"window ({row}, {column})"):
            for i in range(row // rows, -(-bottom // rows)):
                top, low = max(row, i * rows), min(bottom, (i + 1) * rows)
                part = scratch[: low - top]
                for j in range(column // stored, -(-right // stored)):
                    left, far = max(column, j * stored), min(right, (j + 1) * stored)
                    start = (top - i * rows) * stored * dtype.itemsize
                    file.seek(self._page.dataoffsets[i * across + j] + start)
                    _read_into(file, part.data.cast("B"))
                    out[top - row : low - row, left - column : far - column] = part[
                        :, left - j * stored : far - j * stored
                    ]

    def _open(self) -> IO[bytes]:
        try:
            return open(self.path, "rb", buffering=0)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read any more ({error.strerror}).") from error

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
        if self._rows:
            return index[0]
        across = -(-self.shape[1] // self.block[1])
        return int(self._page.dataoffsets[index[0] * self.block[0] // self._segment_rows * across + index[1]])

    def _load(self, file: IO[bytes], i: int, j: int) -> NDArray[Any] | None:
        """Return block (i, j) as ``(h, w, samples)``, None where the file holds no data for it."""
        top, bottom = i * self.block[0], min((i + 1) * self.block[0], self.shape[0])
        if self._rows:
            return self._load_rows(file, top, bottom)
        down, across = (-(-a // b) for a, b in zip(self.shape, (self._segment_rows, self.block[1]), strict=True))
        planes = []
        for plane in range(self._planes):
            parts = []
            for row in range(top // self._segment_rows, -(-bottom // self._segment_rows)):
                part = self._segment(file, (plane * down + row) * across + j)
                if part is None:
                    if not self._page.is_tiled:
                        raise ValueError(f"strip {row} has no data")
                    return None
                parts.append(part)
            planes.append(np.concatenate(parts) if len(parts) > 1 else parts[0])
        block = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
        return block[: bottom - top, : self.shape[1] - j * self.block[1]]

    def _segment(self, file: IO[bytes], index: int) -> NDArray[Any] | None:
        count = self._page.databytecounts[index]
        if not count:
            return None
        file.seek(self._page.dataoffsets[index])
        content = _read(file, count)
        options = {}
        if self._page.compression in _JPEG:
            _check_jpeg_size(content, (self._segment_rows, self.block[1]))
            options = {} if self._jpeg_tables is None else {"jpegtables": self._jpeg_tables}
        data, _, shape = self._decode(content, index, **options)
        if data is None:
            return None
        return np.asarray(data).reshape(-1, *shape[2:])  # (depth 1, rows, columns, samples)

    def _load_rows(self, file: IO[bytes], top: int, bottom: int) -> NDArray[Any]:
        row_bytes = self.shape[1] * self.samples * self.dtype.itemsize
        parts = []
        row = top
        while row < bottom:
            strip, within = divmod(row, self._segment_rows)
            stop = min(bottom, (strip + 1) * self._segment_rows)
            file.seek(self._page.dataoffsets[strip] + within * row_bytes)
            parts.append(_read(file, (stop - row) * row_bytes))
            row = stop
        values = np.frombuffer(b"".join(parts), self.dtype.newbyteorder(self._page.parent.byteorder))
        return values.reshape(bottom - top, self.shape[1], self.samples)


def imagecodecs_installed() -> bool:
    """Return whether the optional codecs can be imported."""
    with contextlib.suppress(ImportError):
        import imagecodecs  # noqa: F401

        return True
    return False


def _read(file: IO[bytes], count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:  # an unbuffered read may stop early, and does so at 2 GiB
        rest = bytearray(count - len(content))
        _read_into(file, memoryview(rest))
        content += rest
    return content


def _read_into(file: IO[bytes], content: memoryview) -> None:
    place = 0
    while place < len(content):
        count = file.readinto(content[place:])  # type: ignore[attr-defined]
        if not count:
            raise ValueError(f"the file ends {len(content) - place} bytes early")
        place += count


def _check_segments(page: Any, expected: int, where: str, file_size: int) -> None:
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != expected or len(counts) != expected:
        raise UserError(
            f"{where}: has {len(offsets)} tiles or strips where {expected} are needed; the file is damaged."
        )
    end = max((o + c for o, c in zip(offsets, counts, strict=True)), default=0)
    if end > file_size:
        raise UserError(
            f"{where}: is truncated: its image data ends at byte {end}, the file at byte {file_size}; copy it again."
        )
    if any(c and not o for o, c in zip(offsets, counts, strict=True)):
        raise UserError(f"{where}: has tiles or strips without a place in the file; the file is damaged.")


def _check_plain(page: Any, height: int, rows: int, row_bytes: int, where: str) -> None:
    """Uncompressed data must be there in full: TIFF pads tiles to their size, and cuts the last strip."""
    across = math.ceil(page.imagewidth / page.tilewidth) if page.is_tiled else 1
    for index, count in enumerate(page.databytecounts):
        stored = rows if page.is_tiled else min(rows, height - index // across * rows)
        if count < stored * row_bytes:
            kind = "tiles" if page.is_tiled else "strips"
            raise UserError(f"{where}: its {kind} hold fewer bytes than the header says; copy it again.")


def _check_decodable(page: Any, where: str) -> None:
    if page.dtype is None or page.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"{where}: has {page.bitspersample}-bit pixels of kind {page.dtype}; "
            "expected 8-bit or 16-bit unsigned grey or RGB."
        )
    if page.compression == _PLAIN and page.predictor == 1:
        return
    name = getattr(page.compression, "name", str(page.compression))
    try:
        if page.compression != _PLAIN:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        if page.predictor != 1 and page.compression not in tifffile.TIFF.IMAGE_COMPRESSIONS:
            tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError:
        if imagecodecs_installed():
            raise UserError(f"{where}: its {name} compression is not supported.") from None
        raise UserError(f"{where}: is compressed with {name}, which {_NO_CODEC}") from None


def _decoder(page: Any) -> Callable[..., Any]:
    """tifffile's decoder of a page, which without imagecodecs would inflate a zlib bomb whole."""
    whole_bytes = page.bitspersample in (8, 16) and page.fillorder == 1
    if page.compression not in _DEFLATE or imagecodecs_installed() or not whole_bytes:
        decode: Callable[..., Any] = page.decode
        return decode
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    dtype = page.dtype.newbyteorder(page.parent.byteorder)

    def inflate(content: bytes, index: int) -> tuple[NDArray[Any], int, tuple[int, ...]]:
        rows = page.tilelength
        if not page.is_tiled:
            strips = math.ceil(page.imagelength / page.rowsperstrip)
            rows = min(page.rowsperstrip, page.imagelength - index % strips * page.rowsperstrip)
        shape = (1, rows, columns, samples)
        size = math.prod(shape) * dtype.itemsize
        inflater = zlib.decompressobj()
        data = inflater.decompress(content, size)
        if inflater.unconsumed_tail:
            raise ValueError(f"it inflates to more than {size} bytes")
        values = np.frombuffer(data, dtype).reshape(shape)
        if page.predictor == _HORIZONTAL:
            values = np.cumsum(values, axis=2, dtype=page.dtype)
        return values, index, shape

    return inflate


def _check_jpeg_size(content: bytes, tile: tuple[int, int]) -> None:
    """Refuse a JPEG that says it is larger than its tile, before the decoder takes the memory for it."""
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = (int.from_bytes(content[place + k : place + k + 2], "big") for k in (5, 7))
            if height > tile[0] or width > tile[1]:
                raise ValueError(f"a JPEG of {height} x {width} px in a tile of {tile[0]} x {tile[1]} px")
            return
        place += 2 + length
