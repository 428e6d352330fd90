"""From distances to the areas' seeds to areas, cell textures and their borders."""

from __future__ import annotations

import numpy as np

from cytokeras.brain.labels import VISUAL_AREAS

STRIATE_CHANNEL = 0
"""Column of a territory that holds the distance to the calcarine fundus; the others hold radius minus distance."""


def areas_from_territory(territory: np.ndarray, striate_mm: tuple[float, float], other_cortex: int) -> np.ndarray:
    """Return the class index at points of the cortex.

    Args:
        territory: ``(..., 12)`` mm: distance to the calcarine fundus, then for each further visual area its
            radius minus the distance to its seed.
        striate_mm: Outer limits of hOc1 and hOc2 in mm.
        other_cortex: Class index of cortex outside the 13 areas; hOc1 has the next index.

    Returns:
        ``(...)`` uint8 class indices.
    """
    outer = territory[..., 1:]
    best = outer.argmax(axis=-1)
    inside = np.take_along_axis(outer, best[..., None], -1)[..., 0] > 0
    labels = np.where(inside, other_cortex + 3 + best, other_cortex)
    calcarine = territory[..., STRIATE_CHANNEL]
    labels[calcarine < striate_mm[1]] = other_cortex + 2
    labels[calcarine < striate_mm[0]] = other_cortex + 1
    return labels.astype(np.uint8)


def textures_from_territory(
    territory: np.ndarray, striate_mm: tuple[float, float], other: np.ndarray, border_mm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which cells are drawn at points of the cortex.

    Textures are numbered 0 for the first texture of other cortex, 1 … 13 for the areas, 14 … for the further textures
    of other cortex. The border of hOc1 is sharp, all others are gradual: towards a border a growing share of the cells
    is that of the neighbour, half of them at the border itself.

    Args:
        territory: ``(N, 12)`` as in ``areas_from_territory``.
        striate_mm: Outer limits of hOc1 and hOc2 in mm.
        other: ``(N, K)`` scores in mm of the textures of other cortex; the largest wins.
        border_mm: Half width of a gradual border; 0: all are sharp.

    Returns:
        ``(N,)`` uint8 each: texture, neighbour, share of the neighbour's cells in 1/255 (0 … 127).
    """
    points = np.arange(len(territory))
    first_other = np.array([0, *range(len(VISUAL_AREAS) + 1, len(VISUAL_AREAS) + other.shape[1])])
    # Candidates: eleven areas by depth inside their radius, the best texture outside at 0, the next one below it.
    order = np.argsort(other, axis=1)[:, ::-1]
    best_other = first_other[order[:, 0]]
    if other.shape[1] > 1:
        next_other = first_other[order[:, 1]]
        margin = other[points, order[:, 0]] - other[points, order[:, 1]]
    else:
        next_other, margin = best_other, np.full(len(points), np.inf)
    names = np.tile(np.arange(3, len(VISUAL_AREAS) + 1), (len(points), 1))
    names = np.column_stack([names, best_other, next_other])
    scores = np.column_stack([territory[:, 1:], np.zeros(len(points)), -margin])
    ranked = np.argsort(scores, axis=1)[:, ::-1]
    texture, neighbour = names[points, ranked[:, 0]], names[points, ranked[:, 1]]
    gap = scores[points, ranked[:, 0]] - scores[points, ranked[:, 1]]
    # hOc1 and hOc2 lie over the others as bands around the calcarine fundus.
    from_outer = territory[:, STRIATE_CHANNEL] - striate_mm[1]
    nearer = np.abs(from_outer) < gap
    in_band = from_outer < 0
    neighbour = np.where(in_band, texture, np.where(nearer, 2, neighbour))
    gap = np.where(in_band | nearer, np.abs(from_outer), gap)
    texture = np.where(in_band, 2, texture)
    striate = territory[:, STRIATE_CHANNEL] < striate_mm[0]
    texture, neighbour = np.where(striate, 1, texture), np.where(striate, 1, neighbour)
    share = np.zeros(len(points))
    if border_mm > 0:
        share = np.where(striate, 0.0, 127 * np.clip(1 - gap / border_mm, 0, 1))
    return texture.astype(np.uint8), neighbour.astype(np.uint8), np.rint(share).astype(np.uint8)
