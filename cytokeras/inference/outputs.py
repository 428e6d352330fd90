"""Writing segmentations: label files for other programs and pictures for people."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from PIL import Image

from cytokeras._files import atomic_path
from cytokeras.brain import LabelScheme
from cytokeras.errors import UserError
from cytokeras.inference import _drawing
from cytokeras.inference._map_tiff import NAMESPACE, OME, Planes, ReadRows, write_map_tiff
from cytokeras.inference._resampled_image import ReadableImage
from cytokeras.inference.segmentation import Segmentation
from cytokeras.inference.tiling import OutputGrid

if TYPE_CHECKING:
    from cytokeras.brain import Section

# Values of probabilities and uncertainties in files: 8 bits, which viewers show as they are.
_BYTE = 255


def write_label_tiff(
    path: str | os.PathLike[str],
    segmentation: Segmentation,
    *,
    scheme: LabelScheme | None = None,
    read: ReadRows | None = None,
) -> None:
    """Write the labels as tiled, pyramidal OME-TIFF (8 bit, zlib) with the cell size in µm and the class colours.

    An OME annotation (namespace ``cytokeras/segmentation``) holds, as JSON, the class names and where the
    cells lie in the section image, so that the map can be laid over it.

    Args:
        path: The file, usually ``*.ome.tif``; it takes its name only when it is complete.
        segmentation: Labels with their grid.
        scheme: Names and colours of the classes; default: the names of the segmentation.
        read: Gives the map by rows, where it is too large to be touched as an array.

    Raises:
        UserError: The file cannot be written.
    """
    labels = segmentation.labels
    rows_of = read or (lambda _, row, rows: labels[row : row + rows])
    planes = Planes((1, *labels.shape), rows_of, ["classes"])
    palette = (scheme or scheme_of(segmentation)).colors
    write_map_tiff(Path(path), planes, segmentation.grid.pixel_size_um, _content(segmentation, scheme), palette)


def write_probability_tiff(
    path: str | os.PathLike[str],
    segmentation: Segmentation,
    *,
    scheme: LabelScheme | None = None,
    read: ReadRows | None = None,
) -> None:
    """Write the probabilities as pyramidal OME-TIFF, one 8-bit channel a class (255 is 1) with its name and colour.

    Args:
        path: The file, usually ``*.ome.tif``.
        segmentation: Probabilities with their grid.
        scheme: Names and colours of the classes; default: the names of the segmentation.
        read: As for `write_label_tiff`.

    Raises:
        UserError: The segmentation has no probabilities, or the file cannot be written.
    """
    maps = segmentation.probabilities
    if maps is None:
        raise UserError(f"{path}: the segmentation holds no probabilities; ask segment_section for them.")
    colours = scheme or scheme_of(segmentation)
    rows_of = read or (lambda plane, row, rows: maps[row : row + rows, :, plane])
    planes = Planes(
        (maps.shape[2], *maps.shape[:2]),
        lambda plane, row, rows: as_bytes(rows_of(plane, row, rows)),
        colours.names,
        colours.colors,
    )
    write_map_tiff(Path(path), planes, segmentation.grid.pixel_size_um, _content(segmentation, scheme))


def write_uncertainty_tiff(
    path: str | os.PathLike[str], segmentation: Segmentation, *, read: ReadRows | None = None
) -> None:
    """Write the uncertainty as pyramidal OME-TIFF, 8 bit, 0 certain … 255 all classes alike.

    Args:
        path: The file, usually ``*.ome.tif``.
        segmentation: Uncertainty with its grid.
        read: As for `write_label_tiff`.

    Raises:
        UserError: The segmentation has no uncertainty, or the file cannot be written.
    """
    values = segmentation.uncertainty
    if values is None:
        raise UserError(f"{path}: the segmentation holds no uncertainty; ask segment_section for it.")
    rows_of = read or (lambda _, row, rows: values[row : row + rows])
    planes = Planes((1, *values.shape), lambda _, row, rows: as_bytes(rows_of(0, row, rows)), ["uncertainty"])
    write_map_tiff(Path(path), planes, segmentation.grid.pixel_size_um, _content(segmentation, None))


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Turn 0 … 1 into 0 … 255 uint8."""
    return np.rint(np.asarray(values, np.float32) * _BYTE).astype(np.uint8)


def scheme_of(segmentation: Segmentation) -> LabelScheme:
    """Return the classes of a segmentation with colours; classes without names are numbered."""
    names = segmentation.class_names
    return LabelScheme.from_names(names or [f"class {number}" for number in range(int(segmentation.labels.max()) + 1)])


