"""The cortical ribbon in a section: ordered lines where the mid surface crosses the cutting plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cytokeras.surfaces import Mesh, SurfacePoints
from cytokeras.surfaces.mesh import PlaneSection

# Two faces compute the point on their common edge separately; it differs by rounding only.
_SAME_POINT_MM = 1e-6


@dataclass(frozen=True)
class RibbonLine:
    """Equally spaced points along one connected piece of the ribbon.

    Attributes:
        arc_mm: (N,) float64, distance from the start along the line.
        points: N places on the mesh.
        closed: The line returns to its start.
    """

    arc_mm: np.ndarray
    points: SurfacePoints
    closed: bool


def ribbon_lines(mesh: Mesh, origin: np.ndarray, normal: np.ndarray, step_mm: float) -> list[RibbonLine]:
    """Cut ``mesh`` with a plane and return its lines, longest first, with a point every ``step_mm``.

    Args:
        mesh: The mid surface of a hemisphere.
        origin: (3,) mm, a point of the plane.
        normal: (3,), its normal.
        step_mm: Distance of neighbouring points along the line, above 0.
    """
    cut = mesh.plane_section(origin, normal)
    if len(cut) == 0:
        return []
    lines = [_resample(cut, segments, flipped, closed, step_mm) for segments, flipped, closed in _chain(cut)]
    return sorted((line for line in lines if len(line.points)), key=lambda line: -len(line.points))


def _chain(cut: PlaneSection) -> list[tuple[np.ndarray, np.ndarray, bool]]:
    """Order segments into lines: (segment indices, whether each runs from its end 1 to its end 0, closed)."""
    ends = _merged_ends(cut.points)
    real = ends[:, 0] != ends[:, 1]
    at_node: dict[int, list[int]] = {}
    for number in np.flatnonzero(real):
        for node in ends[number]:
            at_node.setdefault(int(node), []).append(int(number))
    unused: set[int] = set(np.flatnonzero(real).tolist())
    # Open lines begin where the chain cannot go on: at rims (one segment) and where the mesh branches.
    starts = [node for node, segments in at_node.items() if len(segments) != 2]
    lines = [
        _walk(ends, at_node, unused, node, segment) for node in starts for segment in at_node[node] if segment in unused
    ]
    while unused:
        first = min(unused)
        lines.append(_walk(ends, at_node, unused, int(ends[first, 0]), first))
    return lines


def _walk(
    ends: np.ndarray, at_node: dict[int, list[int]], unused: set[int], start: int, segment: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    node, segments, flipped = start, [], []
    while True:
        unused.remove(segment)
        backwards = int(ends[segment, 0]) != node
        segments.append(segment)
        flipped.append(backwards)
        node = int(ends[segment, 0 if backwards else 1])
        onwards = [other for other in at_node[node] if other in unused]
        if node == start or len(at_node[node]) != 2 or not onwards:
            return np.array(segments), np.array(flipped), node == start
        segment = onwards[0]


def _merged_ends(points: np.ndarray) -> np.ndarray:
    """Return one number for every place where segment ends meet, (S, 2) int."""
    flat = points.reshape(-1, 3)
    pairs = cKDTree(flat).query_pairs(_SAME_POINT_MM, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(flat), len(flat)))
    _, number = connected_components(graph, directed=False)
    return np.asarray(number).reshape(-1, 2)


def _resample(cut: PlaneSection, segments: np.ndarray, flipped: np.ndarray, closed: bool, step_mm: float) -> RibbonLine:
    edges = np.concatenate([[0.0], np.cumsum(cut.lengths_mm[segments])])
    count = int(edges[-1] / step_mm) if closed else int(edges[-1] / step_mm) + 1
    arc = step_mm * np.arange(count)
    at = np.clip(np.searchsorted(edges, arc, side="right") - 1, 0, len(segments) - 1)
    along = np.clip((arc - edges[at]) / (edges[at + 1] - edges[at]), 0, 1)
    along = np.where(flipped[at], 1 - along, along)[:, None]
    weights = cut.barycentric[segments[at]]
    points = SurfacePoints(cut.faces[segments[at]], (1 - along) * weights[:, 0] + along * weights[:, 1])
    return RibbonLine(arc, points, closed)
