"""What is wrong with a surface, or with the surfaces of a hemisphere, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from cytokeras.surfaces.hemisphere import Hemisphere
from cytokeras.surfaces.mesh import Mesh

# Brains from mouse to man measure 8 to 180 mm; a hemisphere in metres or in micrometres is far outside.
_SMALLEST_MM, _LARGEST_MM = 2.0, 1000.0
# Human cortex is 1 to 5 mm thick; larger means are surfaces that do not belong together.
_THICKEST_MEAN_MM = 15.0
# A part smaller than this share of the surface is debris that no section will meet.
_DEBRIS = 0.02


@dataclass(frozen=True)
class SurfaceFault:
    """One fault.

    Attributes:
        severity: ``"error"``: distances or places on this surface would be wrong; ``"warning"``: it can be
            worked with.
        message: What is wrong, where, and what would be right.
    """

    severity: Literal["error", "warning"]
    message: str


def mesh_faults(mesh: Mesh) -> list[SurfaceFault]:
    """Return what is wrong with one surface, beyond what ``Mesh`` itself refuses (indices, NaN, shapes).

    Errors: a size that tells of other units than mm; several parts of which the smaller are no mere debris.
    Warnings: duplicate faces, faces without area, edges of more than two faces, neighbours wound differently, holes,
    handles, debris, vertices without face, and faces that are clockwise seen from outside.
    """
    return [*_size_faults(mesh), *_face_faults(mesh), *_edge_faults(mesh), *_part_faults(mesh)]


def hemisphere_faults(hemisphere: Hemisphere) -> list[SurfaceFault]:
    """Return what is wrong with the surfaces of a hemisphere, alone and with each other.

    Errors besides those of `mesh_faults`: pial and white surface exchanged or not corresponding, and a hemisphere on
    the other side of x = 0 than its name says (for surfaces on one side of it at all).
    """
    faults = [
        SurfaceFault(fault.severity, f"{kind}: {fault.message}")
        for kind in ("pial", "white", "inflated")
        for fault in mesh_faults(getattr(hemisphere, kind))
    ]
    pial, white = hemisphere.pial, hemisphere.white
    thickness = float(hemisphere.thickness.mean())
    if thickness > _THICKEST_MEAN_MM:
        faults.append(
            SurfaceFault(
                "error",
                f"pial and white are {thickness:.1f} mm apart on average (cortex: 2 to 3 mm): their vertices do not "
                "correspond, or they lie in different spaces",
            )
        )
    elif abs(_volume(white)) > abs(_volume(pial)) > 0:
        faults.append(SurfaceFault("error", "white encloses more than pial: the two are exchanged"))
    low, high = pial.vertices[:, 0].min(), pial.vertices[:, 0].max()
    wrong_side = high < 0 if hemisphere.name == "right" else low > 0
    if wrong_side:
        faults.append(
            SurfaceFault(
                "error",
                f"the {hemisphere.name} hemisphere lies at x = {low:.0f} to {high:.0f} mm: x must grow to the right; "
                "left and right are exchanged or x is mirrored",
            )
        )
    return faults


def _size_faults(mesh: Mesh) -> Iterator[SurfaceFault]:
    size = float(np.ptp(mesh.vertices, axis=0).max())
    if size > _LARGEST_MM:
        yield SurfaceFault("error", f"it measures {size:.4g} mm: positions must be in mm (are these µm?)")
    elif size < _SMALLEST_MM:
        yield SurfaceFault("error", f"it measures {size:.4g} mm: positions must be in mm (are these m or cm?)")


def _face_faults(mesh: Mesh) -> Iterator[SurfaceFault]:
    _, first, counts = np.unique(np.sort(mesh.faces, axis=1), axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        yield _warning(int((counts - 1).sum()), "faces are there twice", "face", first[counts > 1])
    flat = np.flatnonzero(mesh.face_areas <= 1e-12)
    if len(flat):
        yield _warning(len(flat), "faces have no area", "face", flat)
    unused = np.setdiff1d(np.arange(len(mesh.vertices)), mesh.faces)
    if len(unused):
        yield _warning(len(unused), "vertices belong to no face", "vertex", unused)


def _edge_faults(mesh: Mesh) -> Iterator[SurfaceFault]:
    sides = np.bincount(mesh.face_edges.ravel(), minlength=len(mesh.edges))
    crowded = np.flatnonzero(sides > 2)
    if len(crowded):
        yield _warning(len(crowded), "edges belong to more than two faces", "edge", mesh.edges[crowded])
    upward = mesh.faces < np.roll(mesh.faces, -1, axis=1)
    ups = np.bincount(mesh.face_edges.ravel(), upward.ravel(), len(mesh.edges))
    twisted = np.flatnonzero((sides == 2) & (ups != 1))
    if len(twisted):
        yield _warning(len(twisted), "edges join faces that are wound differently", "edge", mesh.edges[twisted])
    rim = np.flatnonzero(sides == 1)
    if len(rim):
        loops = _parts(mesh.edges[rim], len(mesh.vertices))[0]
        yield _warning(len(rim), f"edges belong to one face only ({loops} holes)", "edge", mesh.edges[rim])
    elif len(crowded) == len(twisted) == 0 and _volume(mesh) < 0:
        yield SurfaceFault("warning", "its faces are clockwise seen from outside; they should be counter-clockwise")


def _part_faults(mesh: Mesh) -> Iterator[SurfaceFault]:
    count, part_of = _parts(mesh.edges, len(mesh.vertices))
    if count > 1:
        sizes = np.bincount(part_of[mesh.faces[:, 0]], minlength=part_of.max() + 1)
        sizes = np.sort(sizes[sizes > 0])[::-1]
        text = f"it has {count} parts that do not touch, of {', '.join(map(str, sizes[:4]))} faces"
        if sizes[1] > _DEBRIS * sizes[0]:
            yield SurfaceFault("error", f"{text}; a cortical surface is one piece")
        else:
            yield SurfaceFault("warning", f"{text}; places on the small ones have no distance to the others")
    closed = bool((np.bincount(mesh.face_edges.ravel(), minlength=len(mesh.edges)) == 2).all())
    used = len(np.unique(mesh.faces))
    handles = count - (used - len(mesh.edges) + len(mesh.faces)) // 2
    if closed and handles > 0:
        yield SurfaceFault("warning", f"it has {handles} handles; a cortical surface is a folded sphere")


def _parts(edges: NDArray[np.int64], count: int) -> tuple[int, NDArray[np.int32]]:
    """Return the number of connected parts that edges form, and the part of each vertex."""
    graph = csr_array((np.ones(len(edges), np.int8), tuple(edges.T)), shape=(count, count))
    _, part_of = connected_components(graph, directed=False)
    return len(np.unique(part_of[edges[:, 0]])), part_of


def _volume(mesh: Mesh) -> float:
    """Signed volume in mm³: positive where faces are counter-clockwise seen from outside."""
    corners = mesh.vertices[mesh.faces] - mesh.vertices.mean(axis=0)
    return float(np.einsum("fd,fd->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def _warning(count: int, what: str, unit: str, where: NDArray[np.int64]) -> SurfaceFault:
    return SurfaceFault("warning", f"{count} {what}; the first: {unit} {np.asarray(where)[0].tolist()}")
