"""A brain of two balls, cut by coronal sections."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import trimesh

from cytokeras.brain.section import Section, SectionPlane
from cytokeras.surfaces import Hemisphere, Mesh

RADIUS = 20.0
BALL = trimesh.creation.icosphere(4)
PIXEL_MM = 0.1


def hemisphere(name: str, thickness: np.ndarray | float = 3.0) -> Hemisphere:
    unit = Mesh(BALL.vertices, BALL.faces)
    half = np.broadcast_to(np.asarray(thickness) / 2, len(unit.vertices))[:, None]
    shift = [-25, 0, 0] if name == "left" else [25, 0, 0]
    surfaces = (unit.vertices * (RADIUS + each) + shift for each in (half, -half))
    inflated = unit.with_vertices(unit.vertices * 40 + [7, 0, 0])
    return Hemisphere(name, *(unit.with_vertices(each) for each in surfaces), inflated)


def section(y_mm: float, split: str = "train", labels: object = None, shape: tuple = (1000, 1000)) -> Section:
    """A coronal section around the origin; rows run down, columns to the right."""
    middle_row, middle_column = shape[0] / 2 * PIXEL_MM, shape[1] / 2 * PIXEL_MM
    affine = [[0, PIXEL_MM, -middle_column], [-PIXEL_MM, 0, middle_row]]
    plane = SectionPlane(affine, [0, y_mm, 0], [1, 0, 0], [0, 0, 1])
    image = SimpleNamespace(shape=shape, pixel_size_um=1000 * PIXEL_MM)
    return Section(f"s{y_mm:g}", image, plane, labels, split)


def brain(*sections: Section, names: tuple = ("left", "right"), thickness: float = 3.0) -> SimpleNamespace:
    surfaces = {name: hemisphere(name, thickness) for name in names}
    labels = SimpleNamespace(names=("background", "white", "cortex", "hOc1"))
    return SimpleNamespace(name="balls", sections=sections, surfaces=surfaces, labels=labels)
