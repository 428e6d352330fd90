"""Partial annotations: some sections, some areas, outlined with a margin, as experts leave them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from cytokeras.brain.labels import UNLABELLED
from cytokeras.phantom._section_fields import LATTICE_MM, OTHER_CORTEX

if TYPE_CHECKING:
    from cytokeras.phantom.phantom_brain import PhantomImage, PhantomLabels

ANNOTATED_SECTIONS = 0.5
"""Share of the training sections with any annotation; our choice, like the numbers below."""
_ANNOTATED_AREAS = 0.6
_MARGIN_MM = (1.0, 4.0)
_COARSE = 8  # lattice points per point of the annotation's outline: a quarter of a millimetre
_UNEVEN_MM = 0.8


def is_annotated(seed: int) -> bool:
    """Whether the section of that seed has an annotation."""
    return bool(np.random.default_rng([seed, 6]).random() < ANNOTATED_SECTIONS)


class PartialLabels:
    """The exact classes near some of a section's areas; elsewhere the section is not annotated.

    Args:
        image: The section.
        truth: Its exact labels.
        seed: The section's; it draws the areas and the margin around them.
    """

    def __init__(self, image: PhantomImage, truth: PhantomLabels, seed: int) -> None:
        self._image = image
        self._truth = truth
        self._seed = seed

    def read(self, row: int, column: int, height: int, width: int, step: int = 1) -> np.ndarray:
        """Class indices ``(height, width)`` uint8 at pixels (row + step i, column + step j); 255: not annotated."""
        labels = self._truth.read(row, column, height, width, step)
        scale = self._image.pixel_size_um / (1000.0 * LATTICE_MM * _COARSE)
        outlined = self._outlined
        rows, columns = (
            np.clip(np.rint((start + step * np.arange(count)) * scale).astype(int), 0, size - 1)
            for start, count, size in zip((row, column), (height, width), outlined.shape, strict=True)
        )
        labels[~outlined[np.ix_(rows, columns)]] = UNLABELLED
        return labels

    @cached_property
    def _outlined(self) -> np.ndarray:
        """What is annotated, on the coarse lattice."""
        rng = np.random.default_rng([self._seed, 7])
        labels = self._image.fields().labels[::_COARSE, ::_COARSE]
        areas = np.unique(labels[labels > OTHER_CORTEX])
        chosen = areas[rng.random(len(areas)) < _ANNOTATED_AREAS]
        distance = LATTICE_MM * _COARSE * ndimage.distance_transform_edt(~np.isin(labels, chosen))
        uneven = ndimage.gaussian_filter(rng.normal(size=labels.shape), 6, mode="wrap")
        uneven *= _UNEVEN_MM / uneven.std()
        return (distance < rng.uniform(*_MARGIN_MM) + uneven) & (len(chosen) > 0)
