"""Outlines of the classes of a map as GeoJSON, for QuPath."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from cytokeras._files import atomic_path
from cytokeras.brain import LabelScheme
from cytokeras.inference.outputs import check_labels, scheme_of
from cytokeras.inference.segmentation import Segmentation

# Directions of an edge between two cells: east, south, west, north, in (row, column).
_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
# Cell to the right of an edge that starts at vertex (row, column).
_RIGHT_CELLS = np.array([(0, 0), (0, -1), (-1, -1), (-1, 0)])

Ring = np.ndarray


def write_outlines(
    path: str | os.PathLike[str],
    segmentation: Segmentation,
    *,
    scheme: LabelScheme | None = None,
    min_area_mm2: float = 0.01,
) -> None:
    """Write one multi-polygon a class, background left out, in pixels of the section image as QuPath counts them.

    The outlines run along the edges of cells, so pieces of different classes share them without gap or overlap;
    cells that touch at a corner only belong to different pieces. `cytokeras.brain.PolygonLabels` reads the file.

    Args:
        path: A ``.geojson`` file.
        segmentation: Labels with their grid.
        scheme: Names and colours of the classes; default: the names of the segmentation.
        min_area_mm2: Pieces and holes below this area in mm² are left out; 0 keeps all.

    Raises:
        UserError: A label is not in the scheme, or the file cannot be written.
    """
    classes = scheme or scheme_of(segmentation)
    grid = segmentation.grid
    check_labels(segmentation.labels, grid, classes, "labels")
    min_cells = min_area_mm2 / (grid.pixel_size_um / 1000) ** 2
    features = []
    labels = np.asarray(segmentation.labels)
    for index in (int(index) for index in np.unique(labels) if index):
        polygons = [
            [_positions(ring, segmentation) for ring in rings] for rings in class_polygons(labels == index, min_cells)
        ]
        if polygons:
            features.append(_feature(classes.names[index], classes.colors[index], polygons))
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")


def class_polygons(mask: np.ndarray, min_cells: float = 0.0) -> list[list[Ring]]:
    """Trace the 4-connected pieces of a mask.

    Args:
        mask: (h, w) bool.
        min_cells: Pieces and holes of fewer cells are left out.

    Returns:
        For each piece its outline, then its holes: (N, 2) int corners (row, column) between cells, vertex (r, c) being
        the upper left corner of cell (r, c). Outlines turn counter-clockwise in (x, y), holes clockwise; the first
        corner is not repeated.
    """
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    kept = sizes >= min_cells
    kept[0] = False
    pieces[~kept[pieces]] = 0  # first: a noisy map has more specks than can be traced in reasonable time
    outlines: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for ring, piece in _rings(pieces):
        area = _signed_area(ring)
        if area > 0:
            outlines[piece] = ring
        elif -area >= min_cells:
            holes.setdefault(piece, []).append(ring)
    assert len(outlines) == kept.sum(), "every piece has one outline"
    return [[outline, *holes.get(piece, [])] for piece, outline in sorted(outlines.items())]


def _rings(pieces: np.ndarray) -> Iterator[tuple[Ring, int]]:
    """Give the corners of every closed line around or inside the pieces, with the number of its piece."""
    directions, rows, columns, owners, following = _linked_edges(pieces)
    unused = [True] * len(rows)
    corner = np.zeros(len(rows), bool)
    corner[following] = directions[following] != directions
    successor = following.tolist()
    for first in range(len(successor)):
        if not unused[first]:
            continue
        ring = []
        edge = first
        while unused[edge]:
            unused[edge] = False
            ring.append(edge)
            edge = successor[edge]
        line = np.array(ring)
        turning = line[corner[line]]
        yield np.column_stack([rows[turning], columns[turning]]), int(owners[first])


def _linked_edges(pieces: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the edges with a piece to their right: direction, row and column of the start, piece, next edge."""
    height, width = pieces.shape
    padded = np.pad(pieces > 0, 1)
    # by start vertex (r, c): the cells up left of it, above it, left of it, and the cell (r, c) itself
    corner, above, left, inside = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    starts = (inside & ~above, left & ~inside, corner & ~left, above & ~corner)
    found = [np.nonzero(start) for start in starts]
    directions = np.repeat(np.arange(4), [len(rows) for rows, _ in found])
    rows, columns = (np.concatenate([place[axis] for place in found]) for axis in (0, 1))
    owners = pieces[rows + _RIGHT_CELLS[directions, 0], columns + _RIGHT_CELLS[directions, 1]]
    vertices = (height + 1) * (width + 1)
    number = directions * vertices + rows * (width + 1) + columns  # rises: the edges are in this order
    ends = (rows + _STEPS[directions, 0]) * (width + 1) + columns + _STEPS[directions, 1]
    following = np.full(len(number), -1)
    for turn in (3, 0, 1):  # left, straight on, right
        wanted = (directions + turn) % 4 * vertices + ends
        at = np.searchsorted(number, wanted)
        at[at == len(number)] = 0
        exists = number[at] == wanted
        if turn == 1:
            # Where two cells meet at a corner both ways are open. Cells of one piece: turning left makes a hole that
            # touches the outline, where turning right would make an outline that touches itself.
            exists &= (following < 0) | (owners[following] != owners)
        following[exists] = at[exists]
    return directions, rows, columns, owners, following


def _signed_area(ring: Ring) -> float:
    """Return the area in cells, positive where the ring turns counter-clockwise in (x, y) = (column, row)."""
    y, x = ring[:, 0], ring[:, 1]
    wrapped = x[-1] * y[0] - x[0] * y[-1]
    return float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]) + wrapped) / 2


def _positions(ring: Ring, segmentation: Segmentation) -> list[list[float]]:
    """Turn corners between cells into closed (x, y) positions; QuPath's origin is the corner of the first pixel."""
    pixels = segmentation.grid.to_pixel(ring - 0.5) + 0.5
    positions = np.round(pixels[:, ::-1], 3).tolist()
    return [*positions, positions[0]]


def _feature(name: str, color: tuple[int, int, int], polygons: list[Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "MultiPolygon", "coordinates": polygons},
        "properties": {"objectType": "annotation", "classification": {"name": name, "color": list(color)}},
    }
