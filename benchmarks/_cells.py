"""Cells read back from images of 1 µm per pixel: bodies, numbers, layers. For the checks of the phantom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cytokeras.phantom._section_fields import LATTICE_MM, OTHER_CORTEX, SectionFields
from cytokeras.phantom.cytoarchitecture import Layer, depth_profiles
from cytokeras.phantom.levels import PhantomLevel
from cytokeras.phantom.renderer import SectionRenderer

_SMALLEST_BODY_UM2 = 10.0
_RIM_PX = 2
_OVERLAP_DENSITY = 1.15  # denser bodies of the phantom are glia or two neurons, one above the other


@dataclass(frozen=True)
class Bodies:
    """Connected dark bodies of an image.

    Attributes:
        centres: ``(N, 2)`` (row, column) in px.
        area_um2: ``(N,)``.
        stain: ``(N,)`` optical density above the surroundings, summed over the body and its rim.
        peaks: ``(N,)`` number of peaks of the distance to the outline; 1: looks like one cell.
        darkest: ``(N,)`` largest optical density.
    """

    centres: np.ndarray
    area_um2: np.ndarray
    stain: np.ndarray
    peaks: np.ndarray
    darkest: np.ndarray

    @property
    def single(self) -> np.ndarray:
        """Which bodies look like one neuron."""
        return (self.peaks == 1) & (self.area_um2 >= _SMALLEST_BODY_UM2) & (self.darkest < _OVERLAP_DENSITY)


def find_bodies(grey: np.ndarray, glass: float, threshold: float) -> Bodies:
    """Find bodies whose optical density is above ``threshold`` in an image of 1 µm per pixel, ``(H, W)`` uint8."""
    density = -np.log(np.maximum(grey.astype(np.float32), 1) / glass)
    smooth = ndimage.gaussian_filter(density, 0.7)
    dark = smooth > threshold
    body, count = ndimage.label(dark)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(dark), 0.8)
    peak = (ndimage.maximum_filter(depth, size=5) == depth) & dark & (depth > 0.8)
    peak_of, _ = ndimage.label(peak, structure=np.ones((3, 3)))
    pairs = np.unique(np.stack([body[peak], peak_of[peak]]), axis=1)
    away, nearest = ndimage.distance_transform_edt(~dark, return_indices=True)
    with_rim = np.where(away <= _RIM_PX, body[tuple(nearest)], 0)
    names = np.arange(1, count + 1)
    stain = np.bincount(with_rim.ravel(), (density - np.median(density)).ravel(), count + 1)[1:]
    return Bodies(
        np.asarray(ndimage.center_of_mass(dark, body, names)).reshape(-1, 2),
        np.bincount(body.ravel(), minlength=count + 1)[1:].astype(float),
        stain,
        np.bincount(pairs[0], minlength=count + 1)[1:],
        ndimage.maximum(smooth, body, names),
    )


def neurons_per_mm2(bodies: Bodies, chosen: np.ndarray, area_mm2: float, glia_stain: float) -> float:
    """Number of neurons from the stain of all bodies, divided by that of one neuron.

    Cells that overlap add up their stain, so none is lost. Bodies that look single are more often small ones, since
    large cells overlap more: each is weighted by the inverse of its chance to touch no other (Poisson process).

    Args:
        bodies: All bodies.
        chosen: ``(N,)`` bool, those that lie in the area counted.
        area_mm2: The area counted.
        glia_stain: Stain of all glia in a mm².
    """
    single = chosen & bodies.single
    stain, radius = bodies.stain[single], np.sqrt(bodies.area_um2[single] / np.pi)
    total = bodies.stain[chosen].sum() / area_mm2 - glia_stain
    mean = stain.mean()
    for _ in range(20):
        touching = 1e-6 * total / mean * np.pi * (radius + radius.mean()) ** 2
        mean = np.average(stain, weights=np.exp(touching))
    return float(total / mean)


def flat_slab(layers: tuple[Layer, ...], width_mm: float, level: PhantomLevel, seed: int) -> np.ndarray:
    """Render flat cortex of one texture at 1 µm per pixel, pia at the top row, ``(H, W)`` uint8."""
    thickness = sum(layer.thickness_mm for layer in layers)
    height, width = (int(np.ceil(mm / LATTICE_MM)) + 8 for mm in (thickness, width_mm))
    rho = np.clip(np.arange(height) * LATTICE_MM / thickness, 0, 1)
    zeros = np.zeros((height, width), np.uint8)
    fields = SectionFields(
        y_mm=0.0,
        x_mm=0.0,
        z_mm=0.0,
        labels=np.full((height, width), OTHER_CORTEX, np.uint8),
        depth=np.repeat(np.rint(255 * rho).astype(np.uint8)[:, None], width, axis=1),
        gradients=np.zeros((4, height, width), np.int8),
        texture=zeros,
        neighbour=zeros,
        share=zeros,
        columns=np.zeros((height, width), np.int8),
    )
    renderer = SectionRenderer(fields, depth_profiles([layers]), 1.0, seed, level)
    return renderer.render(0, 0, round(1000 * thickness), round(1000 * width_mm))


def borders(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Cut a sequence into parts that follow given levels in their order, by least squares (exact).

    Args:
        values: ``(N, C)`` measurements of equal noise.
        levels: ``(P, C)`` level of each part.

    Returns:
        ``(P + 1,)`` ends, from 0 to N.
    """
    misfit = ((values[:, None] - levels[None]) ** 2).sum(axis=-1)
    upto = np.concatenate([np.zeros((1, len(levels))), np.cumsum(misfit, axis=0)])
    best, origins = upto[:, 0], []
    for part in range(1, len(levels)):
        # Best way to end the earlier parts at i, for the part's own cost from i on.
        start = best - upto[:, part]
        origin = np.array([np.argmin(start[: end + 1]) for end in range(len(start))])
        origins.append(origin)
        best = upto[:, part] + start[origin]
    ends = [len(values)]
    for origin in reversed(origins):
        ends.append(int(origin[ends[-1]]))
    return np.array([0, *ends[::-1]])
