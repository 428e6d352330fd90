"""Writing section and label images as tiled OME-TIFF in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from cytokeras._files import atomic_path
from cytokeras.brain._label_scheme import UNLABELLED
from cytokeras.brain._pixel_size import check_pixel_size
from cytokeras.brain._tiff_codec import imagecodecs_installed
from cytokeras.errors import UserError

# zlib is always there; the others need imagecodecs, as reading them does.
_COMPRESSIONS = {"zlib": "zlib", "none": None, "lzw": "lzw", "zstd": "zstd"}
_ZLIB_LEVEL = 6
OWN_CREATOR = 'Creator="cytokeras"'
_OME = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:schemaLocation="http://www.openmicroscopy.org/Schemas/OME/2016-06 '
    'http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd" Creator="cytokeras">'
    '<Image ID="Image:0" Name="{name}"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
    'SizeX="{width}" SizeY="{height}" SizeC="1" SizeZ="1" SizeT="1" PhysicalSizeX="{size}" '
    'PhysicalSizeXUnit="&#181;m" PhysicalSizeY="{size}" PhysicalSizeYUnit="&#181;m">'
    '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
)


def write_section_tiff(
    path: str | os.PathLike[str],
    image: Any,
    pixel_size_um: float | None = None,
    *,
    compression: str = "zlib",
    tile: int = 512,
    labels: bool = False,
) -> None:
    """Write an 8-bit image as tiled OME-TIFF with its pixel size in µm.

    The image is read and written one row of tiles at a time, so memory does not grow with its height; equal
    input gives equal bytes (with one release of tifffile). The file takes its name only when it is complete.

    Args:
        path: The file, usually ``*.ome.tif``.
        image: ``(height, width)`` uint8 array, or anything with ``shape`` and
            ``read(row, column, height, width)`` such as a ``SectionImage``.
        pixel_size_um: Size of a pixel in µm; None: ``image.pixel_size_um``.
        compression: ``"zlib"``, ``"none"``, or with imagecodecs ``"lzw"`` or ``"zstd"``.
        tile: Edge of a tile in pixels, a multiple of 16.
        labels: The values are class indices: tiles at the rim are filled up with 255 (unlabelled).

    Raises:
        UserError: A value is outside its range, a codec is not installed, or the folder cannot be written to.
    """
    if isinstance(image, np.ndarray) and (image.ndim != 2 or image.dtype != np.uint8 or not image.size):
        raise UserError(f"image: must be a (height, width) uint8 array; received {image.shape} {image.dtype}.")
    if compression not in _COMPRESSIONS:
        raise UserError(f"compression: must be one of {', '.join(_COMPRESSIONS)}; received {compression!r}.")
    if compression not in ("zlib", "none") and not imagecodecs_installed():
        raise UserError(f'compression: {compression} needs imagecodecs: pip install "cytokeras[codecs]"')
    if tile < 16 or tile % 16:
        raise UserError(f"tile: must be a multiple of 16; received {tile}.")
    if pixel_size_um is None:
        pixel_size_um = getattr(image, "pixel_size_um", None)
    size = check_pixel_size(pixel_size_um, f"{path}: pixel_size_um")
    height, width = (int(length) for length in image.shape)
    description = _OME.format(name=_xml_name(Path(path)), width=width, height=height, size=repr(size))
    with (
        atomic_path(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=height * width > 0xF0000000) as writer,
    ):
        writer.write(
            _tiles(image, tile, labels),
            shape=(height, width),
            dtype=np.uint8,
            tile=(tile, tile),
            photometric="minisblack",
            compression=_COMPRESSIONS[compression],
            compressionargs={"level": _ZLIB_LEVEL} if compression == "zlib" else None,
            # no predictor: on cell-stained sections it makes files larger and reading a quarter slower
            predictor=None,
            description=description,
            metadata=None,
            software="cytokeras",
            resolution=(1e4 / size, 1e4 / size),
            resolutionunit="CENTIMETER",
        )


def _tiles(image: Any, tile: int, labels: bool) -> Iterator[NDArray[np.uint8]]:
    height, width = (int(length) for length in image.shape)
    for top in range(0, height, tile):
        rows = min(tile, height - top)
        if isinstance(image, np.ndarray):
            strip = image[top : top + rows]
        else:
            strip = np.asarray(image.read(top, 0, rows, width), np.uint8)
        for left in range(0, width, tile):
            part = strip[:, left : left + tile]
            if part.shape != (tile, tile):
                # Repeating the edge compresses best; labels beyond the image mean nothing.
                padding = ((0, tile - part.shape[0]), (0, tile - part.shape[1]))
                if labels:
                    part = np.pad(part, padding, constant_values=UNLABELLED)
                else:
                    part = np.pad(part, padding, mode="edge")
            yield np.ascontiguousarray(part)


def _xml_name(path: Path) -> str:
    # TIFF keeps ASCII only; other characters become numbered entities.
    return path.name.encode("ascii", "xmlcharrefreplace").decode() if not set(path.name) & set('<>&"') else "image"
