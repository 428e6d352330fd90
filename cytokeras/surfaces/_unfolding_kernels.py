"""Straight lines over strips of triangles that are folded flat one after another (compiled with Numba).

A *cone* is what is seen from a place through one side of a triangle. The triangle beyond that side is laid into the
plane of the first one. Where its far corner lies inside the cone, the straight line to it stays inside the strip of
triangles and is therefore a way on the surface; the cone goes on through the two far sides.

In that plane the place lies at the origin and looks along y. Side k of a face joins its corners k and (k + 1) % 3; its
third corner stands above it at ``feet`` (share of the side's length, from corner k) and ``heights`` (mm). ``opposite``
is the flattened index of the side beyond each side, -1 on a rim.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

_OPEN_CONES = 32  # open at a time: one more for each triangle of a strip at most


@njit(cache=True, nogil=True, inline="always")
def _cross(ax: Any, ay: Any, bx: Any, by: Any) -> Any:
    return ax * by - ay * bx


@njit(cache=True, nogil=True)
def _look(
    shape: Any, face: Any, side: Any, share: Any, distance: Any, depth: Any, seen: Any, mm: Any, goal: Any, weights: Any
) -> Any:
    """Look through a side of ``face`` from a place that stands above it at ``share`` and ``distance``.

    Args:
        shape: (faces, opposite, feet, heights, sides), each (F, 3), as said above; sides in mm.
        face, side, share, distance: The side and the place.
        depth: Number of triangles beyond the side.
        seen, mm: Receive the corners that are seen and how far they are; may be empty, to count.
        goal, weights: Face that holds a point looked for (-1: none) and its barycentric weights (3,).

    Returns:
        Number of corners seen, and the distance of the point in mm, infinite where it is not seen.
    """
    faces, opposite, feet, heights, sides = shape
    ends = np.empty((_OPEN_CONES, 8))  # left end, right end, left ray, right ray, each (x, y)
    which = np.empty((_OPEN_CONES, 4), np.int64)  # face, side, corner at the left end, triangles still to come
    length = sides[face, side]
    right_x, left_x = share * length, (share - 1.0) * length
    ends[0, 0], ends[0, 1], ends[0, 2], ends[0, 3] = left_x, distance, right_x, distance
    ends[0, 4], ends[0, 5], ends[0, 6], ends[0, 7] = left_x, distance, right_x, distance
    which[0, 0], which[0, 1], which[0, 2], which[0, 3] = face, side, faces[face, (side + 1) % 3], depth
    top, count, nearest = 1, 0, np.inf
    while top > 0:
        top -= 1
        ax, ay, bx, by = ends[top, 0], ends[top, 1], ends[top, 2], ends[top, 3]
        lx, ly, rx, ry = ends[top, 4], ends[top, 5], ends[top, 6], ends[top, 7]
        left, remaining = which[top, 2], which[top, 3]
        beyond = opposite[which[top, 0], which[top, 1]]
        length = math.hypot(bx - ax, by - ay)
        if beyond < 0 or length == 0.0:
            continue
        # === Fold the triangle beyond into the plane ===
        face, side = beyond // 3, beyond % 3
        other, apex = (side + 1) % 3, (side + 2) % 3
        from_left = faces[face, side] == left  # neighbours may be wound differently
        foot = feet[face, side] if from_left else 1.0 - feet[face, side]
        ux, uy = (bx - ax) / length, (by - ay) / length
        cx = ax + foot * length * ux - heights[face, side] * uy
        cy = ay + foot * length * uy + heights[face, side] * ux
        left_corner, right_corner = (side, other) if from_left else (other, side)
        # === Is the point seen, is the corner? ===
        if face == goal:
            px = weights[left_corner] * ax + weights[right_corner] * bx + weights[apex] * cx
            py = weights[left_corner] * ay + weights[right_corner] * by + weights[apex] * cy
            if _cross(px, py, lx, ly) >= 0.0 and _cross(rx, ry, px, py) >= 0.0:
                nearest = min(nearest, math.hypot(px, py))
        too_far_left, too_far_right = _cross(cx, cy, lx, ly) < 0.0, _cross(rx, ry, cx, cy) < 0.0
        if not (too_far_left or too_far_right):
            if count < len(seen):
                seen[count], mm[count] = faces[face, apex], math.hypot(cx, cy)
            count += 1
        # === Go on through the far sides: number `apex` begins at the apex, number `other` ends there ===
        if remaining <= 1:
            continue
        left_side, right_side = (apex, other) if from_left else (other, apex)
        if not too_far_left:
            ends[top, 0], ends[top, 1], ends[top, 2], ends[top, 3] = ax, ay, cx, cy
            ends[top, 4], ends[top, 5] = lx, ly
            ends[top, 6], ends[top, 7] = (rx, ry) if too_far_right else (cx, cy)
            which[top, 0], which[top, 1], which[top, 2], which[top, 3] = face, left_side, left, remaining - 1
            top += 1
        if not too_far_right:
            ends[top, 0], ends[top, 1], ends[top, 2], ends[top, 3] = cx, cy, bx, by
            ends[top, 4], ends[top, 5] = (lx, ly) if too_far_left else (cx, cy)
            ends[top, 6], ends[top, 7] = rx, ry
            which[top, 0], which[top, 1], which[top, 2], which[top, 3] = (
                face,
                right_side,
                faces[face, apex],
                remaining - 1,
            )
            top += 1
    return count, nearest


@njit(cache=True, nogil=True)
def corner_links(shape: Any, depth: int, starts: Any, seen: Any, mm: Any) -> Any:
    """Link every corner of every face to the corners seen through the side opposite.

    Args:
        shape: As for ``_look``.
        depth: Triangles beyond that side.
        starts: (3 F + 1,) first place of each corner in ``seen`` and ``mm``; empty to count only.
        seen: (L,) vertices.
        mm: (L,) distances.

    Returns:
        (3 F,) number of links of each corner.
    """
    _faces, _opposite, feet, heights, _sides = shape
    counts = np.empty(feet.size, np.int64)
    nothing = np.zeros(3)
    for corner in range(feet.size):
        face, side = corner // 3, (corner + 1) % 3
        first, last = (starts[corner], starts[corner + 1]) if len(starts) else (0, 0)
        counts[corner], _ = _look(
            shape,
            face,
            side,
            feet[face, side],
            heights[face, side],
            depth,
            seen[first:last],
            mm[first:last],
            -1,
            nothing,
        )
    return counts


@njit(cache=True, nogil=True)
def point_links(shape: Any, depth: int, faces_of: Any, weights: Any, seen: Any, mm: Any) -> None:
    """Link points inside faces to the corners seen through the three sides.

    Args:
        shape: As for ``_look``.
        depth: Triangles beyond each side.
        faces_of: (N,) face of each point.
        weights: (N, 3) barycentric weights.
        seen: (N, 3, K) receives vertices.
        mm: (N, 3, K) receives distances; left as it is where there is no link.
    """
    _faces, _opposite, feet, heights, _sides = shape
    nothing = np.zeros(3)
    for n in range(len(faces_of)):
        face = faces_of[n]
        for side in range(3):
            above = weights[n, (side + 2) % 3]
            share = weights[n, (side + 1) % 3] + above * feet[face, side]
            _look(shape, face, side, share, above * heights[face, side], depth, seen[n, side], mm[n, side], -1, nothing)


@njit(cache=True, nogil=True)
def straight_distances(shape: Any, depth: int, faces_a: Any, weights_a: Any, faces_b: Any, weights_b: Any) -> Any:
    """Return the straight distances (N,) mm of pairs of points over strips of faces, infinite where there is none."""
    _faces, _opposite, feet, heights, _sides = shape
    none_seen, none_mm = np.empty(0, np.int32), np.empty(0)
    result = np.full(len(faces_a), np.inf)
    for n in range(len(faces_a)):
        face = faces_a[n]
        for side in range(3):
            above = weights_a[n, (side + 2) % 3]
            share = weights_a[n, (side + 1) % 3] + above * feet[face, side]
            _, mm = _look(
                shape,
                face,
                side,
                share,
                above * heights[face, side],
                depth,
                none_seen,
                none_mm,
                faces_b[n],
                weights_b[n],
            )
            result[n] = min(result[n], mm)
    return result


@njit(cache=True, nogil=True)
def needless_links(indptr: Any, indices: Any, lengths: Any, is_edge: Any, tolerance: float) -> Any:
    """Return which links (nnz,) bool have a way over one third vertex that is longer by ``tolerance`` at most.

    Args:
        indptr, indices, lengths: Symmetric CSR matrix, indices sorted in each row.
        is_edge: (nnz,) bool, edges of the mesh, which are always needed.
        tolerance: Relative.
    """
    needless = np.zeros(len(indices), np.bool_)
    mm_from = np.full(len(indptr) - 1, np.inf)
    for u in range(len(indptr) - 1):
        row = range(indptr[u], indptr[u + 1])
        for k in row:
            mm_from[indices[k]] = lengths[k]
        for k in row:
            if is_edge[k]:
                continue
            w, limit = indices[k], lengths[k] * (1.0 + tolerance)
            for j in range(indptr[w], indptr[w + 1]):
                if lengths[j] + mm_from[indices[j]] <= limit and indices[j] != u:
                    needless[k] = True
                    break
        for k in row:
            mm_from[indices[k]] = np.inf
    return needless
