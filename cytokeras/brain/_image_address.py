"""What the address of a section image says before anything is opened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PREFIXES: Final = ("precomputed://", "zarr://")
METADATA_FILES: Final = ("info", ".zattrs", "zarr.json")
_PLANE = re.compile(r"#([xyzt])=(\d+)$")


def is_chunked(address: str) -> bool:
    """Tell the address of a chunked image (a URL, or a folder with its metadata) from that of a file."""
    place, _ = split_plane(address)
    return is_url(place) or any((Path(place) / name).is_file() for name in METADATA_FILES)


def is_url(address: str) -> bool:
    """Tell an address of a server from a path."""
    return "://" in address


def split_plane(address: str) -> tuple[str, tuple[str, int] | None]:
    """Return an address without ``#z=12`` at its end, and the axis and index that this names."""
    match = _PLANE.search(address)
    return (address[: match.start()], (match[1], int(match[2]))) if match else (address, None)
