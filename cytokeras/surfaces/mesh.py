"""A triangle mesh in millimetres."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytokeras.errors import UserError
from cytokeras.surfaces._closest_point import ClosestPoint
from cytokeras.surfaces.surface_points import SurfacePoints

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PlaneSection:
    """The line along which a plane cuts a mesh, as one straight segment a crossed face.

    Args:
        points: (S, 2, 3) float64, the two ends of each segment in mm.
        faces: (S,) int64, the face that each segment lies in.
        barycentric: (S, 2, 3) float64, weights of the ends in that face.
    """

    points: Floats
    faces: Ints
    barycentric: Floats

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def lengths_mm(self) -> Floats:
        """Length of each segment, (S,) mm."""
        return np.asarray(np.linalg.norm(self.points[:, 1] - self.points[:, 0], axis=1))


class Mesh:
    """A triangle mesh: one cortical surface of one hemisphere.

    The arrays are read-only, so that derived quantities can be kept.

    Args:
        vertices: (V, 3) float64, positions (x, y, z) in mm.
        faces: (F, 3) int32, vertex indices, counter-clockwise when seen from outside.

    Raises:
        UserError: Wrong shapes, no vertices or faces, positions that are not finite, indices outside
            0 … V - 1, or a face that names a vertex twice.

    Example:
        >>> mesh = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
        >>> mesh.area_mm2
        0.5
    """

    vertices: Floats
    faces: NDArray[np.int32]

    def __init__(self, vertices: ArrayLike, faces: ArrayLike) -> None:
        self.vertices = _checked_vertices(vertices)
        self.faces = _checked_faces(faces, len(self.vertices))
        self.vertices.setflags(write=False)
        self.faces.setflags(write=False)

    def __repr__(self) -> str:
        return f"Mesh({len(self.vertices)} vertices, {len(self.faces)} faces)"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Mesh:
        """Read GIFTI (``.gii``, ``.gii.gz``), FreeSurfer binary or MNI ``.obj``; see `mesh_io.read_mesh`."""
        from cytokeras.surfaces.mesh_io import read_mesh

        return read_mesh(path)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write GIFTI (``.gii`` or ``.gii.gz``); see `mesh_io.write_mesh`."""
        from cytokeras.surfaces.mesh_io import write_mesh

        write_mesh(self, path)

    def with_vertices(self, vertices: ArrayLike) -> Mesh:
        """Return the mesh with the same faces and other positions ((V, 3) mm)."""
        return Mesh(vertices, self.faces)

    @cached_property
    def _edges_of_faces(self) -> tuple[Ints, Ints]:
        return _unique_edges(self.faces, len(self.vertices))

    @property
    def edges(self) -> Ints:
        """Each edge once, (E, 2) int64, the smaller vertex first, in ascending order."""
        return self._edges_of_faces[0]

    @property
    def face_edges(self) -> Ints:
        """Edge index of each side of each face, (F, 3) int64; side k joins corners k and (k + 1) % 3."""
        return self._edges_of_faces[1]

    @cached_property
    def _face_cross(self) -> Floats:
        corners = self.vertices[self.faces]
        return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    @cached_property
    def face_areas(self) -> Floats:
        """Area of each face, (F,) mm²."""
        return np.asarray(0.5 * np.linalg.norm(self._face_cross, axis=1))

    @cached_property
    def face_normals(self) -> Floats:
        """Unit normal of each face, (F, 3); zero where a face has no area."""
        return _normalised(self._face_cross)

    @cached_property
    def vertex_normals(self) -> Floats:
        """Unit normal at each vertex, (V, 3): area-weighted mean of the faces around it."""
        normals = np.empty_like(self.vertices)
        for axis in range(3):
            weights = np.repeat(self._face_cross[:, axis], 3)
            normals[:, axis] = np.bincount(self.faces.ravel(), weights, len(self.vertices))
        return _normalised(normals)

    @property
    def area_mm2(self) -> float:
        """Total area in mm²."""
        return float(self.face_areas.sum())

    @property
    def euler_characteristic(self) -> int:
        """V - E + F; 2 for a closed surface without handles, as a cortical hemisphere should be."""
        return len(self.vertices) - len(self.edges) + len(self.faces)

    def subdivide(self, levels: int = 1) -> Mesh:
        """Split every face into four at the edge midpoints, ``levels`` times.

        The old vertices come first and keep their index; new ones follow in the order of `edges`.
        """
        faces = self._subdivided_faces(levels)
        return Mesh(self.subdivide_values(self.vertices, levels), faces[-1])

    def subdivide_values(self, values: ArrayLike, levels: int = 1) -> NDArray[np.generic]:
        """Carry vertex data over to ``subdivide(levels)``, linear between the vertices.

        Args:
            values: (V,) or (V, K).
            levels: How often the mesh was subdivided.

        Returns:
            (V',) or (V', K) floating point, in the vertex order of ``subdivide(levels)``.
        """
        array = np.asarray(values)
        if len(array) != len(self.vertices):
            raise UserError(
                f"subdivide_values: values must have one row a vertex ({len(self.vertices)}). Received: {array.shape}"
            )
        array = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)
        for faces in self._subdivided_faces(levels)[:-1]:
            edges, _ = _unique_edges(faces, len(array))
            array = np.concatenate([array, array[edges].mean(axis=1, dtype=array.dtype)])
        return array

    def _subdivided_faces(self, levels: int) -> list[NDArray[np.int32]]:
        if levels < 0:
            raise UserError(f"subdivide: levels must be 0 or more. Received: levels={levels}")
        result, count = [self.faces], len(self.vertices)
        for _ in range(levels):
            faces = result[-1]
            edges, face_edges = _unique_edges(faces, count)
            a, b, c = faces.T
            ab, bc, ca = (count + face_edges).T
            quarters = [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]
            result.append(np.array(quarters).transpose(2, 0, 1).reshape(-1, 3).astype(np.int32))
            count += len(edges)
        return result

    def plane_section(self, origin: ArrayLike, normal: ArrayLike) -> PlaneSection:
        """Cut the mesh with a plane.

        A vertex that lies in the plane counts as above it, so that a face edge in the plane is reported once
        and no segment has length zero.

        Args:
            origin: (3,) mm, a point of the plane.
            normal: (3,), its normal of any length but zero.

        Raises:
            UserError: ``origin`` or ``normal`` is not finite, or ``normal`` is zero.
        """
        start, direction = np.asarray(origin, np.float64), np.asarray(normal, np.float64)
        length = np.linalg.norm(direction)
        if start.shape != (3,) or not np.all(np.isfinite(start)):
            raise UserError(f"plane_section: origin must be 3 finite numbers. Received: {start.tolist()}")
        if direction.shape != (3,) or not np.isfinite(length) or length == 0:
            raise UserError(
                f"plane_section: normal must be 3 finite numbers, not all zero. Received: {direction.tolist()}"
            )
        height = (self.vertices - start) @ (direction / length)
        above = (height >= 0)[self.faces]
        crossed = np.flatnonzero(above.any(axis=1) & ~above.all(axis=1))
        above, height = above[crossed], height[self.faces[crossed]]
        # the corner that is alone on its side is the one both crossed sides of the face meet in
        alone = np.argmax(above == (above.sum(axis=1) == 1)[:, None], axis=1)
        rows = np.arange(len(crossed))
        weights = np.zeros((len(crossed), 2, 3))
        for end, step in enumerate((1, 2)):
            other = (alone + step) % 3
            at_alone, at_other = height[rows, alone], height[rows, other]
            along = at_alone / (at_alone - at_other)
            weights[rows, end, alone] = 1.0 - along
            weights[rows, end, other] = along
        points = weights @ self.vertices[self.faces[crossed]]
        kept = np.any(points[:, 0] != points[:, 1], axis=1)
        return PlaneSection(points[kept], crossed[kept], weights[kept])

    @cached_property
    def _closest_point(self) -> ClosestPoint:
        return ClosestPoint(self.vertices, self.faces)

    def closest_point(self, points: ArrayLike) -> SurfacePoints:
        """Return the points of the mesh nearest to ``points`` ((N, 3) mm), exact.

        Raises:
            UserError: ``points`` is not (N, 3) or not finite.
        """
        queries = np.atleast_2d(np.asarray(points, np.float64))
        if queries.ndim != 2 or queries.shape[1] != 3 or not np.all(np.isfinite(queries)):
            raise UserError(f"closest_point: points must be finite, (N, 3) mm. Received: {queries.shape}")
        return SurfacePoints(*self._closest_point(queries))


