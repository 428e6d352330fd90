"""Distances along a surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cytokeras.errors import UserError
from cytokeras.surfaces._pair_runs import choose_sources, distance_rows, run_pairs
from cytokeras.surfaces._unfolding import PointLinks, Unfolding
from cytokeras.surfaces.mesh import Mesh
from cytokeras.surfaces.surface_points import SurfacePoints

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class GeodesicSolver:
    """Shortest distances along a mesh, in mm.

    Dijkstra on the mesh edges plus one straight link across each pair of neighbouring faces, folded flat
    (where the line stays inside the two). Every path lies on the surface, so distances are never too short;
    on fsaverage5 (pial) they are 2.9 % too long on average, against 10.3 % on the edges alone. Works on
    open, disconnected and non-manifold meshes; between parts that do not touch the distance is infinite.

    Args:
        mesh: The surface, usually ``hemisphere.mid``.

    Example:
        >>> solver = GeodesicSolver(hemisphere.mid)
        >>> solver.distances([0, 17]).shape
        (2, 10242)
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._unfolding = Unfolding(mesh)
        self._graph = _build_graph(mesh, self._unfolding)

    def distances(self, sources: SurfacePoints | Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the distances from each source to all vertices.

        Args:
            sources: S points on the surface, or S vertex indices.

        Returns:
            (S, V) float32 mm, infinite where a vertex cannot be reached.

        Raises:
            UserError: A vertex or face does not exist on the mesh.
        """
        links = self._source_links(sources)
        result = np.empty((len(links), len(self.mesh.vertices)), np.float32)
        for rows, distances in distance_rows(self._graph, links):
            result[rows] = distances
        return result

    def pair_distances(
        self,
        points_a: SurfacePoints,
        points_b: SurfacePoints,
        *,
        workers: int | None = None,
        progress: bool = False,
    ) -> Floats:
        """Return the distance of each pair (``points_a[n]``, ``points_b[n]``).

        One run serves all pairs of a point, and the points that runs start from are chosen so that few are
        needed. Memory is bounded: no more than 16 MiB of distances exist at a time in each process.

        Args:
            points_a: N points.
            points_b: N points.
            workers: Number of processes; None or 1: this one. A run takes about 3 ms on 10,000 vertices and
                0.1 s on 164,000, and starting a process about 0.5 s, so workers pay for long tables.
            progress: Show progress on standard error.

        Returns:
            (N,) float64 mm, infinite between parts of the mesh that do not touch.

        Raises:
            UserError: Different numbers of points, a face that the mesh does not have, or workers < 1.
        """
        if len(points_a) != len(points_b):
            raise UserError(
                "pair_distances: points_a and points_b must have the same length. "
                f"Received: {len(points_a)} and {len(points_b)}"
            )
        if workers is not None and workers < 1:
            raise UserError(f"pair_distances: workers must be 1 or more, or None. Received: workers={workers}")
        distance = self._unfolding.direct_distances(points_a, points_b)
        # a straight line inside one face is the shortest in space already; other pairs may have a better way
        open_pairs = np.flatnonzero(points_a.faces != points_b.faces)
        if len(open_pairs) == 0:
            return distance
        points, first, second = _distinct(points_a[open_pairs], points_b[open_pairs])
        first_is_source = choose_sources(first, second, len(points))
        source = np.where(first_is_source, first, second)
        target = np.where(first_is_source, second, first)
        order = np.argsort(source, kind="stable")
        chosen, source_of = np.unique(source[order], return_inverse=True)
        through_graph = run_pairs(
            self._graph,
            self._unfolding.point_links(points[chosen]),
            source_of.astype(np.int64),
            self._unfolding.point_links(points[target[order]]),
            workers=workers or 1,
            show=progress,
        )
        rows = open_pairs[order]
        distance[rows] = np.minimum(distance[rows], through_graph)
        return distance

    def _source_links(self, sources: SurfacePoints | Sequence[int] | NDArray[np.integer]) -> PointLinks:
        if isinstance(sources, SurfacePoints):
            return self._unfolding.point_links(sources)
        vertices = np.asarray(sources)
        if vertices.size == 0:
            vertices = vertices.astype(np.int64).reshape(0)
        if vertices.ndim != 1 or not np.issubdtype(vertices.dtype, np.integer):
            raise UserError(
                "distances: sources must be SurfacePoints or a sequence of vertex indices. "
                f"Received: {vertices.dtype} of shape {vertices.shape}"
            )
        count = len(self.mesh.vertices)
        if np.any((vertices < 0) | (vertices >= count)):
            raise UserError(
                f"distances: vertex indices must lie in 0 … {count - 1}. Received: {vertices.min()} … {vertices.max()}"
            )
        nodes = vertices.astype(np.int64)[:, None]
        return PointLinks(nodes, np.zeros(nodes.shape))


def _build_graph(mesh: Mesh, unfolding: Unfolding) -> csr_array:
    """Return the symmetric (V, V) lengths of edges and unfolded links; of doubles, the shortest."""
    edges = mesh.edges
    lengths = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
    link_pairs, link_lengths = unfolding.apex_links()
    pairs = np.concatenate([edges, link_pairs])
    lengths = np.concatenate([lengths, link_lengths])
    # csr_array would add doubles up: only the shortest of each pair of vertices may stay
    order = np.lexsort((lengths, pairs[:, 1], pairs[:, 0]))
    pairs, lengths = pairs[order], lengths[order]
    kept = np.r_[True, np.any(pairs[1:] != pairs[:-1], axis=1)]
    (a, b), lengths = pairs[kept].T, lengths[kept]
    count = len(mesh.vertices)
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    return csr_array((np.concatenate([lengths, lengths]), (rows, columns)), shape=(count, count))


def _distinct(points_a: SurfacePoints, points_b: SurfacePoints) -> tuple[SurfacePoints, Ints, Ints]:
    """Return the distinct points of both and the index of each of the two among them."""
    faces = np.concatenate([points_a.faces, points_b.faces])
    weights = np.concatenate([points_a.barycentric, points_b.barycentric])
    table = np.column_stack([faces.astype(np.float64), weights])
    _, at, index = np.unique(table, axis=0, return_index=True, return_inverse=True)
    index = index.reshape(-1).astype(np.int64)
    return SurfacePoints(faces[at], weights[at]), index[: len(points_a)], index[len(points_a) :]
