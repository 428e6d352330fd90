"""Decoded tiles of all images in one place, so that their memory is bounded however many sections are open."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cytokeras.errors import UserError

DEFAULT_BYTES: Final = 512 << 20
"""Holds the tiles under 200 windows of 1019 px, or ten whole PNG sections of 48 megapixels; a small part of the memory
of a laptop."""


class TileCache:
    """The tiles used last, up to a number of bytes. Safe from several threads at once.

    Args:
        limit_bytes: Bytes of pixels kept at most; 0 keeps none, and TIFF tiles are then decoded only as far as a window
            needs, so that damage behind it is not seen. A tile larger than that is not kept.

    Raises:
        UserError: A limit below 0.
    """

    def __init__(self, limit_bytes: int = DEFAULT_BYTES) -> None:
        self._tiles: OrderedDict[Hashable, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self.limit_bytes = limit_bytes

    @property
    def limit_bytes(self) -> int:
        """Bytes kept at most; setting a lower number drops tiles at once."""
        return self._limit

    @limit_bytes.setter
    def limit_bytes(self, value: int) -> None:
        if int(value) < 0:
            raise UserError(f"limit_bytes: must be 0 or more; received {value}.")
        with self._lock:
            self._limit = int(value)
            self._shrink()

    @property
    def held_bytes(self) -> int:
        """Bytes of the tiles held now."""
        return self._bytes

    def get(self, key: Hashable) -> NDArray[np.uint8] | None:
        """Return a tile, None where it is not (or no longer) held."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: Hashable, tile: NDArray[np.uint8]) -> None:
        """Keep a tile, in exchange for those that were not used for longest."""
        with self._lock:
            if key in self._tiles or tile.nbytes > self._limit:
                return
            self._tiles[key] = tile
            self._bytes += tile.nbytes
            self._shrink()

    def _shrink(self) -> None:
        while self._bytes > self._limit:
            self._bytes -= self._tiles.popitem(last=False)[1].nbytes


tile_cache: Final = TileCache()
"""The cache that all images share unless they are opened with one of their own; set its ``limit_bytes``."""
