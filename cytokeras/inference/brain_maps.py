"""The maps of all sections put together: areas on the cortical surface and in a volume."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from cytokeras._files import atomic_path
from cytokeras.brain import UNLABELLED, LabelScheme, Section
from cytokeras.errors import UserError
from cytokeras.inference.segmentation import Segmentation
from cytokeras.surfaces import Hemisphere

MappedSections = Sequence[tuple[Section, Callable[[], Segmentation]]]
"""Sections with a function that gives the map of each, so that one map at a time is in memory."""

# Depths between pial (0) and white surface (1) at which a vertex asks the sections.
_DEPTHS = (0.3, 0.5, 0.7)
# A vertex asks the sections within this many distances between neighbouring sections: two or three of them.
_REACH_SPACINGS = 1.5
# Pial and white surface meet on the medial wall, where there is no cortex.
_THINNEST_CORTEX_MM = 0.5
_SUBPOINTS = 3  # points along either side of a voxel that vote for its class
_MOST_VOXELS = 2**30


def section_spacing_mm(sections: Iterable[Section]) -> float:
    """Return the median distance between neighbouring planes, in mm; 1 for a single section."""
    planes = [section.plane for section in sections]
    normal = planes[0].normal
    depth = np.unique(np.round([float(plane.origin @ normal) for plane in planes], 6))
    return float(np.median(np.diff(depth))) if len(depth) > 1 else 1.0


def vertex_labels(
    hemisphere: Hemisphere, sections: MappedSections, classes: int, *, reach_mm: float | None = None
) -> np.ndarray:
    """Return the class of each vertex: what most nearby sections say at three depths of the cortex.

    A vertex is projected at a right angle onto the sections within reach; of classes with equally many votes the one
    that the nearest section gives wins. (Not stated in the paper; our decision.)

    Args:
        hemisphere: Pial and white surface.
        sections: Sections with their maps.
        classes: Number of classes.
        reach_mm: Largest distance from a section in mm; default: 1.5 times the distance between neighbours.

    Returns:
        (V,) uint8; 255 where no section is near and on the medial wall.
    """
    reach = reach_mm or _REACH_SPACINGS * section_spacing_mm(section for section, _ in sections)
    count = len(hemisphere.pial.vertices)
    votes = np.zeros((count, classes), np.uint16)
    nearest = np.full(count, np.inf)
    nearest_class = np.full(count, UNLABELLED, np.uint8)
    for section, read in sections:
        segmentation = None
        for depth in _DEPTHS:
            points = (1 - depth) * hemisphere.pial.vertices + depth * hemisphere.white.vertices
            distance = np.abs(section.distance_to_plane_mm(points))
            near = np.flatnonzero(distance <= reach)
            if not len(near):
                continue
            segmentation = segmentation or read()
            found = _classes_at(segmentation, section.mm_to_pixel(points[near]))
            near, found = near[found != UNLABELLED], found[found != UNLABELLED]
            votes[near, found] += 1
            closer = distance[near] < nearest[near]
            nearest[near[closer]] = distance[near[closer]]
            nearest_class[near[closer]] = found[closer]
    result = votes.argmax(axis=1).astype(np.uint8)
    most = votes.max(axis=1)
    seen = np.flatnonzero(most)
    tied = seen[votes[seen, nearest_class[seen]] == most[seen]]
    result[tied] = nearest_class[tied]
    result[(most == 0) | (hemisphere.thickness < _THINNEST_CORTEX_MM)] = UNLABELLED
    return result


def write_surface_labels(
    path: str | os.PathLike[str], labels: np.ndarray, scheme: LabelScheme, hemisphere: str
) -> None:
    """Write classes of vertices as GIFTI labels with names and colours; Workbench, FreeSurfer and nilearn read it.

    Args:
        path: A ``.label.gii`` file.
        labels: (V,) uint8; 255, "not covered", is drawn transparent, as is background.
        scheme: Names and colours of the classes.
        hemisphere: ``"left"`` or ``"right"``.

    Raises:
        UserError: Another suffix, or the folder cannot be written to.
    """
    import nibabel
    from nibabel import gifti

    if not str(path).endswith(".gii"):
        raise UserError(f"{path}: surface labels are written as .label.gii.")
    table = gifti.GiftiLabelTable()
    colors = [*scheme.colors, (255, 255, 255)]
    for key, (name, color) in enumerate(zip([*scheme.names, "not covered"], colors, strict=True)):
        number = UNLABELLED if key == len(scheme) else key
        opacity = 0.0 if number in (0, UNLABELLED) else 1.0
        label = gifti.GiftiLabel(number, *(value / 255 for value in color), opacity)
        label.label = name
        table.labels.append(label)
    array = gifti.GiftiDataArray(np.asarray(labels, np.int32), intent="NIFTI_INTENT_LABEL", datatype="NIFTI_TYPE_INT32")
    side = {"left": "CortexLeft", "right": "CortexRight"}[hemisphere]
    image = nibabel.GiftiImage(
        darrays=[array], labeltable=table, meta=gifti.GiftiMetaData({"AnatomicalStructurePrimary": side})
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(image.to_bytes())


def label_volume(sections: MappedSections, *, voxel_size_mm: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Stack the maps of sections into a volume.

    A voxel takes the class that most of nine points around its centre have in the nearest section, where one lies
    within half a distance between neighbours (or half a voxel, whichever is more).

    Args:
        sections: Sections with their maps.
        voxel_size_mm: Edge of a voxel; default: the distance between neighbouring sections, at most 1 mm.

    Returns:
        (X, Y, Z) uint8, 0 (background) between and outside the sections, and the (4, 4) affine from voxel to mm.

    Raises:
        UserError: The voxels are so small that the volume would have more than 2^30.
    """
    spacing = section_spacing_mm(section for section, _ in sections)
    size = voxel_size_mm or min(1.0, spacing)
    reach = max(spacing, size) / 2 * (1 + 1e-6)
    corners = np.concatenate([_corners_mm(section) for section, _ in sections])
    low = np.floor((corners.min(axis=0) - reach) / size) * size
    shape = tuple((np.ceil((corners.max(axis=0) + reach - low) / size) + 1).astype(int).tolist())
    if np.prod(shape, dtype=float) > _MOST_VOXELS:
        raise UserError(f"voxel_size_mm: {size:g} mm gives {shape} voxels; choose larger ones.")
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = low
    volume = np.zeros(shape, np.uint8)
    nearest = np.full(shape, np.inf, np.float32)
    for section, read in sections:
        voxels = _voxels_near(section, shape, low, size, reach)
        centres = low + size * voxels
        distance = np.abs(section.distance_to_plane_mm(centres)).astype(np.float32)
        found, inside = _majority(read(), section, centres, size)
        place = tuple(voxels[inside].T)
        closer = distance[inside] < nearest[place]
        place = tuple(axis[closer] for axis in place)
        nearest[place] = distance[inside][closer]
        volume[place] = found[inside][closer]
    return volume, affine


