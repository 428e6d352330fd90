"""Compiled loops over the pixels of a patch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def resample(
    window: Any, matrix: Any, origin_row: float, origin_column: float, bend: Any, first: Any, near: Any, out: Any
) -> None:
    """Fill ``out`` with a window looked at through a linear map and a bend, interpolated between four pixels.

    Args:
        window: (H, W) uint8.
        matrix: (2, 2) float64 from (row, column) of ``out`` to those of the window.
        origin_row, origin_column: Place in the window of ``out[0, 0]``.
        bend: (h, K, 2) float64, how far (row, column) are shifted before the map in each row at each of K knots across;
            may be empty.
        first: (w,) int64, the first of the knots that each column lies between.
        near: (w, 4) float64, their weights.
        out: (h, w) uint8.
    """
    height, width = window.shape
    bent = bend.size > 0
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            r, c = float(i), float(j)
            if bent:
                for k in range(near.shape[1]):
                    r += near[j, k] * bend[i, first[j] + k, 0]
                    c += near[j, k] * bend[i, first[j] + k, 1]
            row = origin_row + matrix[0, 0] * r + matrix[0, 1] * c
            column = origin_column + matrix[1, 0] * r + matrix[1, 1] * c
            # The window holds every place asked for; rounding alone may step over its edge.
            row = min(max(row, 0.0), height - 1.0)
            column = min(max(column, 0.0), width - 1.0)
            top, left = min(int(row), height - 2), min(int(column), width - 2)
            down, across = row - top, column - left
            upper = (1 - across) * window[top, left] + across * window[top, left + 1]
            lower = (1 - across) * window[top + 1, left] + across * window[top + 1, left + 1]
            out[i, j] = np.uint8((1 - down) * upper + down * lower + 0.5)


@njit(cache=True, nogil=True)
def look_up(table: Any, patch: Any) -> None:
    """Replace every grey level of ``patch``, (h, w) uint8, by its entry in ``table``, (256,) uint8."""
    for i in range(patch.shape[0]):
        for j in range(patch.shape[1]):
            patch[i, j] = table[patch[i, j]]
