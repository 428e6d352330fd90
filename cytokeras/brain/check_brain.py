"""Everything that is wrong with a brain folder, found in one pass."""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

from cytokeras._progress import progress as show_progress
from cytokeras.brain._folder_format import BrainFolder, SectionRow, read_brain_folder
from cytokeras.brain._lazy import LazyLabels
from cytokeras.brain.brain import lazy_atlas, lazy_hemisphere, lazy_section
from cytokeras.brain.labels import UNLABELLED, ImageLabels
from cytokeras.brain.section import Section
from cytokeras.errors import UserError
from cytokeras.surfaces import Hemisphere, hemisphere_faults

# The plane's affine may hold the correction of shrinkage (BigBrain: 1.245 along a line) or the scaling to a
# reference space; a slip of units or of a pyramid level is a factor of two at least.
_SCALE_TOLERANCE = 1.4
_LABEL_SAMPLES = 1024  # a side


def check_brain(folder: str | os.PathLike[str], progress: bool = False) -> list[str]:
    """Return everything that is wrong with a brain folder, one line a problem, each naming file and field.

    Beyond what ``Brain.open`` refuses it opens every image, annotation, surface and the atlas, compares pixel
    sizes with the affines, looks for class indices that the brain does not have, and for section planes that
    meet no surface inside the image.

    Args:
        folder: The brain folder.
        progress: Show progress on standard error.

    Returns:
        The problems; empty where there are none. What can be worked with begins with ``warning:``.
    """
    content = read_brain_folder(folder)
    problems = list(content.problems)
    hemispheres = []
    for side in content.surfaces:
        try:
            hemispheres.append(lazy_hemisphere(content, side).get())
        except UserError as error:
            problems.append(str(error))
            continue
        where = f"{content.json_path}, surfaces.{side}"
        # a hemisphere with errors was refused above: what is left can be worked with
        problems.extend(f"warning: {where}, {fault.message}" for fault in hemisphere_faults(hemispheres[-1]))
    try:
        lazy_atlas(content).get()
    except UserError as error:
        problems.append(str(error))
    for row in show_progress(content.sections, "checking sections", enabled=progress):
        problems.extend(_check_section(content, row, hemispheres))
    return problems


def _check_section(content: BrainFolder, row: SectionRow, hemispheres: list[Hemisphere]) -> list[str]:
    problems = []
    ratio = row.plane.pixel_size_um / row.pixel_size_um
    if not 1 / _SCALE_TOLERANCE <= ratio <= _SCALE_TOLERANCE:
        problems.append(
            f"{row.where}, affine: its pixels measure {row.plane.pixel_size_um:.4g} µm but pixel_size_um is "
            f"{row.pixel_size_um:g}; the affine takes pixels to millimetres."
        )
    section = lazy_section(content, row)
    try:
        shape = section.image.shape
        section.image.background  # noqa: B018 - decodes a sample of the image
    except UserError as error:
        return [*problems, str(error)]
    if hemispheres and not any(meets_surface(section, hemisphere) for hemisphere in hemispheres):
        problems.append(
            f"{row.where}, origin, axes and affine: the section plane meets no surface inside the image; "
            "check the units (mm) and the order of rows and columns."
        )
    if isinstance(section.labels, LazyLabels) and content.scheme is not None:
        try:
            problems.extend(_check_labels(content, row, section, section.labels, shape))
        except UserError as error:
            problems.append(str(error))
    return problems


def _check_labels(
    content: BrainFolder, row: SectionRow, section: Section, lazy: LazyLabels, shape: tuple[int, int]
) -> list[str]:
    assert content.scheme is not None
    labels = lazy.load()
    problems = []
    if isinstance(labels, ImageLabels):
        covered = [labels.scale * length for length in labels.shape]
        if any(abs(c - s) > max(2 * labels.scale, 0.02 * s) for c, s in zip(covered, shape, strict=True)):
            problems.append(
                f"{row.where}, label_scale: labels of {labels.shape[0]} x {labels.shape[1]} px at "
                f"{labels.scale:g} image px each do not cover the image of {shape[0]} x {shape[1]} px."
            )
    step = max(1, math.ceil(max(shape) / _LABEL_SAMPLES))
    values = labels.read(0, 0, math.ceil(shape[0] / step), math.ceil(shape[1] / step), step)
    unknown = np.unique(values[(values != UNLABELLED) & (values >= len(content.scheme))])
    if unknown.size:
        problems.append(
            f"{row.where}, labels: {row.labels} has the class indices {', '.join(map(str, unknown[:8]))}, "
            f"but brain.json names classes 0 to {len(content.scheme) - 1} (255: not annotated)."
        )
    if (values == UNLABELLED).all():
        problems.append(f"{row.where}, labels: nothing inside the image is annotated.")
    return problems


def meets_surface(section: Section, hemisphere: Hemisphere) -> bool:
    """Tell whether the plane of a section crosses edges of the pial surface at places inside the image."""
    vertices = hemisphere.pial.vertices
    height = section.distance_to_plane_mm(vertices)
    corners = hemisphere.pial.faces
    above: NDArray[np.bool_] = (height > 0)[corners]
    crossed = corners[above.any(axis=1) & ~above.all(axis=1)]
    if not len(crossed):
        return False
    pixels = section.mm_to_pixel(vertices[crossed].mean(axis=1))
    return bool(((pixels >= 0) & (pixels < np.asarray(section.image.shape))).all(axis=1).any())
