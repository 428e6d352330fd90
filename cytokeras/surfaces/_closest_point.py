"""Exact closest points on a triangle mesh, found through trees of face centres."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FIRST_CANDIDATES = 4  # faces tried for the upper bound; more only tightens it
_TESTS_AT_ONCE = 1_000_000  # point-face pairs held in memory at a time


class ClosestPoint:
    """Search structure over the faces of one mesh.

    With an upper bound u of a point's distance, the closest face has its centre within u + r of the point,
    where r is the largest distance of a corner from the centre. Faces are kept in one tree per octave of r,
    so that a few large faces do not widen the search among the small ones.
    """

    def __init__(self, vertices: Floats, faces: NDArray[np.int32]) -> None:
        corners = vertices[faces]
        self._corners = corners
        self._centres = corners.mean(axis=1)
        self._radii = np.linalg.norm(corners - self._centres[:, None], axis=2).max(axis=1)
        self._tree = cKDTree(self._centres)
        octave = np.ceil(np.log2(np.maximum(self._radii, 1e-9)))
        self._octaves: list[tuple[Ints, float, cKDTree]] = []
        for value in np.unique(octave):
            members = np.flatnonzero(octave == value)
            largest = float(self._radii[members].max())
            self._octaves.append((members, largest, cKDTree(self._centres[members])))

    def __call__(self, points: Floats) -> tuple[Ints, Floats]:
        """Return the face (N,) and the barycentric weights (N, 3) of the closest point of each point."""
        count = min(_FIRST_CANDIDATES, len(self._corners))
        _, first = self._tree.query(points, k=count)
        first = np.reshape(first, (len(points), count))
        best = np.full(len(points), np.inf)
        face = np.zeros(len(points), np.int64)
        weights = np.zeros((len(points), 3))
        everyone = np.arange(len(points))
        for column in first.T:
            self._improve(points, everyone, column, best, face, weights)
        for members, largest, tree in self._octaves:
            for queries, candidates in self._candidates(points, best, members, largest, tree):
                self._improve(points, queries, candidates, best, face, weights)
        return face, weights

    def _candidates(
        self, points: Floats, best: Floats, members: Ints, largest: float, tree: cKDTree
    ) -> Iterator[tuple[Ints, Ints]]:
        reach = best + largest * (1 + 1e-9)
        lengths = np.asarray(tree.query_ball_point(points, reach, return_length=True))
        batch_of = np.cumsum(lengths) // _TESTS_AT_ONCE
        for batch in np.unique(batch_of):
            asked = np.flatnonzero((batch_of == batch) & (lengths > 0))
            if len(asked) == 0:
                continue
            found = tree.query_ball_point(points[asked], reach[asked], return_sorted=False)
            queries = np.repeat(asked, [len(each) for each in found])
            candidates = members[np.concatenate([np.asarray(each, np.int64) for each in found])]
            gap = np.linalg.norm(points[queries] - self._centres[candidates], axis=1)
            near = gap - self._radii[candidates] < best[queries]
            yield queries[near], candidates[near]

    def _improve(
        self, points: Floats, queries: Ints, candidates: Ints, best: Floats, face: Ints, weights: Floats
    ) -> None:
        """Test the point-face pairs and keep those that beat ``best`` (all three arrays change in place)."""
        corners = self._corners[candidates]
        found = closest_on_triangles(points[queries], corners)
        distance = np.linalg.norm(points[queries] - np.einsum("nk,nkd->nd", found, corners), axis=1)
        order = np.argsort(-distance, kind="stable")  # the smallest of each query is written last and stays
        order = order[distance[order] < best[queries[order]]]
        best[queries[order]] = distance[order]
        face[queries[order]] = candidates[order]
        weights[queries[order]] = found[order]


def closest_on_triangles(points: Floats, corners: Floats) -> Floats:
    """Return the barycentric weights of the point of each triangle nearest to each point.

    The regions of Ericson, Real-Time Collision Detection (2005), section 5.1.5, for all pairs at once.

    Args:
        points: (N, 3).
        corners: (N, 3, 3), the three corners of each triangle; triangles without area are allowed.

    Returns:
        (N, 3) float64, 0 … 1, rows add up to 1.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, bc = b - a, c - a, c - b
    d1, d2 = _dot(ab, points - a), _dot(ac, points - a)
    d3, d4 = _dot(ab, points - b), _dot(ac, points - b)
    d5, d6 = _dot(ab, points - c), _dot(ac, points - c)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    total = va + vb + vc
    inside = (va > 0) & (vb > 0) & (vc > 0) & (total > 0)
    weights = np.zeros((len(points), 3))
    weights[inside] = np.stack([va, vb, vc], axis=1)[inside] / total[inside, None]
    # outside the triangle's prism the nearest point lies on a side: the nearest of the three is taken
    outside = np.flatnonzero(~inside)
    best = np.full(len(outside), np.inf)
    for start, side, first, second in ((a, ab, 0, 1), (a, ac, 0, 2), (b, bc, 1, 2)):
        offset, along = points[outside] - start[outside], side[outside]
        length = _dot(along, along)
        t = np.divide(_dot(offset, along), length, out=np.zeros_like(length), where=length > 0).clip(0, 1)
        rest = offset - t[:, None] * along
        distance = _dot(rest, rest)
        nearer = distance < best
        best[nearer] = distance[nearer]
        rows = outside[nearer]
        weights[rows] = 0.0
        weights[rows, first] = 1.0 - t[nearer]
        weights[rows, second] = t[nearer]
    return weights


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("nd,nd->n", a, b))