def write_label_volume(path: str | os.PathLike[str], volume: np.ndarray, affine: np.ndarray) -> None:
    """Write a label volume as NIfTI (uint8, mm, intent label).

    Raises:
        UserError: Another suffix than ``.nii`` or ``.nii.gz``, or the folder cannot be written to.
    """
    import nibabel

    if not str(path).endswith((".nii", ".nii.gz")):
        raise UserError(f"{path}: a volume is written as .nii or .nii.gz.")
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    image.header.set_intent("label")
    image.set_sform(affine, code="aligned")
    image.set_qform(affine, code="aligned")
    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)


def _classes_at(segmentation: Segmentation, pixels: np.ndarray) -> np.ndarray:
    """Return the class of the cell under each image pixel, (N,) uint8; 255 outside the map."""
    cells = np.floor(segmentation.grid.to_cell(pixels) + 0.5).astype(int)
    inside = ((cells >= 0) & (cells < segmentation.labels.shape)).all(axis=1)
    result = np.full(len(cells), UNLABELLED, np.uint8)
    result[inside] = segmentation.labels[tuple(cells[inside].T)]
    return result


def _corners_mm(section: Section) -> np.ndarray:
    height, width = section.image.shape
    return section.pixel_to_mm([(r, c) for r in (-0.5, height - 0.5) for c in (-0.5, width - 0.5)])


def _voxels_near(section: Section, shape: tuple[int, ...], low: np.ndarray, size: float, reach: float) -> np.ndarray:
    """Return the voxels within ``reach`` of the plane, (N, 3) int: in each column along the steepest axis a few."""
    normal = section.plane.normal
    axis = int(np.abs(normal).argmax())
    others = [other for other in range(3) if other != axis]
    columns = np.stack(np.meshgrid(*(np.arange(shape[other]) for other in others), indexing="ij"), -1).reshape(-1, 2)
    base = np.zeros((len(columns), 3))
    base[:, others] = columns
    crossing = -section.distance_to_plane_mm(low + size * base) / (normal[axis] * size)
    half = int(np.ceil(reach / (abs(normal[axis]) * size)))
    voxels = np.repeat(base[None].astype(int), 2 * half + 1, axis=0)
    voxels[..., axis] = np.rint(crossing).astype(int) + np.arange(-half, half + 1)[:, None]
    voxels = voxels.reshape(-1, 3)
    voxels = voxels[(voxels[:, axis] >= 0) & (voxels[:, axis] < shape[axis])]
    return voxels[np.abs(section.distance_to_plane_mm(low + size * voxels)) <= reach]


def _majority(
    segmentation: Segmentation, section: Section, centres: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the most frequent class around each centre, (N,) uint8, and where there is any."""
    offsets = (np.arange(_SUBPOINTS) + 0.5) / _SUBPOINTS - 0.5
    plane = section.plane
    votes = np.zeros((len(centres), int(segmentation.labels.max()) + 1), np.uint8)
    for u in offsets:
        for v in offsets:
            points = centres + size * (u * plane.axis_u + v * plane.axis_v)
            found = _classes_at(segmentation, section.mm_to_pixel(points))
            inside = np.flatnonzero(found != UNLABELLED)
            votes[inside, found[inside]] += 1
    return votes.argmax(axis=1).astype(np.uint8), votes.max(axis=1) > 0
