"""Arguments that name a section image: a file, a folder, or the address of a server."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from cytokeras.brain._image_address import PREFIXES, is_url, split_plane

_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".ome", ".zarr")


def image_name(address: str) -> str:
    """Return what the files made from an image begin with: its name without suffix, and its plane of a volume."""
    place, plane = split_plane(address)
    for prefix in PREFIXES:
        place = place.removeprefix(prefix)
    name = Path((urlsplit(place).path if is_url(place) else place).rstrip("/")).name
    for suffix in _SUFFIXES * 2:  # .ome.tif, .ome.zarr
        name = name.removesuffix(suffix)
    if is_url(place):
        name = re.sub(r"[^\w.-]", "_", name)
    return (name or "section") + (f"-{plane[0]}{plane[1]}" if plane else "")
