"""Writing maps as tiled, pyramidal OME-TIFF, band by band."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import tifffile

from cytokeras._files import atomic_path
from cytokeras.errors import UserError

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
NAMESPACE = "cytokeras/segmentation"
_TILE = 512
_ZLIB_LEVEL = 6
# Above this many bytes a classic TIFF may run out of its 32-bit offsets.
_CLASSIC_TIFF_BYTES = 0xD0000000
_FILL = 255

ReadRows = Callable[[int, int, int], np.ndarray]
"""``read(plane, row, rows)`` -> (rows, columns)."""


@dataclass(frozen=True)
class Planes:
    """Maps of one shape that are read band by band.

    Attributes:
        shape: Planes, rows and columns.
        read: Gives rows of a plane, uint8.
        names: One name a plane.
        colors: One (red, green, blue) a plane, or None.
    """

    shape: tuple[int, int, int]
    read: ReadRows
    names: Sequence[str]
    colors: Sequence[tuple[int, int, int]] | None = None


def write_map_tiff(
    path: Path,
    planes: Planes,
    pixel_size_um: float,
    content: dict[str, Any],
    palette: Sequence[tuple[int, int, int]] | None = None,
) -> None:
    """Write 8-bit maps as OME-TIFF with a pyramid and the cell size in µm; the file appears when it is complete.

    Args:
        path: The file.
        planes: What is written, one channel a plane.
        pixel_size_um: Edge length of a cell in µm.
        content: JSON values kept in an OME annotation.
        palette: Colours of the values 0, 1, …: the map holds classes, and its pyramid keeps every second cell;
            without it each level averages the one before.

    Raises:
        UserError: The file cannot be written; nothing of it is left.
    """
    count, height, width = planes.shape
    factors = _pyramid(height, width)
    options: dict[str, Any] = {
        "dtype": np.uint8,
        "tile": (_TILE, _TILE),
        "photometric": "minisblack",
        "compression": "zlib",
        "compressionargs": {"level": _ZLIB_LEVEL},
        "predictor": None,
        "metadata": None,
        "software": "cytokeras",
        "resolutionunit": "CENTIMETER",
    }
    if palette is not None:
        options |= {"photometric": "palette", "colormap": _colormap(palette)}
    try:
        with (
            atomic_path(path) as temporary,
            tifffile.TiffWriter(temporary, bigtiff=2 * count * height * width > _CLASSIC_TIFF_BYTES) as writer,
        ):
            for factor in factors:
                size = (-(-height // factor), -(-width // factor))
                top = {"description": _ome_xml(path.name, planes, pixel_size_um, content), "subifds": len(factors) - 1}
                writer.write(
                    _tiles(planes, factor, size, average=palette is None),
                    shape=(count, *size) if count > 1 else size,
                    resolution=(1e4 / (pixel_size_um * factor),) * 2,
                    **(top if factor == 1 else {"subfiletype": 1}),
                    **options,
                )
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); nothing of it is left.") from error


def _pyramid(height: int, width: int) -> list[int]:
    """Return 1, 2, 4 … until a level fits into a tile."""
    factors = [1]
    while max(height, width) > _TILE * factors[-1]:
        factors.append(2 * factors[-1])
    return factors


def _tiles(planes: Planes, factor: int, size: tuple[int, int], average: bool) -> Iterator[np.ndarray]:
    for plane in range(planes.shape[0]):
        for top in range(0, size[0], _TILE):
            rows = min(_TILE, size[0] - top)
            band = np.concatenate(list(_reduced(planes, plane, top, rows, factor, average)))
            for left in range(0, size[1], _TILE):
                part = band[:, left : left + _TILE]
                padding = ((0, _TILE - part.shape[0]), (0, _TILE - part.shape[1]))
                yield np.pad(part, padding, constant_values=0 if average else _FILL)


def _reduced(planes: Planes, plane: int, top: int, rows: int, factor: int, average: bool) -> Iterator[np.ndarray]:
    """Give ``rows`` rows of a pyramid level from ``top`` on, in parts for which about a tile's rows are read."""
    _, height, width = planes.shape
    part = max(1, _TILE // factor)
    for start in range(top, top + rows, part):
        first, count = start * factor, min(part, top + rows - start)
        band = planes.read(plane, first, min(count * factor, height - first))
        yield _averaged(band, factor, (count, -(-width // factor))) if average else _every(band, factor)


def _every(band: np.ndarray, factor: int) -> np.ndarray:
    """Keep the cell in the middle of each block; blocks cut off at the rim keep their last."""
    rows, columns = (np.minimum(np.arange(0, length, factor) + factor // 2, length - 1) for length in band.shape)
    return band[np.ix_(rows, columns)]


def _averaged(band: np.ndarray, factor: int, size: tuple[int, int]) -> np.ndarray:
    if factor == 1:
        return band
    padding = [(0, wanted * factor - length) for wanted, length in zip(size, band.shape, strict=True)]
    blocks = np.pad(band, padding, mode="edge").reshape(size[0], factor, size[1], factor)
    return np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)


def _colormap(palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Return (3, 256) uint16; values without a colour are white."""
    colors = np.full((3, 256), 0xFFFF, np.uint16)
    colors[:, : len(palette)] = np.array(palette, np.uint16).T * 257
    return colors


def _ome_xml(name: str, planes: Planes, pixel_size_um: float, content: dict[str, Any]) -> str:
    count, height, width = planes.shape
    channels = []
    for number, channel in enumerate(planes.names):
        color = ""
        if planes.colors is not None:
            red, green, blue = planes.colors[number]
            packed = int.from_bytes(bytes((red, green, blue, 255)), "big", signed=True)  # OME: RGBA, signed
            color = f' Color="{packed}"'
        channels.append(f'<Channel ID="Channel:0:{number}" SamplesPerPixel="1" Name={quoteattr(channel)}{color}/>')
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{OME}" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{OME} {OME}/ome.xsd" Creator="cytokeras">'
        f'<Image ID="Image:0" Name={quoteattr(name)}><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
        f'SizeX="{width}" SizeY="{height}" SizeC="{count}" SizeZ="1" SizeT="1" PhysicalSizeX="{pixel_size_um!r}" '
        f'PhysicalSizeXUnit="µm" PhysicalSizeY="{pixel_size_um!r}" PhysicalSizeYUnit="µm">{"".join(channels)}'
        f'<TiffData IFD="0" PlaneCount="{count}"/></Pixels><AnnotationRef ID="Annotation:0"/></Image>'
        f'<StructuredAnnotations><CommentAnnotation ID="Annotation:0" Namespace="{NAMESPACE}"><Value>'
        f"{_escaped(json.dumps(content))}</Value></CommentAnnotation></StructuredAnnotations></OME>"
    )
    # TIFF descriptions are ASCII; other characters become numbered entities.
    return text.encode("ascii", "xmlcharrefreplace").decode()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
