"""Annotations drawn as polygons in QuPath (GeoJSON), rasterised window by window."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain._label_scheme import UNLABELLED, LabelScheme
from cytokeras.errors import UserError

# Lines and points have no area; QuPath files often hold them beside the annotated areas.
_WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
_CROSSINGS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class _Polygon:
    label: int
    edges: NDArray[np.float64]  # (E, 4) row, column, row, column of every ring's edges; no horizontal ones
    box: tuple[float, float, float, float]  # top, left, bottom, right


class PolygonLabels:
    """Class indices from the polygons of a GeoJSON file as QuPath writes it.

    The class of a feature is its ``properties.classification.name``, else its ``properties.name``. Polygons
    and multi-polygons with holes are filled; lines and points, which have no area, are passed over. Where
    features overlap the later one in the file wins. GeoJSON positions are (x, y) with the origin at the
    *corner* of the first pixel, as QuPath has it, so pixel (r, c) is tested at its centre (c + 0.5, r + 0.5);
    a centre on a left or top edge is inside, on a right or bottom edge outside, so that areas sharing an edge
    neither overlap nor leave a gap.

    Args:
        source: Path of a ``.geojson`` file, or the parsed JSON.
        scheme: The classes.
        shape: ``(height, width)`` of the section image; everything outside reads as unlabelled. None: the
            polygons alone limit the labels.
        ignore: Names of features to pass over, for example ``("ROI",)``.

    Raises:
        UserError: Not GeoJSON, a polygon without a name or with one that the scheme lacks, a ring with fewer
            than three corners, or coordinates that are not finite numbers.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | dict[str, Any] | list[Any],
        scheme: LabelScheme,
        shape: tuple[int, int] | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        self.path = None if isinstance(source, dict | list) else Path(source)
        self.shape = shape
        where = str(self.path) if self.path is not None else "GeoJSON"
        content = source if isinstance(source, dict | list) else _load(Path(source))
        self._polygons: list[_Polygon] = []
        for position, feature in enumerate(_features(content, where)):
            self._polygons.extend(_read_feature(feature, scheme, ignore, f"{where}: feature {position}"))

    def read(self, row: float, column: float, height: int, width: int, step: float = 1) -> NDArray[np.uint8]:
        """Return the class index at each sample; see ``SectionLabels.read``."""
        result = np.full((height, width), UNLABELLED, np.uint8)
        for polygon in self._polygons:
            _fill(result, polygon, row, column, step)
        if self.shape is not None:
            for axis, (start, count) in enumerate(((row, height), (column, width))):
                positions = start + step * np.arange(count)
                outside = (positions < -0.5) | (positions >= self.shape[axis] - 0.5)
                result[(outside, slice(None)) if axis == 0 else (slice(None), outside)] = UNLABELLED
        return result


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected polygons as GeoJSON.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise UserError(f"{path}: not GeoJSON ({error}); export the annotations again as GeoJSON.") from error


def _features(content: Any, where: str) -> list[Any]:
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    elif isinstance(content, dict) and content.get("type") == "Feature":
        content = [content]
    if not isinstance(content, list):
        raise UserError(f"{where}: must be a GeoJSON FeatureCollection or a list of features.")
    return content


def _read_feature(feature: Any, scheme: LabelScheme, ignore: Sequence[str], where: str) -> Iterator[_Polygon]:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict):
        raise UserError(f"{where}: has no geometry.")
    kind = geometry.get("type")
    if kind in _WITHOUT_AREA:
        return
    if kind not in ("Polygon", "MultiPolygon"):
        raise UserError(f"{where}: geometry type {kind!r}; expected Polygon or MultiPolygon.")
    name = _class_name(feature.get("properties"))
    if name is None:
        raise UserError(f"{where}: has no class; set properties.classification.name (or properties.name).")
    if name in ignore:
        return
    try:
        label = scheme.index(name)
    except UserError as error:
        raise UserError(f"{where}, properties.classification.name: {error}") from None
    polygons = geometry.get("coordinates")
    for rings in [polygons] if kind == "Polygon" else polygons or []:
        edges = [_ring_edges(ring, where) for ring in rings or []]
        if edges:
            joined = np.concatenate(edges)
            rows, columns = joined[:, [0, 2]], joined[:, [1, 3]]
            if joined.size:
                box = (rows.min(), columns.min(), rows.max(), columns.max())
                yield _Polygon(label, joined, tuple(map(float, box)))  # type: ignore[arg-type]


