"""From optical density to grey values: neuropil, stain, damage, light and noise (compiled with Numba)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from cytokeras.phantom._cell_kernels import UNIT, mix, uniform

TEAR, FOLD, KNIFE_MARK, DUST = range(4)
"""Kinds of damage: tissue gone, tissue twice, a stripe that is thicker or thinner, dirt on the glass."""


_UNEVEN = 0.5  # share of the half width by which an outline swings (our choice)
_UNEVEN_MM = 0.12


@njit(cache=True, nogil=True, inline="always")
def _smooth_noise(y_mm: Any, x_mm: Any) -> Any:
    """Random numbers in [0, 1) at every 0.12 mm, linear between them."""
    y, x = y_mm / _UNEVEN_MM, x_mm / _UNEVEN_MM
    i, j = math.floor(y), math.floor(x)
    s, t = y - i, x - j
    key = np.uint64(0xD0A6E)
    above = (1 - t) * uniform(mix(key, i, j), 0) + t * uniform(mix(key, i, j + 1), 0)
    below = (1 - t) * uniform(mix(key, i + 1, j), 0) + t * uniform(mix(key, i + 1, j + 1), 0)
    return (1 - s) * above + s * below


@njit(cache=True, nogil=True)
def draw_damage(damage: Any, place: Any, segments: Any) -> None:
    """Draw damaged places: each is what lies within a distance of a straight line.

    Args:
        damage: ``(3, H, W)`` float32, starts as 0, 1, 0: share of the tissue that is gone, factor on its optical
            density, optical density of dirt.
        place: (row, column, pixel_mm) of the window.
        segments: ``(N, 7)`` kind, both ends (row, column) in mm, half width in mm, strength.
    """
    row, column, pixel_mm = place
    _, height, width = damage.shape
    for n in range(len(segments)):
        kind, strength = int(segments[n, 0]), segments[n, 6]
        ay, ax = segments[n, 1] / pixel_mm, segments[n, 2] / pixel_mm
        by, bx = segments[n, 3] / pixel_mm, segments[n, 4] / pixel_mm
        half = segments[n, 5] / pixel_mm
        widest = half * (1 + _UNEVEN)
        top, bottom = int(min(ay, by) - widest) - row - 1, int(max(ay, by) + widest) - row + 3
        left, right = int(min(ax, bx) - widest) - column - 1, int(max(ax, bx) + widest) - column + 3
        uy, ux = by - ay, bx - ax
        squared = max(uy * uy + ux * ux, 1e-12)
        for r in range(max(top, 0), min(bottom, height)):
            for c in range(max(left, 0), min(right, width)):
                sy, sx = (row + r) - ay, (column + c) - ax
                t = min(max((sy * uy + sx * ux) / squared, 0.0), 1.0)
                dy, dx = sy - t * uy, sx - t * ux
                reach = half
                if kind != KNIFE_MARK:
                    reach *= 1 + _UNEVEN * (2 * _smooth_noise((row + r) * pixel_mm, (column + c) * pixel_mm) - 1)
                covered = min(max(reach - math.sqrt(dy * dy + dx * dx) + 0.5, 0.0), 1.0, 2 * half)
                if covered == 0:
                    continue
                if kind == TEAR:
                    damage[0, r, c] = max(damage[0, r, c], covered)
                elif kind == DUST:
                    damage[2, r, c] = max(damage[2, r, c], covered * strength)
                else:
                    damage[1, r, c] *= 1 + covered * strength


@njit(cache=True, nogil=True)
def develop(
    grey: Any, sums: Any, place: Any, seed: Any, labels: Any, neuropil: Any, light: Any, stain: Any, damage: Any
) -> None:
    """Turn a window's optical densities into grey values.

    Args:
        grey: ``(H, W)`` uint8, receives 0 black … 255 white.
        sums: (cells, lumens): ``(H, W)`` int32 each, optical density and covered share times ``UNIT``; lumens may be
            ``(0, 0)``.
        place: (row, column, pixels per lattice cell).
        seed: uint64 of the noise.
        labels: ``(H, W)`` uint8 on the lattice.
        neuropil: Optical density without cells of each class.
        light: (grey of the glass, width of the noise in grey values, exponent on optical density, density it leaves as
            it is).
        stain: (by row, by column, waves by row, waves by column): float64 ``(H,)``, ``(W,)``, ``(2, K, H)`` cosine
            and sine, ``(2, K, W)``; the factor on optical density is their sum and the sum of the waves.
        damage: As in ``draw_damage``; may be ``(3, 0, 0)``.
    """
    row, column, scale = place
    cells, lumens = sums
    by_row, by_column, row_waves, column_waves = stain
    glass, noise_width, contrast, unchanged = light
    height, width = grey.shape
    last_row, last_column = labels.shape[0] - 1, labels.shape[1] - 1
    key = seed ^ np.uint64(0x5EED)
    unit = 1.0 / UNIT
    for r in range(height):
        y = (row + r) / scale
        i = math.floor(y)
        s = y - i
        upper, lower = min(max(i, 0), last_row), min(max(i + 1, 0), last_row)
        for c in range(width):
            x = (column + c) / scale
            j = math.floor(x)
            t = x - j
            left, right = min(max(j, 0), last_column), min(max(j + 1, 0), last_column)
            above = (1 - t) * neuropil[labels[upper, left]] + t * neuropil[labels[upper, right]]
            below = (1 - t) * neuropil[labels[lower, left]] + t * neuropil[labels[lower, right]]
            density = (1 - s) * above + s * below + cells[r, c] * unit
            noise = (uniform(mix(key, row + r, column + c), 0) - 0.5) * noise_width
            if lumens.size:
                density *= max(1 - lumens[r, c] * unit, 0.0)
            if contrast != 1:
                # In single precision: what this adds to a window takes 0.6 of the time.
                density = unchanged * np.float32(density / unchanged) ** np.float32(contrast)
            factor = by_row[r] + by_column[c]
            for k in range(row_waves.shape[1]):
                factor += row_waves[0, k, r] * column_waves[0, k, c] - row_waves[1, k, r] * column_waves[1, k, c]
            density *= factor
            if damage.size:
                density = density * damage[1, r, c] * (1 - damage[0, r, c]) + damage[2, r, c]
            value = glass * math.exp(-density) + noise
            grey[r, c] = int(min(max(value, 0.0), 255.0) + 0.5)
