"""Reading tiled and striped TIFF files block by block, with every defect of a file found when it is opened.

Tiles are read with plain seeks and decoded by ``TiffPage.decode``: tifffile's ``aszarr`` is deprecated in
later releases and four to five times slower. No file stays open between reads, so that a brain of thousands
of sections does not run out of file handles and threads need not share a file position.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from cytokeras.errors import UserError

_SIDE_LIMIT = 1 << 20
_BLOCK_BYTES_LIMIT = 1 << 30
_SUBBLOCK_BYTES = 1 << 22
_STRIP_ROWS = 64
_NO_CODEC = 'needs imagecodecs; install it with: pip install "cytokeras[codecs]"'


@dataclass(frozen=True)
class TiffLevel:
    """One resolution of a TIFF file, divided into blocks that are read and decoded on their own."""

    shape: tuple[int, int]
    samples: int
    dtype: np.dtype[Any]
    block: tuple[int, int]
    grid: tuple[int, int]
    _page: Any
    _decode: Callable[..., Any]
    _jpeg_tables: bytes | None
    _direct: bool  # uncompressed strips, of which any rows can be read
    _planes: int

    @classmethod
    def from_page(cls, page: Any, where: str, file_size: int) -> TiffLevel:
        """Check a page's structure against the size of its file and lay out its blocks."""
        height, width = int(page.imagelength), int(page.imagewidth)
        if not (0 < height <= _SIDE_LIMIT and 0 < width <= _SIDE_LIMIT) or page.imagedepth != 1:
            raise UserError(
                f"{where}: the header says {height} x {width} x {page.imagedepth} px (height, width, depth); "
                f"a section image has 1 to {_SIDE_LIMIT} px a side and depth 1."
            )
        _check_decodable(page, where)
        planes = int(page.samplesperpixel) if page.planarconfig == 2 else 1
        tiled = bool(page.is_tiled)
        rows = int(page.tilelength) if tiled else min(int(page.rowsperstrip), height)
        columns = int(page.tilewidth) if tiled else width
        if rows < 1 or columns < 1:
            raise UserError(f"{where}: the header says tiles of {rows} x {columns} px; the file is damaged.")
        itemsize = page.dtype.itemsize
        row_bytes = columns * int(page.samplesperpixel) * itemsize
        expected = planes * math.ceil(height / rows) * math.ceil(width / columns)
        offsets, counts = page.dataoffsets, page.databytecounts
        if len(offsets) != expected or len(counts) != expected:
            raise UserError(
                f"{where}: has {len(offsets)} tiles or strips where {expected} are needed; the file is damaged."
            )
        end = max((o + c for o, c in zip(offsets, counts, strict=True)), default=0)
        if end > file_size:
            raise UserError(
                f"{where}: is truncated: its image data ends at byte {end}, the file at byte {file_size}; "
                "copy it again."
            )
        plain = page.compression == 1 and page.predictor == 1 and page.fillorder == 1 and planes == 1
        bits = page.bitspersample
        direct = not tiled and plain and bits == 8 * itemsize and all(counts) and all(offsets)
        if direct:
            full = all(c >= min(rows, height - i * rows) * row_bytes for i, c in enumerate(counts))
            if not full:
                raise UserError(f"{where}: its strips hold fewer bytes than the header says; copy it again.")
            block_rows = max(1, min(256, _SUBBLOCK_BYTES // row_bytes))
        elif rows * row_bytes > _BLOCK_BYTES_LIMIT:
            raise UserError(
                f"{where}: its tiles or strips of {rows} x {columns} px are too large to read piecewise; "
                "write it again with tiles of 512 px."
            )
        else:
            block_rows = rows if tiled else rows * max(1, _STRIP_ROWS // rows)
        return cls(
            shape=(height, width),
            samples=int(page.samplesperpixel),
            dtype=np.dtype(page.dtype),
            block=(block_rows, columns),
            grid=(math.ceil(height / block_rows), math.ceil(width / columns)),
            _page=page,
            _decode=page.decode,  # built here: for JPEG it looks into the file, which is closed afterwards
            _jpeg_tables=page.jpegtables,
            _direct=direct,
            _planes=planes,
        )

    def block_extent(self, i: int, j: int) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of block (i, j), cut to the image."""
        top, left = i * self.block[0], j * self.block[1]
        return top, left, min(top + self.block[0], self.shape[0]), min(left + self.block[1], self.shape[1])

    def load(self, file: IO[bytes], i: int, j: int) -> NDArray[Any] | None:
        """Return block (i, j) as ``(h, w, samples)`` raw values, None where the file holds no data for it."""
        top, left, bottom, right = self.block_extent(i, j)
        if self._direct:
            return self._load_rows(file, top, bottom)
        page = self._page
        height = page.tilelength if page.is_tiled else min(page.rowsperstrip, self.shape[0])
        down = math.ceil(self.shape[0] / height)
        planes = []
        for plane in range(self._planes):
            parts = []
            for row in range(top // height, math.ceil(bottom / height)):
                part = self._segment(file, (plane * down + row) * self.grid[1] + j)
                if part is None:
                    if not page.is_tiled:
                        raise ValueError(f"strip {row} has no data")
                    return None
                parts.append(part)
            planes.append(np.concatenate(parts) if len(parts) > 1 else parts[0])
        block = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
        return block[: bottom - top, : right - left]

    def _segment(self, file: IO[bytes], index: int) -> NDArray[Any] | None:
        count = self._page.databytecounts[index]
        if not count:
            return None
        file.seek(self._page.dataoffsets[index])
        options = {} if self._jpeg_tables is None else {"jpegtables": self._jpeg_tables}
        data, _, shape = self._decode(file.read(count), index, **options)
        if data is None:
            return None
        return np.asarray(data).reshape(-1, *shape[2:])  # (depth 1, rows, columns, samples)

    def _load_rows(self, file: IO[bytes], top: int, bottom: int) -> NDArray[Any]:
        page = self._page
        row_bytes = self.shape[1] * self.samples * self.dtype.itemsize
        parts = []
        row = top
        while row < bottom:
            strip, within = divmod(row, page.rowsperstrip)
            stop = min(bottom, (strip + 1) * page.rowsperstrip)
            file.seek(page.dataoffsets[strip] + within * row_bytes)
            parts.append(file.read((stop - row) * row_bytes))
            row = stop
        values = np.frombuffer(b"".join(parts), self.dtype.newbyteorder(page.parent.byteorder))
        return values.reshape(bottom - top, self.shape[1], self.samples)

    def order(self, i: int, j: int) -> int:
        """Return where block (i, j) begins in the file, to read blocks in the order of the disk."""
        if self._direct:
            return i
        row = i * self.block[0] // (self._page.tilelength if self._page.is_tiled else self._page.rowsperstrip)
        return int(self._page.dataoffsets[row * self.grid[1] + j])


@dataclass(frozen=True)
class TiffFileInfo:
    """The resolutions of a TIFF file, finest first, and what its tags say of the image."""

    path: Path
    levels: tuple[TiffLevel, ...]
    photometric: int
    alpha: str | None  # "associated", "unassociated" or None
    bits: int
    description: str
    resolution: tuple[float, float, int] | None  # pixels per unit across and down, unit (1 none, 2 inch, 3 cm)

    @classmethod
    def open(cls, path: Path) -> TiffFileInfo:
        """Read the structure of a TIFF file.

        Raises:
            UserError: Missing, a folder, not TIFF, damaged, truncated, a stack, or a codec is not installed.
        """
        check_file(path)
        size = os.path.getsize(path)
        try:
            with tifffile.TiffFile(path) as tif:
                return _describe(tif, path, size)
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error
        except (
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            struct.error,
            MemoryError,
            OverflowError,
        ) as error:
            raise UserError(f"{path}: is damaged or not a TIFF file ({error}).") from error


def check_file(path: Path) -> None:
    """Raise UserError unless ``path`` is a file that is not empty."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected an image file.")
    if not path.exists():
        raise UserError(f"{path}: no such file.")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty; expected an image file.")


def _describe(tif: tifffile.TiffFile, path: Path, size: int) -> TiffFileInfo:
    pages = list(tif.pages)
    if not pages:
        raise UserError(f"{path}: is truncated or damaged: its page directory cannot be read; copy it again.")
    main: Any = max(pages, key=lambda page: page.imagelength * page.imagewidth)
    same = [p for p in pages if (p.imagelength, p.imagewidth) == (main.imagelength, main.imagewidth)]
    if len(same) > 1:
        raise UserError(
            f"{path}: holds {len(same)} images of {main.imagelength} x {main.imagewidth} px (a stack or "
            "separate channels); give one section a file."
        )
    first = TiffLevel.from_page(main, str(path), size)
    smaller = list(main.pages) if main.subifds else [page for page in pages if page is not main]
    levels = [first]
    for page in sorted(smaller, key=lambda page: -page.imagelength * page.imagewidth):
        if _is_reduced_copy(page, main, levels[-1].shape):
            levels.append(TiffLevel.from_page(page, f"{path} (level {len(levels)})", size))
    extra = tuple(main.extrasamples)
    bits = main.bitspersample
    alpha = {1: "associated", 2: "unassociated"}.get(int(extra[-1])) if extra else None
    return TiffFileInfo(
        path=path,
        levels=tuple(levels),
        photometric=int(main.photometric),
        alpha=alpha,
        bits=max(bits) if isinstance(bits, tuple) else int(bits),
        description=str(main.description or ""),
        resolution=_resolution(main),
    )


def _is_reduced_copy(page: Any, main: Any, previous: tuple[int, int]) -> bool:
    """Tell a pyramid level from a label or overview picture by its proportions."""
    height, width = page.imagelength, page.imagewidth
    if not height or not width or height > 0.8 * previous[0] or width > 0.8 * previous[1]:
        return False
    if page.samplesperpixel != main.samplesperpixel or page.dtype != main.dtype:
        return False
    factor = max(main.imagelength / height, main.imagewidth / width)
    # Halving several times and rounding each time is off by at most one pixel of this level.
    return bool(abs(main.imagelength / factor - height) <= 1 and abs(main.imagewidth / factor - width) <= 1)


def _resolution(page: Any) -> tuple[float, float, int] | None:
    values = [page.tags.get(code) for code in (282, 283)]
    if any(tag is None for tag in values):
        return None
    across, down = (tag.value[0] / tag.value[1] if tag.value[1] else 0.0 for tag in values)
    unit = page.tags.get(296)
    return float(across), float(down), int(unit.value) if unit is not None else 2


def _check_decodable(page: Any, where: str) -> None:
    if page.dtype is None or page.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"{where}: has {page.bitspersample}-bit pixels of kind {page.dtype}; "
            "expected 8-bit or 16-bit unsigned grey or RGB."
        )
    if page.compression == 1 and page.predictor == 1:
        return
    name = getattr(page.compression, "name", str(page.compression))
    try:
        if page.compression != 1:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        if page.predictor != 1 and page.compression not in tifffile.TIFF.IMAGE_COMPRESSIONS:
            tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError:
        if imagecodecs_installed():
            raise UserError(f"{where}: its {name} compression is not supported.") from None
        raise UserError(f"{where}: is compressed with {name}, which {_NO_CODEC}") from None


def imagecodecs_installed() -> bool:
    """Return whether the optional codecs can be imported."""
    with contextlib.suppress(ImportError):
        import imagecodecs  # noqa: F401

        return True
    return False
