"""Small brains that the tests of the pipelines read from."""

from __future__ import annotations

import numpy as np

from cytokeras.brain import (
    UNLABELLED,
    VISUAL_SCHEME,
    ArrayImage,
    Atlas,
    Brain,
    ImageLabels,
    LabelScheme,
    Section,
    SectionPlane,
)
from cytokeras.sampling import CortexLocations, CortexPairs

THREE = LabelScheme(["glass", "white", "grey"], [(0, 0, 0), (1, 1, 1), (2, 2, 2)])


def plane(pixel_size_um, tilt=0.0):
    """Columns run along x (turned by ``tilt`` towards y), rows run down from z = 20."""
    mm = pixel_size_um / 1000
    across = [np.cos(tilt), np.sin(tilt), 0]
    return SectionPlane([[0, mm, 0.0], [-mm, 0, 0.0]], [1.0, 2.0, 20.0], across, [0, 0, 1])


def linear_atlas():
    """Channel 0 rises along x, 1 along z, which interpolation reproduces exactly; 2 is empty."""
    x, _, z = np.meshgrid(np.arange(30), np.arange(20), np.arange(40), indexing="ij")
    volume = np.stack([x / 100, z / 100, 0 * x], axis=-1)
    affine = np.eye(4)
    affine[:3, 3] = [-10, -8, -5]
    return Atlas(volume, affine, ["along x", "along z", "nowhere"])


def three_class_brain(name="three", pixels=None, **options):
    """300 x 300 px: class 2 in a corner of 40 x 40, class 1 in the next columns, a tenth not annotated."""
    labels = np.zeros((300, 300), np.uint8)
    labels[:, 40:80] = 1
    labels[:40, :40] = 2
    labels[270:] = UNLABELLED
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8) if pixels is None else pixels
    options = {"atlas": linear_atlas(), "labels": THREE} | options
    image = ArrayImage(pixels, 16.0, background=255)
    section = Section("s0", image, plane(16.0), ImageLabels(labels))
    return Brain(name, "test", options["labels"], [section], {}, options["atlas"])


def locations_of(count):
    """Places in three sections of 60 x 80 px."""
    rng = np.random.default_rng(1)
    return CortexLocations(
        section=rng.integers(0, 3, count),
        row=rng.uniform(5, 55, count),
        column=rng.uniform(5, 75, count),
        hemisphere=np.zeros(count, int),
        face=np.zeros(count, int),
        barycentric=np.full((count, 3), 1 / 3),
        position_mm=rng.normal(0, 30, (count, 3)),
        inflated_mm=rng.normal(0, 30, (count, 3)),
        obliqueness_deg=np.zeros(count),
        curvature_per_mm=np.zeros(count),
    )


def marked_pairs(side=None):
    """A brain of three sections of noise, and ten pairs whose distance is their number."""
    rng = np.random.default_rng(0)
    shape = (3, 60, 80) if side is None else (3, side, side)
    sections = [
        Section(f"s{n}", ArrayImage(pixels, 16.0), plane(16.0))
        for n, pixels in enumerate(rng.integers(0, 250, shape, dtype=np.uint8))
    ]
    i, j = np.random.default_rng(2).integers(0, 15, (2, 10))
    pairs = CortexPairs(i, j, np.arange(10.0), locations_of(20))
    return Brain("marked", "test", VISUAL_SCHEME, sections, {}), pairs
