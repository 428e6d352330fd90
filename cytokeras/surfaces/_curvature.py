"""Mean curvature of a mesh, smoothed along the surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

if TYPE_CHECKING:
    from cytokeras.surfaces.mesh import Mesh

Floats = NDArray[np.float64]

_STEPS = 4  # implicit steps of diffusion; one alone would leave single vertices their noise
_SLIVER_COTANGENT = 1e4  # faces with an angle below 0.006° say nothing about their neighbours


def mean_curvature(mesh: Mesh, fwhm_mm: float) -> Floats:
    """Mean curvature towards ``mesh.vertex_normals``, (V,) 1/mm; NaN on rims and at vertices without faces.

    The cotangent operator with mixed Voronoi areas (Meyer et al. 2003, Discrete differential-geometry operators)
    sees noise of the vertices divided by the square of the distance between them. What it finds is therefore
    averaged by diffusion along the surface, which keeps constants and the integral of the curvature.

    Args:
        mesh: The surface.
        fwhm_mm: Full width at half maximum of the average; 0: none.
    """
    cotangent = _cotangents(mesh)
    area = _mixed_areas(mesh, cotangent)
    integral = _integrated_curvature(mesh, cotangent)
    defined = area > 0
    defined[mesh.edges[np.bincount(mesh.face_edges.ravel(), minlength=len(mesh.edges)) == 1].ravel()] = False
    curvature = np.full(len(area), np.nan)
    curvature[defined] = integral[defined] / area[defined]
    return _diffused(mesh, curvature, area, cotangent, fwhm_mm) if fwhm_mm > 0 and defined.any() else curvature


def _cotangents(mesh: Mesh) -> Floats:
    """Cotangent of the angle at each corner of each face, (F, 3)."""
    corners = mesh.vertices[mesh.faces]
    following, preceding = np.roll(corners, -1, axis=1), np.roll(corners, 1, axis=1)
    double_area = np.maximum(2.0 * mesh.face_areas, 1e-12)  # faces without area: large but finite cotangents
    return np.asarray(np.einsum("fkd,fkd->fk", following - corners, preceding - corners) / double_area[:, None])


def _integrated_curvature(mesh: Mesh, cotangent: Floats) -> Floats:
    """Mean curvature integrated over the area of each vertex, (V,) mm."""
    faces, count = mesh.faces, len(mesh.vertices)
    corners = mesh.vertices[faces]
    # the cotangent of a corner belongs to the side opposite, from `following` to `preceding`
    pull = cotangent[..., None] * (np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1))
    after, before = np.roll(faces, -1, axis=1), np.roll(faces, 1, axis=1)
    laplacian = np.zeros((count, 3))
    for axis in range(3):
        weights = pull[..., axis].ravel()
        laplacian[:, axis] = np.bincount(before.ravel(), weights, count)
        laplacian[:, axis] -= np.bincount(after.ravel(), weights, count)
    return np.asarray(-0.25 * np.einsum("vd,vd->v", laplacian, mesh.vertex_normals))


def _mixed_areas(mesh: Mesh, cotangent: Floats) -> Floats:
    """Share of the surface that belongs to each vertex, (V,) mm²."""
    corners = mesh.vertices[mesh.faces]
    opposite = np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1)
    weighted = np.einsum("fkd,fkd->fk", opposite, opposite) * cotangent
    # Voronoi share of a corner: sides that meet in it, each with the cotangent of the opposite angle
    shares = (np.roll(weighted, 1, axis=1) + np.roll(weighted, -1, axis=1)) / 8
    obtuse_face = cotangent.min(axis=1) < 0
    fallback = np.where(cotangent < 0, 0.5, 0.25) * mesh.face_areas[:, None]
    shares = np.where(obtuse_face[:, None], fallback, shares)
    return np.asarray(np.bincount(mesh.faces.ravel(), shares.ravel(), len(mesh.vertices)), np.float64)


def _diffused(mesh: Mesh, values: Floats, area: Floats, cotangent: Floats, fwhm_mm: float) -> Floats:
    """Average ``values`` (V,) along the surface; those that are NaN stay so and take no part."""
    defined = np.isfinite(values)
    used = defined[mesh.faces].all(axis=1) & (np.abs(cotangent).max(axis=1) < _SLIVER_COTANGENT)
    number = np.cumsum(defined) - 1  # of each defined vertex among them
    faces, weight = number[mesh.faces[used]], cotangent[used].ravel() / 2
    ends = np.roll(faces, -1, axis=1).ravel(), np.roll(faces, 1, axis=1).ravel()
    size = int(defined.sum())
    links = sparse.coo_array((weight, ends), (size, size)).tocsr()
    links = links + links.T
    mass = sparse.diags_array(area[defined])
    # diffusion over the time t spreads a point to a Gaussian of variance 2 t
    time = fwhm_mm**2 / (16.0 * np.log(2.0))
    system = mass + time / _STEPS * (sparse.diags_array(links.sum(axis=1)) - links)
    solver = splu(system.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    smooth = values[defined]
    for _ in range(_STEPS):
        smooth = solver.solve(area[defined] * smooth)
    result = np.full(len(values), np.nan)
    result[defined] = smooth
    return result
