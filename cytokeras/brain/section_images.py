"""Section images of any size: every format becomes windows of 8-bit grey, dark cells on a bright ground."""

from __future__ import annotations

import abc
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain._cell_body_channel import STAINS, Channel, Polarity, bright_background, sample_positions
from cytokeras.brain._image_address import is_chunked
from cytokeras.brain._pixel_size import check_pixel_size
from cytokeras.brain._section_tiff import write_section_tiff
from cytokeras.brain._tiff_file import check_file
from cytokeras.brain._tile_cache import TileCache, tile_cache
from cytokeras.errors import UserError

__all__ = ["ArrayImage", "SectionImage", "TileCache", "tile_cache", "write_section_tiff"]

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BACKGROUND_SAMPLES = 1 << 18


class SectionImage(abc.ABC):
    """One cell-body channel of a section, read window by window.

    Reading is safe from several threads at once. Subclasses give the attributes below and ``_read_inside``.

    Attributes:
        shape: (height, width) of the finest level in pixels.
        pixel_size_um: Size of a pixel of the finest level in µm.
        levels: Downsampling factor of each resolution, ``(1.0, …)`` rising.
        level_shapes: (height, width) of each resolution.
        format: What the image is stored as.
    """

    shape: tuple[int, int]
    pixel_size_um: float
    levels: tuple[float, ...]
    level_shapes: tuple[tuple[int, int], ...]
    format: str = "array"

    @property
    @abc.abstractmethod
    def background(self) -> int:
        """Grey level (0 … 255) of the surroundings, with which pixels outside the image are filled."""

    @abc.abstractmethod
    def _read_inside(self, level: int, row: int, column: int, out: NDArray[np.uint8]) -> None:
        """Fill ``out`` with the window of its shape at (row, column), which lies inside the level."""

    def read(self, row: int, column: int, height: int, width: int, level: int = 0) -> NDArray[np.uint8]:
        """Return a window of the image.

        Args:
            row: First row, in pixels of ``level``; may lie outside the image.
            column: First column, in pixels of ``level``.
            height: Rows.
            width: Columns.
            level: Index into ``levels``; 0 is the finest. Pixel p of a level with factor f covers the pixels
                f * p … f * p + f - 1 of the finest, so it is centred on f * (p + 0.5) - 0.5.

        Returns:
            ``(height, width)`` uint8, 0 black (cells) … 255 white; ``background`` outside the image.

        Raises:
            UserError: A negative size, a level that is not there, or a damaged file.
        """
        row, column, height, width = int(row), int(column), int(height), int(width)
        if height < 0 or width < 0:
            raise UserError(f"window: height and width must be 0 or more; received {height} x {width}.")
        if not 0 <= level < len(self.levels):
            raise UserError(f"level: must be 0 to {len(self.levels) - 1}; received {level}.")
        rows, columns = self.level_shapes[level]
        top, bottom = max(row, 0), min(row + height, rows)
        left, right = max(column, 0), min(column + width, columns)
        if (top, left, bottom, right) == (row, column, row + height, column + width):
            result = np.empty((height, width), np.uint8)
        else:
            result = np.full((height, width), self.background, np.uint8)
        if top < bottom and left < right:
            self._read_inside(level, top, left, result[top - row : bottom - row, left - column : right - column])
        return result

    @staticmethod
    def open(
        path: str | os.PathLike[str],
        pixel_size_um: float | None = None,
        channel: Channel | None = None,
        *,
        polarity: Polarity = "auto",
        cache: TileCache | None = None,
    ) -> SectionImage:
        """Open a TIFF, BigTIFF or OME-TIFF (tiled, striped, pyramidal), PNG, JPEG, OME-Zarr or precomputed image.

        OME-Zarr and *neuroglancer precomputed* are folders, or addresses of a server (http, https), and need the
        extra ``tensorstore``. Of a volume name the plane: ``"folder#z=12"`` (x, y, z or t, counted from 0). The
        rows of such an image run along the last of x, y and z that is left, its columns along the other. A
        transient error of a server is tried again; one that stays silent is given up after 8 s.

        16 bits are scaled to 8 (by the bit depth the file states, else by the smallest of 8, 10, 12, 14 and
        16 bits that holds a coarse sample). RGB becomes one channel: nearly grey pictures their luma,
        others the haematoxylin channel of the colour deconvolution of Ruifrok & Johnston 2001, which also
        takes the cell bodies of a Nissl stain. Transparent pixels count as white. An image whose border is
        dark (its median below a third of the range, padding with exact black aside) is inverted. Orientation
        tags are not applied.

        Args:
            path: The file, folder or address; its content, not its name, decides the format.
            pixel_size_um: Size of a pixel in µm; None: from OME-XML, from the metadata of OME-Zarr or
                precomputed, or from the TIFF's resolution tags where they mean 0.05 to 40 µm.
            channel: ``"haematoxylin"``, ``"eosin"``, ``"dab"`` or ``"grey"`` (luma); None: as above.
            polarity: ``"bright"`` or ``"dark"`` background where the border does not tell.
            cache: Where decoded tiles are kept; None: ``tile_cache``, which all images share.

        Raises:
            UserError: The file is missing, damaged or of another kind, its pixel size is unknown or
                contradicts ``pixel_size_um`` by more than 1 %, or a codec is not installed.
        """
        if channel is not None and channel not in (*STAINS, "grey"):
            raise UserError(f"channel: must be one of {', '.join(STAINS)}, grey; received {channel!r}.")
        if polarity not in ("auto", "bright", "dark"):
            raise UserError(f"polarity: must be 'auto', 'bright' or 'dark'; received {polarity!r}.")
        cache = tile_cache if cache is None else cache
        if is_chunked(os.fspath(path)):
            from cytokeras.brain._chunked_image import ChunkedImage

            return ChunkedImage(os.fspath(path), pixel_size_um, channel, polarity, cache)
        path = Path(path)
        check_file(path)
        try:
            with path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
        if magic in _TIFF_MAGIC:
            from cytokeras.brain._tiff_image import TiffImage

            return TiffImage(path, pixel_size_um, channel, polarity, cache)
        from cytokeras.brain._raster_image import RasterImage

        return RasterImage(path, pixel_size_um, channel, polarity, cache)

    def details(self) -> dict[str, str]:
        """Return, for people to read, how the pixels are stored and what is made of them."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape[0]} x {self.shape[1]} px, {self.pixel_size_um:g} µm)"


class ArrayImage(SectionImage):
    """A section image held in memory.

    Args:
        array: ``(height, width)`` uint8, 0 black (cells) … 255 white (background); not copied.
        pixel_size_um: Size of a pixel in µm.
        background: Level of the surroundings; None: the most frequent bright level at the border.

    Raises:
        UserError: Another shape or type, a pixel size that is not positive, or a background that is no byte.
    """

    def __init__(self, array: NDArray[np.uint8], pixel_size_um: float, background: int | None = None) -> None:
        array = np.asarray(array)
        if array.ndim != 2 or array.dtype != np.uint8 or 0 in array.shape:
            raise UserError(
                "image: an array must be (height, width) uint8 grey, 0 black to 255 white; "
                f"received {array.shape} {array.dtype}."
            )
        if background is not None and not 0 <= background <= 255:
            raise UserError(f"background: must be 0 to 255; received {background}.")
        self.array = array
        self.shape = (array.shape[0], array.shape[1])
        self.pixel_size_um = check_pixel_size(pixel_size_um, "image")
        self.levels = (1.0,)
        self.level_shapes = (self.shape,)
        self._background = _array_background(array) if background is None else int(background)

    @property
    def background(self) -> int:
        """Grey level (0 … 255) of the surroundings."""
        return self._background

    def _read_inside(self, level: int, row: int, column: int, out: NDArray[np.uint8]) -> None:
        out[...] = self.array[row : row + out.shape[0], column : column + out.shape[1]]


def _array_background(array: NDArray[np.uint8]) -> int:
    step = max(1, int(np.sqrt(array.size / _BACKGROUND_SAMPLES)))
    rows, columns = (np.arange(0, length, step) for length in array.shape)
    border = sample_positions((array.shape[0], array.shape[1]), rows, columns)
    return bright_background(array[::step, ::step], border)
