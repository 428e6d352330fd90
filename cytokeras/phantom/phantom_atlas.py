"""The atlas prior of a phantom, made the way probabilistic atlases are made: from other brains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage

from cytokeras.brain import Atlas
from cytokeras.brain.labels import VISUAL_AREAS
from cytokeras.phantom._deformation import Deformation
from cytokeras.phantom._section_fields import OTHER_CORTEX
from cytokeras.phantom.anatomy import individual_surfaces, phantom_territory
from cytokeras.phantom.levels import PhantomLevel, phantom_level
from cytokeras.phantom.territories import areas_from_territory
from cytokeras.surfaces import Hemisphere

LARGEST_SEED = 1_000_000
"""Seeds of a user's individuals stay below; the atlas is made of others."""

_INDIVIDUALS = 10  # as many brains as a Julich-Brain map averages
_SHIFT_MM = 2.0  # error of bringing one brain to the space of another, our choice
_FOLDING_ERROR = 0.5  # share of the folding that registration leaves uncorrected, our choice
_BLUR_MM = 1.0
_STEPS = 5  # depths at which the ribbon is filled with surface points
_FRONT_MM = -22.0  # the visual areas lie behind it


def phantom_atlas(seed: int, level: str, hemispheres: Sequence[str] = ("left", "right")) -> Atlas:
    """Area maps of ten other individuals, registered to the individual ``seed`` with error, averaged, blurred.

    Args:
        seed: The individual in whose space the atlas lies.
        level: Name of its ``PhantomLevel``; without individual folding all individuals share one atlas.
        hemispheres: Which hemispheres it covers.

    Returns:
        Synthetic probabilities, 1 mm voxels, 13 volumes in class order.
    """
    chosen = phantom_level(level)
    shared = not (chosen.folding_mm or chosen.size_spread)
    return _phantom_atlas(LARGEST_SEED if shared else seed, chosen, tuple(hemispheres))


@lru_cache(maxsize=2)
def _phantom_atlas(seed: int, level: PhantomLevel, names: tuple[str, ...]) -> Atlas:
    surfaces = {name: individual_surfaces(name, seed, level) for name in names}
    points = np.concatenate([hemisphere.pial.vertices for hemisphere in surfaces.values()])
    points = points[points[:, 1] < _FRONT_MM]
    low = np.floor(points.min(axis=0)) - 4
    shape = tuple((np.ceil(points.max(axis=0)) + 4 - low).astype(int) + 1)
    area_sum = np.zeros((len(VISUAL_AREAS), *shape), np.float32)
    for individual in range(_INDIVIDUALS):
        rng = np.random.default_rng([LARGEST_SEED, individual])
        tissue = np.zeros(shape, np.float32)
        areas = np.zeros_like(area_sum)
        shift = rng.normal(0.0, _SHIFT_MM, 3)
        error = Deformation.random(rng, _FOLDING_ERROR * level.folding_mm, 0.0) if level.folding_mm else None
        for name, hemisphere in surfaces.items():
            labels = areas_from_territory(*phantom_territory(name, LARGEST_SEED + individual), OTHER_CORTEX)
            _add_ribbon(tissue, areas, hemisphere, labels, low - shift, error)
        area_sum += areas / np.maximum(tissue, 1)
    blurred = ndimage.gaussian_filter(area_sum / _INDIVIDUALS, (0, *[_BLUR_MM] * 3))
    affine = np.eye(4)
    affine[:3, 3] = low
    return Atlas(np.ascontiguousarray(np.moveaxis(blurred, 0, -1)), affine, VISUAL_AREAS)


def _add_ribbon(
    tissue: np.ndarray,
    areas: np.ndarray,
    surfaces: Hemisphere,
    labels: np.ndarray,
    origin: np.ndarray,
    error: Deformation | None,
) -> None:
    """Count the ribbon's sample points, all and per area, in the 1 mm voxels they fall into."""
    corner = labels[surfaces.faces]
    label = np.where(corner[:, 1] == corner[:, 2], corner[:, 1], corner[:, 0])  # the majority of the corners
    pial, white = (mesh.vertices if error is None else error(mesh.vertices) for mesh in (surfaces.pial, surfaces.white))
    for depth in (np.arange(_STEPS) + 0.5) / _STEPS:
        vertices = (1 - depth) * pial + depth * white
        voxel = np.rint(vertices[surfaces.faces].mean(axis=1) - origin).astype(int)
        inside = ((voxel >= 0) & (voxel < tissue.shape)).all(axis=1)
        x, y, z = voxel[inside].T
        np.add.at(tissue, (x, y, z), 1)
        visual = label[inside] > OTHER_CORTEX
        np.add.at(areas, (label[inside][visual] - OTHER_CORTEX - 1, x[visual], y[visual], z[visual]), 1)
