"""Where a section is damaged: tears, missing tissue, folds, knife marks and dust, as straight pieces."""

from __future__ import annotations

import numpy as np

from cytokeras.phantom._light_kernels import DUST, FOLD, KNIFE_MARK, TEAR
from cytokeras.phantom._section_fields import BACKGROUND, LATTICE_MM, SectionFields
from cytokeras.phantom.levels import PhantomLevel

_DUST_FACTOR = 4  # grains for every place of the other kinds


def random_damage(rng: np.random.Generator, fields: SectionFields, level: PhantomLevel) -> np.ndarray:
    """Draw the damage of one section; sizes are our choice after what sections show.

    Returns:
        ``(N, 7)`` float64: kind, both ends (row, column) in mm, half width in mm, strength; see ``draw_damage``.
    """
    tissue = np.flatnonzero(fields.labels[::8, ::8] != BACKGROUND)
    if not level.damage or not len(tissue):  # at the poles a section may hold a few pixels of tissue
        return np.zeros((0, 7))
    coarse = fields.labels[::8, ::8].shape
    height, width = np.multiply(fields.labels.shape, LATTICE_MM)

    def somewhere() -> np.ndarray:
        """A random place in the tissue, (row, column) in mm."""
        row, column = np.unravel_index(rng.choice(tissue), coarse)
        return 8 * LATTICE_MM * np.array([row, column], float)

    pieces: list[list[float]] = []
    for _ in range(rng.poisson(level.damage)):
        pieces += _tear(rng, somewhere())
    for _ in range(rng.poisson(level.damage / 2)):
        pieces += _hole(rng, somewhere())
    for _ in range(rng.poisson(level.damage)):
        pieces.append(
            _stripe(FOLD, somewhere(), rng.uniform(2, 12), rng.uniform(0, np.pi), rng.uniform(0.04, 0.15), 0.8)
        )
    angle = rng.uniform(-0.2, 0.2)
    for _ in range(rng.poisson(level.damage)):
        # All marks of a section run along the knife's way, over the whole width.
        middle = np.array([rng.uniform(0, height), width / 2])
        strength = rng.choice([-1, 1]) * rng.uniform(0.08, 0.25)
        pieces.append(_stripe(KNIFE_MARK, middle, width, angle, rng.uniform(0.005, 0.03), strength))
    for _ in range(rng.poisson(_DUST_FACTOR * level.damage)):
        radius = 0.006 * np.exp(rng.exponential(0.8))
        pieces.append(_stripe(DUST, somewhere(), radius * rng.uniform(0, 3), rng.uniform(0, np.pi), radius, 1.5))
    return np.asarray(pieces, float).reshape(-1, 7)


def _stripe(
    kind: int, middle: np.ndarray, length: float, angle: float, half_width: float, strength: float
) -> list[float]:
    half = 0.5 * length * np.array([np.sin(angle), np.cos(angle)])
    return [kind, *(middle - half), *(middle + half), half_width, strength]


def _tear(rng: np.random.Generator, start: np.ndarray) -> list[list[float]]:
    """A crack that wanders and closes towards its ends."""
    steps = rng.integers(6, 20)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, steps))
    moves = 0.25 * np.column_stack([np.sin(heading), np.cos(heading)])
    points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    opening = rng.uniform(0.03, 0.12) * np.sin(np.pi * (np.arange(steps) + 0.5) / steps)
    return [[TEAR, *a, *b, w, 1.0] for a, b, w in zip(points[:-1], points[1:], opening, strict=True)]


def _hole(rng: np.random.Generator, middle: np.ndarray) -> list[list[float]]:
    """Missing tissue: overlapping round pieces with an uneven outline."""
    radius = 0.25 * np.exp(rng.exponential(0.6))
    around = middle + rng.normal(0, 0.6 * radius, (9, 2))
    return [[TEAR, *p, *p, radius * w, 1.0] for p, w in zip(around, rng.uniform(0.4, 1.0, 9), strict=True)]
