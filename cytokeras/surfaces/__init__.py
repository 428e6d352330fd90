"""Cortical surfaces: meshes, distances along them, hemispheres."""

from __future__ import annotations

from cytokeras.surfaces.geodesics import GeodesicSolver
from cytokeras.surfaces.hemisphere import Hemisphere
from cytokeras.surfaces.mesh import Mesh, PlaneSection
from cytokeras.surfaces.mesh_io import read_mesh, write_mesh
from cytokeras.surfaces.surface_checks import SurfaceFault, hemisphere_faults, mesh_faults
from cytokeras.surfaces.surface_points import SurfacePoints

__all__ = [
    "GeodesicSolver",
    "Hemisphere",
    "Mesh",
    "PlaneSection",
    "SurfaceFault",
    "SurfacePoints",
    "hemisphere_faults",
    "mesh_faults",
    "read_mesh",
    "write_mesh",
]
