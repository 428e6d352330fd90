"""The class map of one section."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cytokeras.inference.tiling import OutputGrid


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The classes of one section on the output grid of a network.

    Attributes:
        labels: (h, w) uint8 class indices, the most probable class of each cell.
        probabilities: (h, w, C) float16 0 … 1, or None where they were not asked for.
        uncertainty: (h, w) float16 0 … 1, entropy of the probabilities relative to that of equally probable classes
            (0 one class for certain, 1 all alike), or None where it was not asked for.
        grid: Where the cells lie in the section image.
        class_names: Names of the classes, or None where the model has none.
        used_atlas: The atlas branch took part; None where it is not known (labels read from a file of
            others).
        windows_computed: Windows that went through the network.
        windows_skipped: Windows that held only background.
        windows_resumed: Windows that an interrupted run had finished before.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None
    grid: OutputGrid
    class_names: tuple[str, ...] | None = None
    used_atlas: bool | None = None
    windows_computed: int = 0
    windows_skipped: int = 0
    windows_resumed: int = 0
    uncertainty: np.ndarray | None = None
