"""The surfaces of one hemisphere, vertex by vertex in correspondence."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cytokeras.errors import UserError
from cytokeras.surfaces._curvature import mean_curvature
from cytokeras.surfaces.mesh import Mesh

Floats = NDArray[np.float64]

CURVATURE_FWHM_MM = 2.0
"""Curvature is averaged over this width: above the distance of vertices, below the width of a gyral crown."""


class Hemisphere:
    """Pial, white and inflated surface (and, where there is one, the sphere) of one hemisphere.

    All surfaces have the same faces; vertex v is the same place of the cortex on each of them.

    Args:
        name: ``"left"`` or ``"right"``.
        pial: Outer surface of the cortex.
        white: Border between cortex and white matter.
        inflated: The unfolded surface, which gives the coordinates that the network learns.
        sphere: The spherical surface, optional.

    Raises:
        UserError: Another name, or surfaces whose faces differ.
    """

    def __init__(
        self,
        name: str,
        pial: Mesh,
        white: Mesh,
        inflated: Mesh,
        sphere: Mesh | None = None,
    ) -> None:
        if name not in ("left", "right"):
            raise UserError(f"Hemisphere: name must be 'left' or 'right'. Received: name={name!r}")
        others = {"white": white, "inflated": inflated, "sphere": sphere}
        for other, mesh in others.items():
            if mesh is not None:
                _check_correspondence(name, pial, other, mesh)
        self.name = name
        self.pial = pial
        self.white = white
        self.inflated = inflated
        self.sphere = sphere

    def __repr__(self) -> str:
        return f"Hemisphere({self.name!r}, {len(self.pial.vertices)} vertices, {len(self.pial.faces)} faces)"

    @property
    def faces(self) -> NDArray[np.int32]:
        """The faces of every surface, (F, 3) int32."""
        return self.pial.faces

    @cached_property
    def mid(self) -> Mesh:
        """The surface halfway between pial and white, in the centre of the cortex."""
        return self.pial.with_vertices(0.5 * (self.pial.vertices + self.white.vertices))

    @cached_property
    def thickness(self) -> Floats:
        """Distance between corresponding pial and white vertices, (V,) mm; near 0 on the medial wall."""
        return np.asarray(np.linalg.norm(self.pial.vertices - self.white.vertices, axis=1))

    @cached_property
    def mean_curvature(self) -> Floats:
        """Mean curvature of `mid`, (V,) 1/mm: positive on gyral crowns, negative in sulci, 1/r on a sphere.

        Half the sum of the two principal curvatures, 1/(2 r) on a cylinder. Cotangent operator (Meyer et al.
        2003, Discrete differential-geometry operators), averaged along the surface over `CURVATURE_FWHM_MM`
        against the noise of meshes. Which side is out is told by pial against white, not by the order of the
        corners. NaN on the rim of an open mesh and at vertices without faces, where it is not defined.
        """
        outward = np.einsum("vd,vd->", self.pial.vertices - self.white.vertices, self.mid.vertex_normals)
        return mean_curvature(self.mid, CURVATURE_FWHM_MM) * (1.0 if outward >= 0 else -1.0)

    @cached_property
    def inflated_common(self) -> Floats:
        """Vertices of `inflated` in one frame for both hemispheres, (V, 3) mm.

        Following Spitzer et al. 2018 (section 2), the left-right coordinate of the right hemisphere is
        mirrored. Not stated in the paper: each hemisphere is then moved along x so that its own bounding box
        is centred on x = 0. Some brains (BigBrain) lay the inflated hemispheres side by side, others
        (fsaverage) centre each on the origin; after the move both agree.
        """
        vertices = self.inflated.vertices.copy()
        if self.name == "right":
            vertices[:, 0] *= -1.0
        vertices[:, 0] -= 0.5 * (vertices[:, 0].min() + vertices[:, 0].max())
        vertices.setflags(write=False)
        return vertices


def _check_correspondence(name: str, pial: Mesh, other: str, mesh: Mesh) -> None:
    if len(mesh.vertices) != len(pial.vertices) or mesh.faces.shape != pial.faces.shape:
        raise UserError(
            f"Hemisphere {name!r}: {other} must correspond to pial vertex by vertex. "
            f"Received: pial {len(pial.vertices)} vertices, {len(pial.faces)} faces; "
            f"{other} {len(mesh.vertices)} vertices, {len(mesh.faces)} faces"
        )
    differing = np.any(mesh.faces != pial.faces, axis=1)
    if differing.any():
        first = int(np.argmax(differing))
        raise UserError(
            f"Hemisphere {name!r}: {other} must have the faces of pial in the same order; "
            f"{int(differing.sum())} differ. Received: face {first}, pial {pial.faces[first].tolist()}, "
            f"{other} {mesh.faces[first].tolist()}"
        )
