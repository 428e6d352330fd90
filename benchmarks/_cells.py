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
_GIANT_HALF_WIDTH_UM = 6.5  # few ordinary cells of the phantom are as wide, Meynert cells have 11 to 19
_OVERLAP_DENSITY = 1.2  # neurons reach 1.14; denser bodies of the phantom are glia or two cells, one above the other


@dataclass(frozen=True)
class Bodies:
    """Connected dark bodies of an image.

    Attributes:
        rows: ``(N,)`` mean row in px.
        area_um2: ``(N,)``.
        stain: ``(N,)`` optical density above the surroundings, summed over the body and its rim.
        peaks: ``(N,)`` number of peaks of the distance to the outline; 1: looks like one cell.
        darkest: ``(N,)`` largest optical density.
        giants: ``(N,)`` number of peaks too far from the outline for a layer's mean cell.
        covered_um2: ``(N,)`` area with the rim.
        stain_of_row: ``(H,)`` the stain of all bodies and their rims in each row of the image.
    """

    rows: np.ndarray
    area_um2: np.ndarray
    stain: np.ndarray
    peaks: np.ndarray
    darkest: np.ndarray
    giants: np.ndarray
    covered_um2: np.ndarray
    stain_of_row: np.ndarray

    @property
    def single(self) -> np.ndarray:
        """Which bodies look like one neuron."""
        return (
            (self.peaks == 1)
            & (self.giants == 0)
            & (self.area_um2 >= _SMALLEST_BODY_UM2)
            & (self.darkest < _OVERLAP_DENSITY)
        )


def find_bodies(grey: np.ndarray, glass: float, threshold: float) -> Bodies:
    """Find bodies whose optical density is above ``threshold`` in an image of 1 µm per pixel, ``(H, W)`` uint8."""
    density = -np.log(np.maximum(grey.astype(np.float32), 1) / glass)
    smooth = ndimage.gaussian_filter(density, 0.7)
    dark = smooth > threshold
    body, count = ndimage.label(dark)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(dark), 0.8)
    peak = (ndimage.maximum_filter(depth, size=5) == depth) & dark & (depth > 0.8)
    peak_of, _ = ndimage.label(peak, structure=np.ones((3, 3)))
    first = np.unique(peak_of[peak], return_index=True)[1]
    body_of_peak, giant = body[peak][first], depth[peak][first] > _GIANT_HALF_WIDTH_UM
    with_rim = ndimage.maximum_filter(body, size=2 * _RIM_PX + 1)
    above = np.where(with_rim > 0, density - np.median(density), 0)
    area = np.bincount(body.ravel(), minlength=count + 1)[1:].astype(float)
    row_sum = np.bincount(body.ravel(), np.repeat(np.arange(len(grey)), grey.shape[1]), count + 1)[1:]
    return Bodies(
        row_sum / area,
        area,
        np.bincount(with_rim.ravel(), above.ravel(), count + 1)[1:],
        np.bincount(body_of_peak, minlength=count + 1)[1:],
        ndimage.maximum(smooth, body, np.arange(1, count + 1)),
        np.bincount(body_of_peak[giant], minlength=count + 1)[1:],
        np.bincount(with_rim.ravel(), minlength=count + 1)[1:].astype(float),
        above.sum(axis=1),
    )


@dataclass(frozen=True)
class Glia:
    """What glia add to each mm² of an image.

    Attributes:
        number: How many there are.
        stain: Their stain.
        singles: How many of them look like one neuron.
        single_stain: Mean stain of these.
    """

    number: float
    stain: float
    singles: float
    single_stain: float


def neurons_per_mm2(bodies: Bodies, low_um: float, high_um: float, width_mm: float, glia: Glia) -> float:
    """Number of neurons between two depths from the stain of all bodies, divided by that of one neuron.

    Cells that overlap add up their stain, so none is lost. Bodies that look single are more often small ones, since
    large cells overlap more: each is weighted by the inverse of its chance to touch no other (Poisson process). Glia
    among them, known from a place without neurons, are taken off. Giant cells are so rare and so much larger that they
    would swamp the mean: they are counted one by one, and the rest outside their bodies.
    """
    first, end = round(low_um), round(high_um)
    inside = (bodies.rows >= first) & (bodies.rows < end)
    single, giant = inside & bodies.single, inside & (bodies.giants > 0)
    whole_mm2 = width_mm * (end - first) / 1000
    free_mm2 = whole_mm2 - 1e-6 * bodies.covered_um2[giant].sum()
    free = bodies.stain_of_row[first:end].sum() - bodies.stain[giant].sum() - free_mm2 * glia.stain
    stain, radius = bodies.stain[single], np.sqrt(bodies.area_um2[single] / np.pi)
    mean = stain.mean()
    for _ in range(20):
        weights = np.exp(1e-6 * free / free_mm2 / mean * np.pi * (radius + radius.mean()) ** 2)
        of_neurons = weights @ stain - free_mm2 * glia.singles * glia.single_stain
        mean = of_neurons / (weights.sum() - free_mm2 * glia.singles)
    giants = bodies.giants[giant].sum()
    # Cells that touch a giant are seen as peaks; those behind it are not, so its own area does not count.
    touching = (bodies.peaks[giant].sum() - giants) * free / (free + mean * free_mm2 * glia.number)
    seen_mm2 = whole_mm2 - 1e-6 * (bodies.area_um2[giant].sum() - touching * np.pi * np.mean(radius**2))
    return float((free / mean + touching) / seen_mm2 + giants / whole_mm2)


def flat_slab(
    layers: tuple[Layer, ...], width_mm: float, level: PhantomLevel, seed: int, slope: float = 0.0
) -> np.ndarray:
    """Render flat cortex of one texture at 1 µm per pixel, pia at the top row, ``(H, W)`` uint8.

    With a slope, layers run across the rows of the phantom's lattice, as they do in a folded brain, instead of along
    them, where each border would fall on a row; the picture is sheared back by whole pixels.
    """
    thickness = sum(layer.thickness_mm for layer in layers)
    drop = np.rint(slope * np.arange(round(1000 * width_mm))).astype(int)
    height, width = (int(np.ceil(mm / LATTICE_MM)) + 8 for mm in (thickness + drop[-1] / 1000, width_mm))
    rows, columns = np.indices((height, width))
    rho = np.clip((rows - slope * columns) * LATTICE_MM / thickness, 0, 1)
    zeros = np.zeros((height, width), np.uint8)
    fields = SectionFields(
        y_mm=0.0,
        x_mm=0.0,
        z_mm=0.0,
        labels=np.full((height, width), OTHER_CORTEX, np.uint8),
        depth=np.rint(255 * rho).astype(np.uint8),
        gradients=np.zeros((4, height, width), np.int8),
        texture=zeros,
        neighbour=zeros,
        share=zeros,
        columns=np.zeros((height, width), np.int8),
    )
    renderer = SectionRenderer(fields, depth_profiles([layers]), 1.0, seed, level)
    whole = renderer.render(0, 0, round(1000 * thickness) + drop[-1], len(drop))
    return whole[np.arange(round(1000 * thickness))[:, None] + drop, np.arange(len(drop))]


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
