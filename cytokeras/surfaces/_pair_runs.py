"""Distances of many pairs with few searches, on all cores."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cytokeras._progress import progress
from cytokeras.surfaces._link_graph import LinkGraph
from cytokeras.surfaces._shortest_paths import shortest_paths
from cytokeras.surfaces._unfolding import PointLinks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNK = 64  # searches a thread does at a time: about a second on a large mesh
_LANDMARKS = 12
_SOURCES_WORTH_LANDMARKS = 10 * _LANDMARKS
_FEW_TARGETS = 8  # of one source: searches towards one at a time then take less than one everywhere


def choose_sources(first: Ints, second: Ints, count: int) -> NDArray[np.bool_]:
    """Choose which end of each pair is its source, so that few points are sources (greedy vertex cover).

    Args:
        first: (N,) index of one end, 0 … count - 1.
        second: (N,) index of the other end.
        count: Number of points.

    Returns:
        (N,) bool, True where ``first`` is the source.
    """
    ends = np.concatenate([first, second])
    order = np.argsort(ends, kind="stable")
    bounds = np.searchsorted(ends[order], np.arange(count + 1))
    pair_of = order % len(first)
    degree = np.diff(bounds)
    heap = [(-int(d), point) for point, d in enumerate(degree) if d]
    heapq.heapify(heap)
    first_is_source = np.zeros(len(first), bool)
    served = np.zeros(len(first), bool)
    while heap:
        negative, point = heapq.heappop(heap)
        if degree[point] == 0:
            continue
        if -negative != degree[point]:
            heapq.heappush(heap, (-int(degree[point]), point))
            continue
        pairs = pair_of[bounds[point] : bounds[point + 1]]
        pairs = np.unique(pairs[~served[pairs]])
        served[pairs] = True
        first_is_source[pairs] = first[pairs] == point
        np.subtract.at(degree, first[pairs], 1)
        np.subtract.at(degree, second[pairs], 1)
    return first_is_source


def all_distances(graph: LinkGraph, sources: PointLinks, workers: int | None = None) -> NDArray[np.float32]:
    """Return the distances (S, V) mm from each source to all nodes, infinite between components."""
    result = np.empty((len(sources), graph.count), np.float32)
    nowhere = (np.empty((0, 1), np.int32), np.empty((0, 1)))
    no_marks = np.empty((graph.count, 0), np.float32), np.empty(0, np.float32)

    def search(rows: range) -> None:
        distances = np.empty(graph.count)
        for row in rows:
            source = sources.nodes[row], sources.lengths[row]
            shortest_paths(graph.arrays, source, nowhere, *no_marks, distances, np.empty(0))
            result[row] = distances

    for _ in _in_threads(search, len(sources), workers):
        pass
    return result


def run_pairs(
    graph: LinkGraph, sources: PointLinks, source_of: Ints, targets: PointLinks, *, workers: int | None, show: bool
) -> Floats:
    """Return the distance of each pair through the graph, (N,) float64 mm, infinite between components.

    Args:
        graph: The links of the mesh.
        sources: (S, K) links of the distinct sources.
        source_of: (N,) ascending index into ``sources``.
        targets: (N, K) links of the targets.
        workers: Number of threads; None: one a core.
        show: Show progress, counted in parts of 64 sources.
    """
    result = np.empty(len(source_of))
    bounds = np.searchsorted(source_of, np.arange(len(sources) + 1))
    marks = _landmark_distances(graph, sources, workers)

    def search(rows: range) -> None:
        distances = np.empty(graph.count)
        for row in rows:
            pairs = range(bounds[row], bounds[row + 1])
            directed = marks.shape[1] > 0 and len(pairs) <= _FEW_TARGETS
            for goal in (slice(n, n + 1) for n in pairs) if directed else [slice(pairs.start, pairs.stop)]:
                targets_here = targets.nodes[goal], targets.lengths[goal]
                used = marks if directed else marks[:, :0]
                target_marks = (used[targets_here[0][0]] + targets_here[1][0, :, None]).min(axis=0).astype(np.float32)
                source = sources.nodes[row], sources.lengths[row]
                shortest_paths(graph.arrays, source, targets_here, used, target_marks, distances, result[goal])

    parts = -(-len(sources) // _CHUNK)
    for _ in progress(_in_threads(search, len(sources), workers), "geodesic distances, parts", parts, show):
        pass
    return result


def _landmark_distances(graph: LinkGraph, sources: PointLinks, workers: int | None) -> NDArray[np.float32]:
    """Return the distances (V, L) mm from landmarks far from each other; L = 0 where they would not pay.

    They lie on the part of the mesh that the first source lies on. On other parts, from which no way leads to any
    target on this one, it does not matter what is said: 0.
    """
    if len(sources) < _SOURCES_WORTH_LANDMARKS:
        return np.empty((graph.count, 0), np.float32)
    marks = np.zeros((graph.count, _LANDMARKS), np.float32)
    nearest = all_distances(graph, sources[:1], workers)[0]
    for column in range(_LANDMARKS):
        furthest = np.where(np.isfinite(nearest), nearest, -1).argmax()
        distances = all_distances(graph, PointLinks(np.full((1, 1), furthest, np.int32), np.zeros((1, 1))), workers)[0]
        marks[:, column] = np.where(np.isfinite(distances), distances, 0.0)
        nearest = distances if column == 0 else np.minimum(nearest, distances)
    return marks


def _in_threads(search: Callable[[range], None], count: int, workers: int | None) -> Iterator[None]:
    """Call ``search`` with parts of 0 … ``count`` - 1 from several threads; it works without the interpreter lock."""
    parts = [range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        yield from pool.map(search, parts)
