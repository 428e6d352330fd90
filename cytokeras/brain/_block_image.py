"""Section images that are stored in blocks: what TIFF files and chunked arrays have in common."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain._block_reader import BlockReader, BlockSource, block_extent, block_grid
from cytokeras.brain._cell_body_channel import CellBodyChannel, Sample, sample_positions
from cytokeras.brain._tile_cache import TileCache
from cytokeras.brain.section_images import SectionImage

_SAMPLE_BLOCKS = 8  # a side
_SAMPLE_PIXELS = 1 << 18
_SMALLEST_SAMPLED = 1 << 16


class BlockImage(SectionImage):
    """An image whose resolutions are block sources; its conversion is estimated at the first read.

    Args:
        where: The file or address, for messages.
        sources: The resolutions, finest first.
        pixel_size_um: Size of a pixel of the finest in µm.
        cache: Where converted blocks are kept.
        conversion: Further arguments of ``CellBodyChannel.estimate``.
    """

    def __init__(
        self,
        where: str,
        sources: Sequence[BlockSource],
        pixel_size_um: float,
        cache: TileCache,
        conversion: Mapping[str, Any],
    ) -> None:
        self.shape = sources[0].shape
        self.pixel_size_um = pixel_size_um
        self.level_shapes = tuple(source.shape for source in sources)
        self.levels = tuple(_factor(self.shape, shape) for shape in self.level_shapes)
        self._where = where
        self._sources = tuple(sources)
        self._options = dict(conversion)
        self._reader = BlockReader(sources, self._convert, lambda: self.background, cache)
        self._conversion: CellBodyChannel | None = None
        self._lock = threading.Lock()

    @property
    def background(self) -> int:
        """Grey level (0 … 255) of the surroundings, from a coarse sample of the image."""
        return self.conversion.background

    @property
    def conversion(self) -> CellBodyChannel:
        """How raw pixels become the cell-body channel."""
        with self._lock:
            if self._conversion is None:
                self._conversion = CellBodyChannel.estimate(self._sample(), self._where, **self._options)
            return self._conversion

    def details(self) -> dict[str, str]:
        """Return, for people to read, how the pixels are stored and what is made of them."""
        first = self._sources[0]
        height, width = first.block
        stored = f"{first.samples} x {first.dtype.name}, read in blocks of {width} x {height} px"
        return {"stored as": stored, "read as": str(self.conversion)}

    def _read_inside(self, level: int, row: int, column: int, out: NDArray[np.uint8]) -> None:
        self._reader.read_inside(level, row, column, out)

    def _convert(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        return self.conversion.apply(raw)

    def _sample(self) -> Sample:
        """Take every n-th pixel of up to 8 x 8 blocks spread over the coarsest level that is large enough."""
        large = [k for k, (h, w) in enumerate(self.level_shapes) if h * w >= _SMALLEST_SAMPLED]
        level = self._sources[large[-1] if large else 0]
        spread = [
            np.unique(np.linspace(0, count - 1, min(count, _SAMPLE_BLOCKS)).round().astype(int))
            for count in block_grid(level)
        ]
        indices = [(int(i), int(j)) for i in spread[0] for j in spread[1]]
        budget = _SAMPLE_PIXELS / len(indices)
        values, border = [], []
        for (i, j), raw in level.read_blocks(indices):
            if raw is None:
                continue
            step = max(1, int(np.sqrt(raw.shape[0] * raw.shape[1] / budget)))
            top, left, bottom, right = block_extent(level, i, j)
            rows, columns = np.arange(top, bottom, step), np.arange(left, right, step)
            values.append(raw[::step, ::step].reshape(len(rows) * len(columns), -1))
            border.append(sample_positions(level.shape, rows, columns).ravel())
        if not values:
            return Sample(np.zeros((0, level.samples), level.dtype), np.zeros(0, bool))
        return Sample(np.concatenate(values), np.concatenate(border))


def _factor(full: tuple[int, int], level: tuple[int, int]) -> float:
    """Return the downsampling factor, whole where rounding explains the difference."""
    factor = max(full) / level[int(np.argmax(full))]
    whole = round(factor)
    explained = all(abs(n / whole - m) <= 1 for n, m in zip(full, level, strict=True))
    return float(whole) if explained else factor
