"""The atlas on the grid of one patch."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cytokeras.brain import Atlas, Section

_ALIGNED_VOXELS = 1e-4
"""Drift in voxels, over a whole patch, that is taken as none: no probability changes by more than that."""


def sample_atlas_patch(
    atlas: Atlas, section: Section, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Return the atlas at the lattice of image pixels ``rows`` x ``columns`` of a section.

    The values are those of ``Atlas.sample``. Where no voxel coordinate changes along both the rows and the
    columns (every section that was not turned in its plane), trilinear interpolation falls apart into one small
    matrix for each axis, at a fifth of the time.

    Args:
        atlas: The atlas, in the space of the section.
        section: The section whose pixels are meant.
        rows: (A,) image rows; fractions and places outside the image are allowed.
        columns: (D,) image columns.

    Returns:
        (A, D, C) float32, 0 … 1.
    """
    down = _voxels(atlas, section, rows, columns[:1])[:, 0]
    across = _voxels(atlas, section, rows[:1], columns)[0]
    moves_down = np.ptp(down, axis=0) > _ALIGNED_VOXELS
    moves_across = np.ptp(across, axis=0) > _ALIGNED_VOXELS
    if (moves_down & moves_across).any() or not moves_down.any() or not moves_across.any():
        points = section.pixel_to_mm(np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1))
        return atlas.sample(points)
    near: list[slice] = []
    terms: dict[str, list[str]] = {"i": [], "j": []}
    weights: dict[str, list[npt.NDArray[np.float32]]] = {"i": [], "j": []}
    for axis, name in enumerate("xyz"):
        # A coordinate that is the same in the whole patch may go either way.
        index, places = ("i", down) if moves_down[axis] else ("j", across)
        voxels, hats = _hat_weights(places[:, axis], atlas.probabilities.shape[axis])
        near.append(voxels)
        terms[index].append(index + name)
        weights[index].append(hats)
    box = atlas.probabilities[tuple(near)]
    kept = "".join(term[1] for term in terms["j"])
    by_row = np.einsum(f"{','.join(terms['i'])},xyzc->i{kept}c", *weights["i"], box)
    by_column = np.einsum(f"{','.join(terms['j'])}->j{kept}", *weights["j"])
    count = math.prod(by_column.shape[1:])
    # Written in this order the result is contiguous: TensorFlow would copy any other, at twice the time of the rest.
    return np.matmul(by_column.reshape(len(columns), count), by_row.reshape(len(rows), count, len(atlas.names)))


def _voxels(
    atlas: Atlas, section: Section, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Voxel coordinates (A, D, 3) of a lattice of pixels."""
    points = section.pixel_to_mm(np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1))
    to_voxel = np.linalg.inv(atlas.affine)
    return points @ to_voxel[:3, :3].T + to_voxel[:3, 3]


def _hat_weights(places: npt.NDArray[np.float64], size: int) -> tuple[slice, npt.NDArray[np.float32]]:
    """The voxels of an axis of ``size`` that weigh on any of N places, and their weights, (N, n) float32.

    A place takes from the two voxels beside it; voxels that the axis lacks count as zero.
    """
    first = int(np.clip(np.floor(places.min()), 0, size))
    last = int(np.clip(np.floor(places.max()) + 2, 0, size))
    distance = np.abs(places[:, None] - np.arange(first, last))
    return slice(first, last), np.maximum(1 - distance, 0).astype(np.float32)
