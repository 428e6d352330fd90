"""Section images made for the tests."""

from __future__ import annotations

import numpy as np


def grey(height=150, width=200, seed=0):
    """Bright glass around dark, noisy tissue."""
    rng = np.random.default_rng(seed)
    array = np.full((height, width), 240, np.uint8)
    array[20:-20, 20:-20] = rng.integers(30, 220, (height - 40, width - 40))
    return array
