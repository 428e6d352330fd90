"""What must be right with a TIFF page before anything of it is read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tifffile

from cytokeras.brain._tiff_codec import imagecodecs_installed
from cytokeras.errors import UserError

_PLAIN = 1
_NO_CODEC = 'needs imagecodecs; install it with: pip install "cytokeras[codecs]"'


def check_segments(page: Any, expected: int, where: str, file_size: int) -> None:
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


def check_plain(page: Any, height: int, rows: int, row_bytes: int, where: str) -> None:
    """Uncompressed data must be there in full: TIFF pads tiles to their size, and cuts the last strip."""
    across = math.ceil(page.imagewidth / page.tilewidth) if page.is_tiled else 1
    for index, count in enumerate(page.databytecounts):
        stored = rows if page.is_tiled else min(rows, height - index // across * rows)
        if count < stored * row_bytes:
            kind = "tiles" if page.is_tiled else "strips"
            raise UserError(f"{where}: its {kind} hold fewer bytes than the header says; copy it again.")


def check_decodable(page: Any, where: str) -> None:
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
