"""Section images in TIFF, BigTIFF and OME-TIFF files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain._block_reader import BlockReader
from cytokeras.brain._cell_body_channel import CellBodyChannel, Channel, Polarity, Sample, sample_positions
from cytokeras.brain._pixel_size import resolve_pixel_size, significant_bits
from cytokeras.brain._section_tiff import OWN_CREATOR
from cytokeras.brain._tiff_file import TiffFileInfo
from cytokeras.brain.section_images import SectionImage
from cytokeras.errors import UserError

_SAMPLE_BLOCKS = 8  # a side
_SAMPLE_PIXELS = 1 << 18
_SMALLEST_SAMPLED = 1 << 16
_MIN_IS_WHITE, _PALETTE = 0, 3
_SUPPORTED_PHOTOMETRIC = (0, 1, 2, 6)  # grey (either way), RGB, YCbCr (JPEG)


class TiffImage(SectionImage):
    """A TIFF file as a section image; see ``SectionImage.open``."""

    def __init__(self, path: Path, pixel_size_um: float | None, channel: Channel | None, polarity: Polarity) -> None:
        info = TiffFileInfo.open(path)
        first = info.levels[0]
        if info.photometric not in _SUPPORTED_PHOTOMETRIC:
            kind = "a colour palette" if info.photometric == _PALETTE else f"photometric {info.photometric}"
            raise UserError(f"{path}: has {kind}; expected grey or RGB.")
        if first.samples not in (1, 3, 4):
            raise UserError(f"{path}: has {first.samples} channels; expected 1 (grey), 3 (RGB) or 4 (RGBA).")
        self.path = path
        self.shape = first.shape
        self.pixel_size_um = resolve_pixel_size(str(path), pixel_size_um, info.description, info.resolution)
        self.level_shapes = tuple(level.shape for level in info.levels)
        self.levels = tuple(_factor(first.shape, shape) for shape in self.level_shapes)
        self._info = info
        # What write_section_tiff wrote is bright-field already, however dark a crop's border may be.
        ours = OWN_CREATOR in info.description[:1024]
        self._channel: Channel | None = channel
        self._polarity: Polarity = "bright" if ours and polarity == "auto" else polarity
        self._reader = BlockReader(path, info.levels, self._convert, lambda: self.background)
        self._conversion: CellBodyChannel | None = None
        self._lock = threading.Lock()

    @property
    def background(self) -> int:
        """Grey level (0 … 255) of the surroundings, from a coarse sample of the image."""
        return self._conversion_once().background

    def _read_inside(self, level: int, row: int, column: int, out: NDArray[np.uint8]) -> None:
        self._reader.read_inside(level, row, column, out)

    def _convert(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        return self._conversion_once().apply(raw)

    def _conversion_once(self) -> CellBodyChannel:
        with self._lock:
            if self._conversion is None:
                bits = significant_bits(self._info.description)
                if bits is None and self._info.bits not in (8, 16):
                    bits = self._info.bits
                self._conversion = CellBodyChannel.estimate(
                    self._sample(),
                    str(self.path),
                    channel=self._channel,
                    polarity=self._polarity,
                    alpha=self._info.alpha,
                    significant_bits=bits,
                    zero_is_white=self._info.photometric == _MIN_IS_WHITE,
                )
            return self._conversion

    def _sample(self) -> Sample:
        """Take every n-th pixel of up to 8 x 8 blocks spread over the coarsest level that is large enough."""
        large = [k for k, (h, w) in enumerate(self.level_shapes) if h * w >= _SMALLEST_SAMPLED]
        number = large[-1] if large else 0
        level = self._info.levels[number]
        spread = [
            np.unique(np.linspace(0, count - 1, min(count, _SAMPLE_BLOCKS)).round().astype(int)) for count in level.grid
        ]
        indices = [(int(i), int(j)) for i in spread[0] for j in spread[1]]
        budget = _SAMPLE_PIXELS / len(indices)
        values, border = [], []
        blocks = self._reader.raw_blocks(number, indices)
        for (i, j), raw in zip(indices, blocks, strict=True):
            if raw is None:
                continue
            step = max(1, int(np.sqrt(raw.shape[0] * raw.shape[1] / budget)))
            top, left, bottom, right = level.block_extent(i, j)
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
