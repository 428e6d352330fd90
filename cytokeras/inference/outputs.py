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
from cytokeras.brain import LabelScheme, write_section_tiff
from cytokeras.errors import UserError
from cytokeras.inference import _drawing
from cytokeras.inference._resampled_image import ReadableImage
from cytokeras.inference.segmentation import Segmentation
from cytokeras.inference.tiling import OutputGrid

if TYPE_CHECKING:
    from cytokeras.brain import Section

_OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_ANNOTATION_ID = "Annotation:0"
_NAMESPACE = "cytokeras/segmentation"


def write_label_tiff(
    path: str | os.PathLike[str], segmentation: Segmentation, *, scheme: LabelScheme | None = None
) -> None:
    """Write the labels as tiled OME-TIFF (8 bit, zlib) with the cell size in µm.

    An OME annotation (namespace ``cytokeras/segmentation``) holds, as JSON, the class names and where the
    cells lie in the section image, so that the map can be laid over it.

    Args:
        path: The file, usually ``*.ome.tif``; it takes its name only when it is complete.
        segmentation: Labels with their grid.
        scheme: Names of the classes; default: those of the segmentation.

    Raises:
        UserError: The folder cannot be written to.
    """
    names = scheme.names if scheme is not None else segmentation.class_names
    grid = segmentation.grid
    content = {
        "class_names": list(names) if names else None,
        "origin_px": list(grid.origin_px),
        "step_px": grid.step_px,
        "used_atlas": segmentation.used_atlas,
    }
    with atomic_path(path) as temporary:
        write_section_tiff(temporary, segmentation.labels, grid.pixel_size_um, labels=True)
        described = _with_annotation(tifffile.tiffcomment(temporary), Path(path).name, json.dumps(content))
        tifffile.tiffcomment(temporary, described)


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
        picture.save(temporary, format="PNG", optimize=True)


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


def _with_annotation(description: str, name: str, text: str) -> str:
    ElementTree.register_namespace("", _OME)
    root = ElementTree.fromstring(description)
    picture = _element(root, "Image")
    picture.set("Name", name)
    ElementTree.SubElement(picture, f"{{{_OME}}}AnnotationRef", ID=_ANNOTATION_ID)
    annotations = ElementTree.SubElement(root, f"{{{_OME}}}StructuredAnnotations")
    comment = ElementTree.SubElement(
        annotations, f"{{{_OME}}}CommentAnnotation", ID=_ANNOTATION_ID, Namespace=_NAMESPACE
    )
    ElementTree.SubElement(comment, f"{{{_OME}}}Value").text = text
    # TIFF descriptions are ASCII; other characters become numbered entities.
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        + ElementTree.tostring(root, encoding="us-ascii").decode().split("?>")[-1].lstrip()
    )


def _annotation(description: str) -> dict[str, Any]:
    for comment in ElementTree.fromstring(description).iter(f"{{{_OME}}}CommentAnnotation"):
        if comment.get("Namespace") == _NAMESPACE:
            return dict(json.loads(_element(comment, "Value").text or ""))
    raise LookupError(f"no annotation {_NAMESPACE}")


def _element(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    element = next(parent.iter(f"{{{_OME}}}{name}"), None)
    if element is None:
        raise LookupError(f"no element {name}")
    return element
