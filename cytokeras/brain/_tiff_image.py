"""Section images in TIFF, BigTIFF and OME-TIFF files."""

from __future__ import annotations

from pathlib import Path

from cytokeras.brain._block_image import BlockImage
from cytokeras.brain._cell_body_channel import Channel, Polarity
from cytokeras.brain._pixel_size import resolve_pixel_size, significant_bits
from cytokeras.brain._section_tiff import OWN_CREATOR
from cytokeras.brain._tiff_file import TiffFileInfo
from cytokeras.brain._tile_cache import TileCache
from cytokeras.errors import UserError

_MIN_IS_WHITE, _PALETTE = 0, 3
_SUPPORTED_PHOTOMETRIC = (0, 1, 2, 6)  # grey (either way), RGB, YCbCr (JPEG)


class TiffImage(BlockImage):
    """A TIFF file as a section image; see ``SectionImage.open``."""

    def __init__(
        self, path: Path, pixel_size_um: float | None, channel: Channel | None, polarity: Polarity, cache: TileCache
    ) -> None:
        info = TiffFileInfo.open(path)
        first = info.levels[0]
        if info.photometric not in _SUPPORTED_PHOTOMETRIC:
            kind = "a colour palette" if info.photometric == _PALETTE else f"photometric {info.photometric}"
            raise UserError(f"{path}: has {kind}; expected grey or RGB.")
        if first.samples not in (1, 3, 4):
            raise UserError(f"{path}: has {first.samples} channels; expected 1 (grey), 3 (RGB) or 4 (RGBA).")
        self.path = path
        self.format = f"TIFF, {first.compression}"
        bits = significant_bits(info.description)
        if bits is None and info.bits not in (8, 16):
            bits = info.bits
        # What write_section_tiff wrote is bright-field already, however dark a crop's border may be.
        ours = OWN_CREATOR in info.description[:1024]
        super().__init__(
            str(path),
            info.levels,
            resolve_pixel_size(str(path), pixel_size_um, info.description, info.resolution),
            cache,
            {
                "channel": channel,
                "polarity": "bright" if ours and polarity == "auto" else polarity,
                "alpha": info.alpha,
                "significant_bits": bits,
                "zero_is_white": info.photometric == _MIN_IS_WHITE,
            },
        )
