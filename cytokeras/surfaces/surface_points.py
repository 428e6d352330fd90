"""Places on a triangle mesh, given by face and barycentric weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytokeras.errors import UserError

if TYPE_CHECKING:
    from cytokeras.surfaces.mesh import Mesh

_WEIGHT_TOLERANCE = 1e-4  # room for weights that went through a spreadsheet with few digits


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points on a mesh: the face of each and its weights at the three corners of that face.

    The same points name the same places on every surface with these faces (pial, white, inflated).

    Args:
        faces: (N,) int64, index into ``mesh.faces``.
        barycentric: (N, 3) float64, 0 … 1, each row adds up to 1.

    Raises:
        UserError: Shapes differ, a weight is negative or not finite, or a row does not add up to 1.
    """

    faces: NDArray[np.int64]
    barycentric: NDArray[np.float64]

    def __post_init__(self) -> None:
        faces = np.atleast_1d(np.asarray(self.faces, np.int64))
        weights = np.atleast_2d(np.asarray(self.barycentric, np.float64))
        if weights.size == 0:
            weights = weights.reshape(0, 3)
        if faces.ndim != 1 or weights.shape != (len(faces), 3):
            raise UserError(
                "SurfacePoints: faces must be (N,) and barycentric (N, 3). "
                f"Received: faces {faces.shape}, barycentric {weights.shape}"
            )
        if not np.all(np.abs(weights.sum(axis=1) - 1.0) <= _WEIGHT_TOLERANCE):
            raise UserError("SurfacePoints: each row of barycentric must be finite and add up to 1.")
        if np.any(weights < -_WEIGHT_TOLERANCE):
            raise UserError("SurfacePoints: barycentric weights must not be negative.")
        object.__setattr__(self, "faces", faces)
        object.__setattr__(self, "barycentric", weights)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.generic]) -> SurfacePoints:
        """Return the points at ``index`` (an int gives one point, N = 1)."""
        return SurfacePoints(np.atleast_1d(self.faces[index]), np.atleast_2d(self.barycentric[index]))

    def positions(self, mesh: Mesh) -> NDArray[np.float64]:
        """Return the points in space, (N, 3) mm, on ``mesh``."""
        return self.interpolate(mesh.faces, mesh.vertices)

    def interpolate(self, mesh_faces: ArrayLike, vertex_values: ArrayLike) -> NDArray[np.float64]:
        """Return values between the corners of each point's face.

        Args:
            mesh_faces: (F, 3) int, the faces of the mesh.
            vertex_values: (V,) or (V, K), one value or row a vertex.

        Returns:
            (N,) or (N, K) float64.

        Raises:
            UserError: A point lies on a face that the mesh does not have.
        """
        faces = np.asarray(mesh_faces)
        if len(self) and not 0 <= self.faces.min() <= self.faces.max() < len(faces):
            raise UserError(
                f"SurfacePoints: faces must lie in 0 … {len(faces) - 1} for this mesh. "
                f"Received: {self.faces.min()} … {self.faces.max()}"
            )
        corners = np.asarray(vertex_values, np.float64)[faces[self.faces]]
        return np.asarray(np.einsum("nk,nk...->n...", self.barycentric, corners))

    @classmethod
    def at_vertices(cls, mesh: Mesh, vertices: ArrayLike) -> SurfacePoints:
        """Return the points that lie on ``vertices`` ((N,) int), each on one of the faces around it.

        Raises:
            UserError: A vertex does not exist or belongs to no face.
        """
        wanted = np.atleast_1d(np.asarray(vertices, np.int64))
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(mesh.vertices):
            raise UserError(
                f"SurfacePoints: vertices must lie in 0 … {len(mesh.vertices) - 1}. "
                f"Received: {wanted.min()} … {wanted.max()}"
            )
        corner_of = np.full(len(mesh.vertices), -1, np.int64)
        corner_of[mesh.faces.ravel()] = np.arange(mesh.faces.size)
        corner = corner_of[wanted]
        if np.any(corner < 0):
            raise UserError(f"SurfacePoints: vertex {wanted[corner < 0][0]} belongs to no face.")
        return cls(corner // 3, np.eye(3)[corner % 3])
