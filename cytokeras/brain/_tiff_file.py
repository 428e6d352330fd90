"""What a TIFF file holds: its resolutions, and what its tags say of the image."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tifffile

from cytokeras.brain._tiff_level import TiffLevel
from cytokeras.errors import UserError

_PAGE_LIMIT = 256


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
            _check_page_chain(path, size)
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


def _check_page_chain(path: Path, size: int) -> None:
    """Follow the chain of page directories to its end, which a damaged file may not have."""
    with path.open("rb") as file:
        head = file.read(16)
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        big = head[2:4] in (b"+\0", b"\0+")
        counter, entry, pointer = (8, 20, 8) if big else (2, 12, 4)
        place = int.from_bytes(head[8:16] if big else head[4:8], order)
        seen: set[int] = set()
        while place:
            if place in seen:
                raise UserError(f"{path}: its page directory at byte {place} refers back to itself; copy it again.")
            if len(seen) == _PAGE_LIMIT:
                raise UserError(f"{path}: holds more than {_PAGE_LIMIT} images (a stack); give one section a file.")
            seen.add(place)
            following = b""
            if place < size:
                file.seek(place)
                entries = int.from_bytes(file.read(counter), order)
                file.seek(place + counter + entry * min(entries, 0xFFFF))
                following = file.read(pointer)
            if len(following) < pointer:
                raise UserError(f"{path}: is truncated or damaged: its page directory is cut off; copy it again.")
            place = int.from_bytes(following, order)


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
    first = TiffLevel.from_page(main, path, 0, size)
    smaller = list(main.pages) if main.subifds else [page for page in pages if page is not main]
    levels = [first]
    for page in sorted(smaller, key=lambda page: -page.imagelength * page.imagewidth):
        if _is_reduced_copy(page, main, levels[-1].shape):
            levels.append(TiffLevel.from_page(page, path, len(levels), size))
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