def _class_name(properties: Any) -> str | None:
    if not isinstance(properties, dict):
        return None
    classification = properties.get("classification")
    if isinstance(classification, dict):
        if isinstance(classification.get("name"), str):
            return str(classification["name"])
        names = classification.get("names")  # QuPath 0.5 and later
        if isinstance(names, list) and names:
            return ": ".join(map(str, names))
    name = properties.get("name")
    return name if isinstance(name, str) else None


def _ring_edges(ring: Any, where: str) -> NDArray[np.float64]:
    """Return (E, 4) edges in our pixel coordinates, without the horizontal ones (they cross no row)."""
    try:
        points = np.array([[float(y), float(x)] for x, y, *_ in ring], np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{where}: coordinates must be [x, y] numbers in image pixels.") from None
    if len(points) < 3:
        raise UserError(f"{where}: a polygon ring has {len(points)} corner(s); at least 3 are needed.")
    if not np.isfinite(points).all():
        raise UserError(f"{where}: coordinates must be finite numbers.")
    points -= 0.5  # from the corner of the first pixel to its centre
    edges = np.concatenate([points, np.roll(points, -1, axis=0)], axis=1)
    return edges[edges[:, 0] != edges[:, 2]]


def _fill(result: NDArray[np.uint8], polygon: _Polygon, row: float, column: float, step: float) -> None:
    """Write the polygon's label where an odd number of its edges lies to the left (even-odd rule)."""
    top, left, bottom, right = polygon.box
    first_row, last_row = _sample_range(top, bottom, row, step, result.shape[0])
    first_column, last_column = _sample_range(left, right, column, step, result.shape[1])
    if first_row >= last_row or first_column >= last_column:
        return
    height, width = last_row - first_row, last_column - first_column
    crossings = np.zeros((height, width + 1), np.uint8)
    row, column = row + step * first_row, column + step * first_column
    upper = np.minimum(polygon.edges[:, 0], polygon.edges[:, 2])
    lower = np.maximum(polygon.edges[:, 0], polygon.edges[:, 2])
    begin = np.clip(np.ceil((upper - row) / step), 0, height).astype(np.int64)
    end = np.clip(np.ceil((lower - row) / step), 0, height).astype(np.int64)
    crossed = np.flatnonzero(end > begin)
    total = np.cumsum(end[crossed] - begin[crossed])
    start = 0
    while start < len(crossed):
        done = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, done + _CROSSINGS_AT_ONCE, side="right")))
        edges = crossed[start:stop]
        counts = end[edges] - begin[edges]
        which = np.repeat(edges, counts)
        within = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = begin[which] + within
        y0, x0, y1, x1 = polygon.edges[which].T
        x = x0 + (row + step * rows - y0) / (y1 - y0) * (x1 - x0)
        columns = np.clip(np.ceil((x - column) / step), 0, width).astype(np.int64)
        # uint8 counts wrap at 256, which leaves the parity as it is
        flat = np.bincount(rows * (width + 1) + columns, minlength=crossings.size)
        crossings += flat.reshape(crossings.shape).astype(np.uint8)
        start = stop
    inside = np.cumsum(crossings[:, :width], axis=1, dtype=np.uint8) & 1
    result[first_row:last_row, first_column:last_column][inside.astype(bool)] = polygon.label


def _sample_range(low: float, high: float, start: float, step: float, count: int) -> tuple[int, int]:
    first = max(0, math.ceil((low - start) / step))
    return first, min(count, math.ceil((high - start) / step))