def _checked_vertices(vertices: ArrayLike) -> Floats:
    try:
        array = np.array(vertices, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"Mesh: vertices must be numbers, (V, 3) mm ({error}).") from error
    if array.ndim != 2 or array.shape[1] != 3 or len(array) == 0:
        raise UserError(f"Mesh: vertices must be (V, 3) mm with V > 0. Received: shape {array.shape}")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise UserError(
            f"Mesh: vertices must be finite; {int((~finite).sum())} of {len(array)} are not. "
            f"Received: vertex {first} at {array[first].tolist()}"
        )
    return array


def _checked_faces(faces: ArrayLike, vertex_count: int) -> NDArray[np.int32]:
    array = np.asarray(faces)
    if array.ndim != 2 or array.shape[1] != 3 or len(array) == 0:
        raise UserError(f"Mesh: faces must be triangles, (F, 3) int with F > 0. Received: shape {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"Mesh: faces must be integers (vertex indices). Received: dtype {array.dtype}")
    outside = ((array < 0) | (array >= vertex_count)).any(axis=1)
    if outside.any():
        first = int(np.argmax(outside))
        raise UserError(
            f"Mesh: faces must name vertices 0 … {vertex_count - 1}; {int(outside.sum())} of {len(array)} "
            f"do not. Received: face {first} = {array[first].tolist()}"
        )
    a, b, c = array.T
    degenerate = (a == b) | (b == c) | (c == a)
    if degenerate.any():
        first = int(np.argmax(degenerate))
        raise UserError(
            f"Mesh: each face must have three different vertices; {int(degenerate.sum())} of {len(array)} "
            f"do not. Received: face {first} = {array[first].tolist()}"
        )
    return array.astype(np.int32)


def _unique_edges(faces: NDArray[np.int32], vertex_count: int) -> tuple[Ints, Ints]:
    """Return edges (E, 2) in ascending order and the edge of each face side (F, 3)."""
    sides = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).astype(np.int64)
    keys = sides.min(axis=-1) * vertex_count + sides.max(axis=-1)
    unique, inverse = np.unique(keys.ravel(), return_inverse=True)
    edges = np.stack([unique // vertex_count, unique % vertex_count], axis=1)
    return edges, inverse.reshape(faces.shape).astype(np.int64)


def _normalised(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
