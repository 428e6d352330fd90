"""Cells read back from an image: detection, and density over cortical depth. For the phantom's checks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cytokeras.phantom._section_fields import LATTICE_MM, OTHER_CORTEX, SectionFields
from cytokeras.phantom.cytoarchitecture import Layer, depth_profiles
from cytokeras.phantom.levels import PhantomLevel
from cytokeras.phantom.renderer import SectionRenderer

DETECTION_PIXEL_UM = 1.0
_CELL_OPTICAL_DENSITY = 0.35  # above neuropil and light glia rims, below the palest neuron
_SMALLEST_CELL_UM2 = 10.0


def detect_cells(grey: np.ndarray, glass: float) -> tuple[np.ndarray, np.ndarray]:
    """Detect dark cell bodies in an image of 1 µm per pixel.

    Touching cells are parted where the distance to their common outline has several peaks.

    Args:
        grey: ``(H, W)`` uint8.
        glass: Grey value of empty glass.

    Returns:
        Centres ``(N, 2)`` (row, column) in px, areas ``(N,)`` in µm².
    """
    density = -np.log(np.maximum(ndimage.gaussian_filter(grey.astype(np.float32), 0.7), 1) / glass)
    cells = density > _CELL_OPTICAL_DENSITY
    inside = ndimage.gaussian_filter(ndimage.distance_transform_edt(cells), 0.8)
    peak = (ndimage.maximum_filter(inside, size=5) == inside) & cells & (inside > 0.8)
    seeds, count = ndimage.label(peak, structure=np.ones((3, 3)))
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    owner = np.where(cells, seeds[tuple(nearest)], 0)
    area = np.bincount(owner.ravel(), minlength=count + 1)[1:] * DETECTION_PIXEL_UM**2
    centres = np.asarray(ndimage.center_of_mass(seeds > 0, seeds, np.arange(1, count + 1))).reshape(-1, 2)
    kept = area >= _SMALLEST_CELL_UM2
    return centres[kept], area[kept]


def flat_slab(layers: tuple[Layer, ...], width_mm: float, level: PhantomLevel, seed: int) -> np.ndarray:
    """Render flat cortex of one texture at 1 µm per pixel, pia at the top row, ``(H, W)`` uint8."""
    thickness = sum(layer.thickness_mm for layer in layers)
    height, width = (int(np.ceil(mm / LATTICE_MM)) + 8 for mm in (thickness, width_mm))
    rho = np.clip(np.arange(height) * LATTICE_MM / thickness, 0, 1)
    depth = np.repeat(np.rint(255 * rho).astype(np.uint8)[:, None], width, axis=1)
    zeros = np.zeros((height, width), np.uint8)
    fields = SectionFields(
        y_mm=0.0,
        x_mm=0.0,
        z_mm=0.0,
        labels=np.full((height, width), OTHER_CORTEX, np.uint8),
        depth=depth,
        gradients=np.zeros((4, height, width), np.int8),
        texture=zeros,
        neighbour=zeros,
        share=zeros,
        columns=np.zeros((height, width), np.int8),
    )
    renderer = SectionRenderer(fields, depth_profiles([layers]), DETECTION_PIXEL_UM, seed, level)
    return renderer.render(0, 0, round(1000 * thickness), round(1000 * width_mm))


def change_points(values: np.ndarray, weights: np.ndarray, parts: int, shortest: int) -> np.ndarray:
    """Cut a sequence into parts of constant values by least squares (dynamic programming, exact).

    Args:
        values: ``(N, C)`` measurements.
        weights: ``(C,)`` weight of each channel.
        parts: Number of parts.
        shortest: Fewest entries in a part.

    Returns:
        ``(parts + 1,)`` ends, from 0 to N.
    """
    count = len(values)
    scaled = values * np.sqrt(weights)
    sums = np.concatenate([np.zeros((1, scaled.shape[1])), np.cumsum(scaled, axis=0)])
    squares = np.concatenate([[0.0], np.cumsum((scaled**2).sum(axis=1))])
    i, j = np.arange(count + 1)[:, None], np.arange(count + 1)[None]
    length = np.maximum(j - i, 1)
    cost = squares[j] - squares[i] - ((sums[j] - sums[i]) ** 2).sum(axis=-1) / length
    cost = np.where(j - i >= shortest, cost, np.inf)
    best, origin = cost[0], []
    for _ in range(parts - 1):
        total = best[:, None] + cost
        origin.append(total.argmin(axis=0))
        best = total.min(axis=0)
    ends = [count]
    for step in reversed(origin):
        ends.append(int(step[ends[-1]]))
    return np.array([0, *ends[::-1]])
