"""Shortest paths through a graph from places near its nodes, as far as their targets (compiled with Numba).

Dijkstra's order is kept by buckets of distance rather than by a heap. Within a bucket nodes come in any order and may
come again, as in delta-stepping (Meyer & Sanders 2003), so the paths are shortest for every bucket width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_NARROW = 0.03  # width of the buckets of a search with landmarks, as a share of that without
_CHECK_EVERY = 4  # buckets between two looks at whether all targets are reached


@njit(cache=True, nogil=True, inline="always")
def _take_out(node: Any, bucket: Any, heads: Any, after: Any, before: Any) -> None:
    if before[node] >= 0:
        after[before[node]] = after[node]
    else:
        heads[bucket] = after[node]
    if after[node] >= 0:
        before[after[node]] = before[node]


@njit(cache=True, nogil=True, inline="always")
def _put_in(node: Any, bucket: Any, heads: Any, after: Any, before: Any) -> None:
    after[node] = heads[bucket]
    before[node] = -1
    if heads[bucket] >= 0:
        before[heads[bucket]] = node
    heads[bucket] = node


@njit(cache=True, nogil=True)
def shortest_paths(
    graph: Any, source: Any, targets: Any, landmarks: Any, target_marks: Any, distances: Any, reached: Any
) -> None:
    """Fill in the distances from one source, to all nodes or until all targets are reached.

    With landmarks the search is drawn towards its only target (A*, landmarks and triangle inequality: Goldberg &
    Harrelson 2005).

    Args:
        graph: (indptr, indices, lengths, width): a symmetric CSR matrix in mm and the width of a bucket.
        source: (nodes, offsets), each (K,): nodes that the source is linked to and how far they are; infinite:
            no link.
        targets: (nodes, offsets), each (T, K), the same for the targets; T = 0: go to all nodes.
        landmarks: (V, L) float32, distances from L landmarks; L = 0: none. T is 1 otherwise.
        target_marks: (L,) float32, the target's distances from them.
        distances: (V,) receives mm; infinite where the search did not come.
        reached: (T,) receives the distances of the targets.
    """
    indptr, indices, lengths, width = graph
    nodes, offsets = source
    count = len(indptr) - 1
    ahead = np.full(count if landmarks.shape[1] else 0, np.nan, np.float32)  # the target is no nearer
    if len(ahead):
        width *= _NARROW  # all nodes on the way to the target have about the same key
    longest = lengths.max() if len(lengths) else np.float32(0.0)
    for k in range(len(nodes)):
        if np.isfinite(offsets[k]):
            longest = max(longest, np.float32(offsets[k]))
    # what lies ahead may shrink along a link by as much as the link is long, or grow by as much
    buckets = int(2.0 * longest / width) + 4
    heads = np.full(buckets, -1, np.int32)
    after, before = np.empty(count, np.int32), np.empty(count, np.int32)
    bucket_of = np.full(count, -1, np.int32)
    distances[:] = np.inf
    turn, waiting = -1, 0
    for k in range(len(nodes)):
        if np.isfinite(offsets[k]):
            key = offsets[k] + _ahead(nodes[k], landmarks, target_marks, ahead)
            turn = int(key / width) if turn < 0 else min(turn, int(key / width))
    for k in range(len(nodes)):
        node, mm = nodes[k], offsets[k]
        if mm < distances[node]:
            distances[node] = mm
            place = int((mm + _ahead(node, landmarks, target_marks, ahead)) / width)
            waiting += _move(node, max(place, turn) % buckets, bucket_of, heads, after, before)
    while waiting > 0:
        bucket = turn % buckets
        while heads[bucket] >= 0:
            node = heads[bucket]
            _take_out(node, bucket, heads, after, before)
            bucket_of[node] = -1
            waiting -= 1
            for k in range(indptr[node], indptr[node + 1]):
                neighbour = indices[k]
                mm = distances[node] + lengths[k]
                if mm < distances[neighbour]:
                    distances[neighbour] = mm
                    place = int((mm + _ahead(neighbour, landmarks, target_marks, ahead)) / width)
                    # max: rounding must not put a node behind the bucket that is being emptied
                    waiting += _move(neighbour, max(place, turn) % buckets, bucket_of, heads, after, before)
        turn += 1
        enough = len(reached) > 0 and turn % _CHECK_EVERY == 0
        if enough and _furthest(targets, distances, reached) <= turn * width:
            return
    _furthest(targets, distances, reached)


@njit(cache=True, nogil=True, inline="always")
def _ahead(node: Any, landmarks: Any, target_marks: Any, ahead: Any) -> Any:
    """Return a lower bound of the way from a node to the target, kept in ``ahead``; 0 without landmarks."""
    if len(ahead) == 0:
        return np.float32(0.0)
    if np.isnan(ahead[node]):
        least = np.float32(0.0)
        for mark in range(len(target_marks)):
            least = max(least, abs(landmarks[node, mark] - target_marks[mark]))
        ahead[node] = least
    return ahead[node]


@njit(cache=True, nogil=True, inline="always")
def _move(node: Any, place: Any, bucket_of: Any, heads: Any, after: Any, before: Any) -> Any:
    """Put a node into a bucket, out of the one it is in; return how many more nodes wait."""
    old = bucket_of[node]
    if old == place:
        return 0
    if old >= 0:
        _take_out(node, old, heads, after, before)
    bucket_of[node] = place
    _put_in(node, place, heads, after, before)
    return 1 if old < 0 else 0


@njit(cache=True, nogil=True)
def _furthest(targets: Any, distances: Any, reached: Any) -> Any:
    """Fill in how far each target is as known so far; return the largest."""
    nodes, offsets = targets
    largest = 0.0
    for t in range(len(reached)):
        best = np.inf
        for k in range(nodes.shape[1]):
            best = min(best, distances[nodes[t, k]] + offsets[t, k])
        reached[t] = best
        largest = max(largest, best)
    return largest