def _content(segmentation: Segmentation, scheme: LabelScheme | None) -> dict[str, Any]:
    names = scheme.names if scheme is not None else segmentation.class_names
    grid = segmentation.grid
    return {
        "class_names": list(names) if names else None,
        "origin_px": list(grid.origin_px),
        "step_px": grid.step_px,
        "used_atlas": segmentation.used_atlas,
    }


def read_label_tiff(path: str | os.PathLike[str]) -> Segmentation:
    """Read a file that `write_label_tiff` wrote.

    Raises:
        UserError: The file is missing, is not a label TIFF, or lacks the annotation with the place of its
            cells.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected labels written by write_label_tiff.")
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            labels, description = page.asarray(), page.description
        content = _annotation(description)
        size = float(_element(ElementTree.fromstring(description), "Pixels").attrib["PhysicalSizeX"])
        row, column = (float(value) for value in content["origin_px"])
        grid = OutputGrid((labels.shape[0], labels.shape[1]), size, (row, column), float(content["step_px"]))
        names = content["class_names"]
        result = Segmentation(labels, None, grid, tuple(names) if names else None, content["used_atlas"])
    except (tifffile.TiffFileError, ElementTree.ParseError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is not a label TIFF written by cytokeras ({error}).") from error
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise UserError(f"{path}: labels must be (h, w) uint8; received {labels.shape} {labels.dtype}.")
    return result


def overlay_png(
    image: ReadableImage | Section,
    segmentation: Segmentation,
    scheme: LabelScheme,
    path: str | os.PathLike[str],
    *,
    max_size: int = 1600,
    truth: np.ndarray | None = None,
) -> None:
    """Write a picture of the section with its classes in colour, thin borders, a legend and a scale bar.

    Args:
        image: The section (or its image) that was segmented.
        segmentation: Its labels with their grid.
        scheme: Names and colours of the classes.
        path: A ``.png`` file.
        max_size: Largest side of a panel in pixels.
        truth: (h, w) uint8 annotated classes on the same grid, 255 not annotated; shown beside the
            prediction.

    Raises:
        UserError: ``truth`` has another shape, a class is not in the scheme, or the folder cannot be written
            to.
    """
    maps = {"Annotation": truth, "Prediction": segmentation.labels}
    picture = section_panels(image, segmentation.grid, scheme, maps, max_size=max_size)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def section_panels(
    image: Any, grid: OutputGrid, scheme: LabelScheme, maps: dict[str, np.ndarray | None], *, max_size: int
) -> Image.Image:
    """Draw one titled panel for each map that is not None, with a common legend and scale bar."""
    pixels = getattr(image, "image", image)
    grey, factor = _drawing.thumbnail(pixels, max_size)
    panels, shown = [], []
    for title, labels in maps.items():
        if labels is None:
            continue
        check_labels(labels, grid, scheme, title)
        classes = _drawing.classes_on_thumbnail(labels, grid, grey.shape, factor)
        panels.append((title, _drawing.colour_overlay(grey, classes, scheme)))
        shown.append(classes)
    scale = _drawing.text_scale(grey.shape)
    length_mm = _drawing.round_length_mm(max(grey.shape) * factor * pixels.pixel_size_um / 1000 / 6)
    bar = _drawing.scale_bar(length_mm * 1000 / (factor * pixels.pixel_size_um), f"{length_mm:g} mm", scale)
    key = _drawing.legend(scheme, _drawing.present_classes(scheme, *shown), scale)
    return _drawing.compose(panels, [key, bar], scale)


def check_labels(labels: np.ndarray, grid: OutputGrid, scheme: LabelScheme, what: str) -> None:
    """Raise UserError unless ``labels`` lies on ``grid`` and holds classes of ``scheme`` (or 255) only."""
    if labels.shape != tuple(grid.shape):
        raise UserError(f"{what.lower()}: must lie on the output grid {grid.shape}; received shape {labels.shape}.")
    values = np.unique(labels)
    foreign = values[(values >= len(scheme)) & (values != 255)]
    if foreign.size:
        raise UserError(f"{what.lower()}: holds class {foreign[0]}, but the scheme has {len(scheme)} classes.")


def _annotation(description: str) -> dict[str, Any]:
    for comment in ElementTree.fromstring(description).iter(f"{{{OME}}}CommentAnnotation"):
        if comment.get("Namespace") == NAMESPACE:
            return dict(json.loads(_element(comment, "Value").text or ""))
    raise LookupError(f"no annotation {NAMESPACE}")


def _element(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    element = next(parent.iter(f"{{{OME}}}{name}"), None)
    if element is None:
        raise LookupError(f"no element {name}")
    return element
