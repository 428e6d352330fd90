"""Section images in PNG and JPEG files, which can only be decoded whole."""

from __future__ import annotations

import itertools
import threading
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cytokeras.brain._cell_body_channel import CellBodyChannel, Channel, Polarity, Sample, sample_positions
from cytokeras.brain._pixel_size import resolve_pixel_size
from cytokeras.brain._tile_cache import TileCache
from cytokeras.brain.section_images import SectionImage
from cytokeras.errors import UserError

# Decoding needs up to four bytes a pixel; larger sections belong into a tiled TIFF.
_PIXEL_LIMIT = 178_000_000
_SAMPLE_PIXELS = 1 << 18
_CHANNELS = {"1": 1, "L": 1, "I;16": 1, "I;16B": 1, "I": 1, "P": 3, "RGB": 3, "RGBA": 4, "LA": 2, "CMYK": 4}


_images = itertools.count()


class RasterImage(SectionImage):
    """A PNG or JPEG file as a section image, decoded as a whole when it is first read; see ``open``."""

    def __init__(
        self, path: Path, pixel_size_um: float | None, channel: Channel | None, polarity: Polarity, cache: TileCache
    ) -> None:
        with _open(path) as image:
            width, height = image.size
            kind = image.format
            if image.mode not in ("1", "L", "I;16", "I;16B", "I", "P", "RGB", "RGBA"):
                count = _CHANNELS.get(image.mode, len(image.getbands()))
                raise UserError(f"{path}: has {count} channels (mode {image.mode}); expected grey, RGB or RGBA.")
        self.path = path
        self.format = f"{kind}, decoded whole"
        self.shape = (height, width)
        self.pixel_size_um = resolve_pixel_size(str(path), pixel_size_um)
        self.levels = (1.0,)
        self.level_shapes = (self.shape,)
        self._channel, self._polarity = channel, polarity
        self._cache, self._key = cache, f"raster {next(_images)}"
        self._conversion: CellBodyChannel | None = None
        self._lock = threading.Lock()

    @property
    def background(self) -> int:
        """Grey level (0 … 255) of the surroundings, from a coarse sample of the image."""
        return self._conversion_once().background

    def details(self) -> dict[str, str]:
        """Return, for people to read, how the pixels are stored and what is made of them."""
        return {"read as": str(self._conversion_once())}

    def _conversion_once(self) -> CellBodyChannel:
        if self._conversion is None:
            self._decode_once()
        assert self._conversion is not None
        return self._conversion

    def _read_inside(self, level: int, row: int, column: int, out: NDArray[np.uint8]) -> None:
        out[...] = self._decode_once()[row : row + out.shape[0], column : column + out.shape[1]]

    def _decode_once(self) -> NDArray[np.uint8]:
        """The whole image, which the cache keeps as one tile as long as it has room for it."""
        with self._lock:
            pixels = self._cache.get(self._key)
            if pixels is None:
                pixels, self._conversion = self._decode()
                self._cache.put(self._key, pixels)
            return pixels

    def _decode(self) -> tuple[NDArray[np.uint8], CellBodyChannel]:
        try:
            with _open(self.path) as image:
                if image.mode in ("P", "1"):
                    transparent = "transparency" in image.info
                    image = image.convert("RGBA" if transparent else "RGB" if image.mode == "P" else "L")
                raw = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{self.path}: is truncated or damaged ({error}); copy it again.") from error
        if raw.dtype != np.uint8:
            raw = np.clip(raw, 0, 65535).astype(np.uint16)
        step = max(1, int(np.sqrt(raw.shape[0] * raw.shape[1] / _SAMPLE_PIXELS)))
        rows, columns = (np.arange(0, length, step) for length in self.shape)
        sample = Sample(
            raw[::step, ::step].reshape(len(rows) * len(columns), -1),
            sample_positions(self.shape, rows, columns).ravel(),
        )
        conversion = CellBodyChannel.estimate(
            sample, str(self.path), channel=self._channel, polarity=self._polarity, alpha="unassociated"
        )
        return conversion.apply(raw), conversion


def _open(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 million pixels; the limit below and its own error do the guarding.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=("PNG", "JPEG"))
    except UnidentifiedImageError:
        raise UserError(f"{path}: is not an image; expected TIFF, PNG or JPEG.") from None
    except Image.DecompressionBombError:
        raise UserError(_too_large(path)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}).") from error
    if image.width * image.height > _PIXEL_LIMIT:
        image.close()
        raise UserError(_too_large(path))
    return image


def _too_large(path: Path) -> str:
    return (
        f"{path}: has more than {_PIXEL_LIMIT / 1e6:.0f} million pixels, too many for PNG or JPEG, which "
        "must be decoded whole; save it as a tiled TIFF."
    )
