"""Straight lines over strips of triangles, folded flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytokeras.surfaces import _unfolding_kernels as kernels
from cytokeras.surfaces.mesh import Mesh
from cytokeras.surfaces.surface_points import SurfacePoints

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Triangles of a strip beyond the first. Mean error on fsaverage5 (pial) with 1, 2, 3, 4: see benchmarks/RESULTS.md.
STRIP = 4


@dataclass(frozen=True, eq=False)
class PointLinks:
    """Straight ways from each point to vertices near it.

    Args:
        nodes: (N, K) int32 vertex indices.
        lengths: (N, K) float64 mm; infinite where a link does not exist (its node is 0 then).
    """

    nodes: NDArray[np.int32]
    lengths: Floats

    def __getitem__(self, index: slice | Ints) -> PointLinks:
        return PointLinks(self.nodes[index], self.lengths[index])

    def __len__(self) -> int:
        return len(self.nodes)


class Unfolding:
    """Straight lines from one place of a mesh to another over at most ``STRIP`` + 1 triangles.

    Where more than two faces meet at a side, each sees the next one only (faces in a ring), so that every line
    still is a way on the surface.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        corners = mesh.vertices[mesh.faces]
        side = np.roll(corners, -1, axis=1) - corners
        length = np.linalg.norm(side, axis=2)
        to_third = np.roll(corners, -2, axis=1) - corners
        square = np.einsum("fsd,fsd->fs", side, side)
        feet = np.divide(np.einsum("fsd,fsd->fs", to_third, side), square, out=np.zeros_like(square), where=square > 0)
        heights = np.linalg.norm(to_third - feet[..., None] * side, axis=2)
        faces = np.ascontiguousarray(mesh.faces, np.int32)
        opposite = _next_on_edge(mesh.face_edges)
        self._shape = faces, opposite, feet, heights, length
        twice = opposite.ravel()[opposite]
        self._mutual = bool(np.all((opposite < 0) | (twice == np.arange(opposite.size).reshape(opposite.shape))))

    def vertex_links(self) -> tuple[NDArray[np.int32], Floats]:
        """Return pairs of vertices (L, 2), the smaller first, that see each other over a strip, and their mm (L,)."""
        nothing = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0)
        counts = kernels.corner_links(self._shape, STRIP, *nothing)
        starts = np.concatenate([[0], np.cumsum(counts)])
        seen, mm = np.empty(starts[-1], np.int32), np.empty(starts[-1])
        kernels.corner_links(self._shape, STRIP, starts, seen, mm)
        own = np.repeat(self._shape[0].ravel(), counts)
        # Around a sharp tip a vertex sees itself. Of two vertices each sees the other, so half of the links will do,
        # but for edges of more than two faces.
        kept = own < seen if self._mutual else own != seen
        own, seen = own[kept], seen[kept]
        return np.stack([np.minimum(own, seen), np.maximum(own, seen)], axis=1), mm[kept]

    def point_links(self, points: SurfacePoints) -> PointLinks:
        """Link points to the corners of their faces and to all they see over a strip."""
        positions = points.positions(self.mesh)
        corners = self.mesh.faces[points.faces]
        to_corners = np.linalg.norm(self.mesh.vertices[corners] - positions[:, None], axis=2)
        most = 2**STRIP - 1  # every triangle of a strip may split a cone in two
        nodes = np.zeros((len(points), 3, most), np.int32)
        lengths = np.full(nodes.shape, np.inf)
        kernels.point_links(self._shape, STRIP, points.faces, points.barycentric, nodes, lengths)
        count = len(points)
        nodes = np.concatenate([corners, nodes.reshape(count, 3 * most)], axis=1)
        lengths = np.concatenate([to_corners, lengths.reshape(count, 3 * most)], axis=1)
        # most links do not exist: those that do come first, and the columns that hold none are cut off
        order = np.argsort(lengths, axis=1)
        width = int(np.isfinite(lengths).sum(axis=1).max(initial=0))
        order = order[:, :width]
        return PointLinks(np.take_along_axis(nodes, order, axis=1), np.take_along_axis(lengths, order, axis=1))

    def direct_distances(self, points_a: SurfacePoints, points_b: SurfacePoints) -> Floats:
        """Return straight distances (N,) mm within one face or over a strip; infinite elsewhere."""
        over = kernels.straight_distances(
            self._shape, STRIP, points_a.faces, points_a.barycentric, points_b.faces, points_b.barycentric
        )
        inside = np.linalg.norm(points_a.positions(self.mesh) - points_b.positions(self.mesh), axis=1)
        return np.where(points_a.faces == points_b.faces, inside, over)


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
