"""Segmentation of a whole section, window by window."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from cytokeras._progress import progress as show_progress
from cytokeras.brain import ArrayImage, Atlas, Section, SectionImage
from cytokeras.errors import UserError
from cytokeras.inference._resampled_image import ReadableImage, ResampledImage
from cytokeras.inference._tissue_finder import TissueFinder
from cytokeras.inference._window_network import WindowNetwork
from cytokeras.inference.outputs import write_label_tiff
from cytokeras.inference.segmentation import Segmentation
from cytokeras.inference.tiling import OutputGrid, TilePlan, plan_windows

_BACKGROUND_CLASS = 0


def segment_section(
    model: Any,
    image: Section | ReadableImage | np.ndarray | str | os.PathLike[str],
    *,
    pixel_size_um: float | None = None,
    section: Section | None = None,
    atlas: Atlas | None = None,
    probabilities: bool = False,
    window: int | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Segmentation:
    """Segment a section of any size in bounded memory.

    The crucial assumption: the image looks like those the model was trained on (dark cells on a bright
    background, 8-bit grey). Its pixel size may differ; it is then resampled to the network's while it is
    read, by area averages when shrinking and linearly when enlarging. Windows overlap by the network's field
    of view, so that the result does not depend on where they lie; beyond the border the section's background
    is assumed. Empty glass, where the mean over 48 µm differs from the background by at most 10 grey levels,
    is background (class 0), whatever the network says: it never saw the stains of other laboratories. Windows
    whose output would show nothing else do not pass through the network.

    A model with an atlas branch uses it when it is given both an atlas and a section with a plane in space.
    Without either, ``model.without_atlas()`` segments by texture alone; ``Segmentation.used_atlas`` tells
    which it was.

    Args:
        model: An AtlasUNet.
        image: A section of a brain, a section image, an array (H, W) uint8, 0 black … 255 white, or a file.
        pixel_size_um: Pixel size of an array, or of a file that does not tell its own, in µm.
        section: The section that ``image`` belongs to, for its plane in space, where ``image`` is not a
            section.
        atlas: Atlas in the space of the section, its areas in the order of the model's atlas channels.
        probabilities: Keep the probabilities of all classes too (float16, 2 bytes a class and cell).
        window: Side of a window in network pixels, a valid size of the model; default: large (512 output
            cells a side), which keeps the network's maps below about 1 GB.
        output: Write the labels to this OME-TIFF as well.
        progress: Show progress on standard error.

    Returns:
        Labels on the network's output grid (16 µm for the published geometry) with the grid's place in the
        image.

    Raises:
        UserError: No pixel size is known, the image is smaller than one patch of the network, ``window`` is
            not a valid size, the atlas does not fit the model, or ``output`` cannot be written.
    """
    if not hasattr(model, "with_input_shape") or not hasattr(model, "without_atlas"):
        raise UserError(f"segment_section: model must be an AtlasUNet. Received: {type(model).__name__}")
    image, section = _resolve_image(image, pixel_size_um, section)
    source = ResampledImage(image, model.pixel_size_um)
    _check_large_enough(source, model)
    plan = plan_windows(model.field, source.shape, window)
    use_atlas = bool(model.atlas_channels) and atlas is not None and section is not None and section.plane is not None
    network = WindowNetwork(model, plan.window_px, source, atlas if use_atlas else None, section)

    background = np.eye(model.num_classes, dtype=np.float32)[_BACKGROUND_CLASS]
    labels = np.full(plan.shape, _BACKGROUND_CLASS, np.uint8)
    kept: np.ndarray | None = None
    if probabilities:
        kept = np.zeros((*plan.shape, model.num_classes), np.float16)
        kept[..., _BACKGROUND_CLASS] = 1
    tissue = TissueFinder(image, source, model.field)
    computed = 0
    for place in show_progress(plan, "segmenting", total=len(plan), enabled=progress):
        if not tissue.possible(place):
            continue
        pixels = source.read(place.row, place.column, *plan.window_px)
        if not tissue.present(pixels, place):
            continue
        predicted = network.predict(pixels, place)[: place.cells[0], : place.cells[1]]
        predicted = np.where(tissue.glass(pixels, place)[..., None], background, predicted)
        rows = slice(place.cell_row, place.cell_row + place.cells[0])
        columns = slice(place.cell_column, place.cell_column + place.cells[1])
        labels[rows, columns] = predicted.argmax(axis=-1)
        if kept is not None:
            kept[rows, columns] = predicted
        computed += 1

    names = getattr(model, "class_names", None)
    result = Segmentation(
        labels,
        kept,
        _output_grid(plan, source, model),
        class_names=tuple(names) if names else None,
        used_atlas=use_atlas,
        windows_computed=computed,
        windows_skipped=len(plan) - computed,
    )
    if output is not None:
        write_label_tiff(output, result)
    return result


def _resolve_image(
    image: Any, pixel_size_um: float | None, section: Section | None
) -> tuple[ReadableImage, Section | None]:
    if isinstance(image, Section):
        image, section = image.image, image
    if isinstance(image, str | os.PathLike):
        return SectionImage.open(image, pixel_size_um=pixel_size_um), section
    if isinstance(image, np.ndarray):
        if pixel_size_um is None:
            raise UserError("pixel_size_um: an array does not tell its pixel size; give it in µm.")
        return ArrayImage(image, pixel_size_um), section
    if not all(hasattr(image, name) for name in ("read", "shape", "pixel_size_um", "background", "levels")):
        raise UserError(
            f"image: expected a Section, a SectionImage, an array or a file. Received: {type(image).__name__}"
        )
    if pixel_size_um is not None and abs(pixel_size_um / image.pixel_size_um - 1) > 0.01:
        raise UserError(
            f"pixel_size_um: the image states {image.pixel_size_um:g} µm. Received: {pixel_size_um:g}; leave it out."
        )
    return image, section


def _check_large_enough(source: ResampledImage, model: Any) -> None:
    """Raise UserError where the whole section is smaller than the smallest patch the network takes."""
    smallest = model.field.valid_size(1)
    if min(source.shape) >= smallest:
        return
    size_mm = [n * source.pixel_size_um / 1000 for n in source.shape]
    raise UserError(
        f"image: {source.shape[0]} x {source.shape[1]} px at {source.pixel_size_um:g} µm "
        f"({size_mm[0]:.2f} x {size_mm[1]:.2f} mm) is smaller than one patch of the network, "
        f"{smallest} x {smallest} px ({smallest * source.pixel_size_um / 1000:.2f} mm a side); "
        "check the pixel size, or choose a network with a smaller field of view."
    )


def _output_grid(plan: TilePlan, source: ResampledImage, model: Any) -> OutputGrid:
    origin = float(source.to_pixel(np.asarray(plan.first_pixel)))
    step = float(model.field.stride) * source.factor
    return OutputGrid(plan.shape, step * source.image.pixel_size_um, (origin, origin), step)
