"""A brain of one small ball in three sections, and a tiny network for it."""

from __future__ import annotations

import keras
import numpy as np
import trimesh

from cytokeras.brain import ArrayImage, Atlas, Brain, ImageLabels, LabelScheme, Section, SectionPlane
from cytokeras.models import AtlasUNet
from cytokeras.surfaces import Hemisphere, Mesh

SHAPE = (230, 300)
SCHEME = LabelScheme(
    ("background", "white matter", "hOc1", "hOc2"), ((255, 255, 255), (200, 200, 200), (220, 40, 40), (40, 40, 220))
)
PIXEL_MM = 0.016


def network(atlas_channels: int = 2) -> AtlasUNet:
    keras.utils.set_random_seed(3)
    model = AtlasUNet(4, (194, 194, 1), atlas_channels, pixel_size_um=16.0, widths=(2,) * 6, class_names=SCHEME.names)
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if "gamma" in weight.path or "moving_variance" in weight.path:
            weight.assign(rng.uniform(0.8, 2.0, weight.shape))
        elif "beta" in weight.path or "moving_mean" in weight.path:
            weight.assign(rng.normal(0.3, 0.3, weight.shape))
    return model


def section_image(seed: int = 0) -> ArrayImage:
    coarse = np.random.default_rng(seed).integers(0, 230, (SHAPE[0] // 10, SHAPE[1] // 10))
    return ArrayImage(np.kron(coarse, np.ones((10, 10), int)).astype(np.uint8), 16.0, background=255)


def plane(y_mm: float) -> SectionPlane:
    """Pixel (row, column) lies at x = 0.016 (column - 150), z = 0.016 (115 - row)."""
    affine = [[0, PIXEL_MM, -PIXEL_MM * SHAPE[1] / 2], [-PIXEL_MM, 0, PIXEL_MM * SHAPE[0] / 2]]
    return SectionPlane(affine, [0, y_mm, 0], [1, 0, 0], [0, 0, 1])


def hemisphere() -> Hemisphere:
    ball = trimesh.creation.icosphere(subdivisions=3)
    return Hemisphere("left", *(Mesh(ball.vertices * radius, ball.faces) for radius in (1.7, 1.1, 2.0)))


def small_brain(split: str = "train") -> Brain:
    truth = np.random.default_rng(9).integers(0, 4, SHAPE).astype(np.uint8)
    truth[:, :150] = 255
    sections = [
        Section(f"s{number}", section_image(number), plane(y), ImageLabels(truth) if number else None, split)
        for number, y in enumerate((-0.5, 0.0, 0.5))
    ]
    volume = np.random.default_rng(1).random((6, 6, 6, 2)).astype(np.float32) / 2
    affine = np.eye(4)
    affine[:3, 3] = -3
    atlas = Atlas(volume, affine, ("hOc1", "hOc2"))
    return Brain("ball", "test", SCHEME, sections, {"left": hemisphere()}, atlas, synthetic=True)
