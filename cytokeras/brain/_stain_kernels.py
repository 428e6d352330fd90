"""Compiled colour deconvolution."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True, nogil=True)
def separate(rgb: Any, amounts: Any, light: Any, out: Any) -> None:
    """Fill ``out``, (h, w) uint8, with the light that one stain alone lets through.

    Args:
        rgb: (h, w, 3) uint8.
        amounts: (3, 256) int32, what each level of each channel adds to the amount of the stain.
        light: (n,) uint8 by amount; beyond its end nothing passes, and a negative amount counts as none.
        out: (h, w) uint8.
    """
    for i in range(rgb.shape[0]):
        for j in range(rgb.shape[1]):
            amount = amounts[0, rgb[i, j, 0]] + amounts[1, rgb[i, j, 1]] + amounts[2, rgb[i, j, 2]]
            out[i, j] = light[max(amount, 0)] if amount < light.size else 0
