"""Straight lines over one side of a triangle mesh, with the two triangles folded flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytokeras.surfaces.mesh import Mesh
from cytokeras.surfaces.surface_points import SurfacePoints

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PointLinks:
    """Straight ways from each point to vertices near it.

    Args:
        nodes: (N, K) int64 vertex indices.
        lengths: (N, K) float64 mm; infinite where a link does not exist (its node is 0 then).
    """

    nodes: Ints
    lengths: Floats

    def __getitem__(self, index: slice | Ints) -> PointLinks:
        return PointLinks(self.nodes[index], self.lengths[index])

    def __len__(self) -> int:
        return len(self.nodes)


class Unfolding:
    """What lies beyond each side of each face, laid into the plane of that face.

    Side k of a face joins its corners k and k + 1. Its frame has the origin in corner k and x along the side;
    the face lies at y >= 0 and the neighbour, folded flat, at y <= 0. Where more than two faces meet,
    each sees the next one only (faces in a ring), so that every link still is a way on the surface.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        corners = mesh.vertices[mesh.faces]
        side = np.roll(corners, -1, axis=1) - corners
        self.side_lengths = np.linalg.norm(side, axis=2)  # (F, 3) mm
        lengths = self.side_lengths[..., None]
        self._origins = corners
        self._directions = np.divide(side, lengths, out=np.zeros_like(side), where=lengths > 0)
        opposite_side = _next_on_edge(mesh.face_edges)  # (F, 3) index into flattened sides, -1 on a rim
        self.neighbours = np.where(opposite_side >= 0, opposite_side // 3, -1)
        apex_corner = opposite_side // 3 * 3 + (opposite_side % 3 + 2) % 3
        self.apexes = np.where(opposite_side >= 0, mesh.faces.ravel()[apex_corner], 0).astype(np.int64)
        apex_x, apex_y = self._in_frames(mesh.vertices[self.apexes], slice(None))
        self._apex_x = np.where(opposite_side >= 0, apex_x, np.nan)  # NaN makes every comparison fail
        self._apex_y = np.where(opposite_side >= 0, apex_y, np.nan)

    def apex_links(self) -> tuple[Ints, Floats]:
        """Return vertex pairs (L, 2) opposite each other over a side and their straight distance (L,) mm."""
        own = np.roll(self.mesh.faces, -2, axis=1).astype(np.int64)  # the corner opposite side k
        own_x, own_y = self._in_frames(self.mesh.vertices[own], slice(None))
        length = self._straight(own_x, own_y, self._apex_x, self._apex_y, self.side_lengths)
        valid = np.isfinite(length) & (own != self.apexes)
        pairs = np.sort(np.stack([own[valid], self.apexes[valid]], axis=1), axis=1)
        return pairs, length[valid]

    def point_links(self, points: SurfacePoints) -> PointLinks:
        """Link points to the corners of their face and, over each side, to the corner opposite.

        Returns:
            Links with K = 6.
        """
        faces = points.faces
        positions = points.positions(self.mesh)
        corners = self.mesh.faces[faces].astype(np.int64)
        to_corners = np.linalg.norm(self.mesh.vertices[corners] - positions[:, None], axis=2)
        x, y = self._in_frames(np.repeat(positions[:, None], 3, axis=1), faces)
        over = self._straight(x, y, self._apex_x[faces], self._apex_y[faces], self.side_lengths[faces])
        nodes = np.where(np.isfinite(over), self.apexes[faces], 0)
        return PointLinks(np.concatenate([corners, nodes], axis=1), np.concatenate([to_corners, over], axis=1))

    def direct_distances(self, points_a: SurfacePoints, points_b: SurfacePoints) -> Floats:
        """Return straight distances (N,) mm within one face or over one side; infinite elsewhere."""
        a, b = points_a.positions(self.mesh), points_b.positions(self.mesh)
        faces, others = points_a.faces, points_b.faces
        same = faces == others
        distance = np.where(same, np.linalg.norm(a - b, axis=1), np.inf)
        for side in range(3):
            rows = np.flatnonzero((self.neighbours[faces, side] == others) & ~same)
            near = faces[rows], np.full(len(rows), side)
            x, y = self._in_frames(a[rows], near)
            other_x, other_y = self._in_frames(b[rows], near)
            over = self._straight(x, y, other_x, other_y, self.side_lengths[near])
            distance[rows] = np.minimum(distance[rows], over)
        return distance

    def _in_frames(self, points: Floats, sides: slice | Ints | tuple[Ints, Ints]) -> tuple[Floats, Floats]:
        """Return x along the side and the distance y >= 0 from its line, for points (..., 3) mm."""
        offset = points - self._origins[sides]
        direction = self._directions[sides]
        x = np.einsum("...d,...d->...", offset, direction)
        y = np.linalg.norm(offset - x[..., None] * direction, axis=-1)
        return x, y

    @staticmethod
    def _straight(x: Floats, y: Floats, other_x: Floats, other_y: Floats, length: Floats) -> Floats:
        """Return the distance from (x, y) to (other_x, -other_y), infinite where it misses the side."""
        height = y + other_y
        share = np.divide(y, height, out=np.zeros_like(y), where=height > 0)
        crossing = x + (other_x - x) * share
        hits = (crossing >= 0) & (crossing <= length)
        return np.where(hits, np.hypot(other_x - x, height), np.inf)


def _next_on_edge(face_edges: Ints) -> Ints:
    """Return for each side (F, 3) the flattened index of the next side on the same edge, -1 on a rim."""
    edge = face_edges.ravel()
    order = np.argsort(edge, kind="stable")
    in_order = edge[order]
    starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
    sizes = np.diff(np.r_[starts, len(edge)])
    following = np.roll(order, -1)
    following[starts + sizes - 1] = order[starts]  # the last side on an edge sees the first: a ring
    following[starts[sizes == 1]] = -1
    result = np.empty(len(edge), np.int64)
    result[order] = following
    return result.reshape(face_edges.shape)
