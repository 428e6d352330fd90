"""Classes and the annotations of a section: label images and polygons, read window by window."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain._image_labels import ImageLabels
from cytokeras.brain._label_scheme import UNLABELLED, VISUAL_AREAS, VISUAL_SCHEME, LabelScheme
from cytokeras.brain._polygon_labels import PolygonLabels

__all__ = [
    "UNLABELLED",
    "VISUAL_AREAS",
    "VISUAL_SCHEME",
    "ImageLabels",
    "LabelScheme",
    "PolygonLabels",
    "SectionLabels",
]


@runtime_checkable
class SectionLabels(Protocol):
    """What every annotation of a section can do: give the class index at a lattice of image pixels."""

    def read(self, row: float, column: float, height: int, width: int, step: float = 1) -> NDArray[np.uint8]:
        """Return the class indices at the image pixels ``(row + step * i, column + step * j)``.

        Args:
            row: Image row of the first sample; pixel centres are integers, fractions are allowed.
            column: Image column of the first sample.
            height: Number of samples down.
            width: Number of samples across.
            step: Image pixels from one sample to the next.

        Returns:
            ``(height, width)`` uint8 class indices; ``UNLABELLED`` (255) where nothing is annotated and
            outside the image.
        """
        ...
