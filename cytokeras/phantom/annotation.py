"""Partial annotations as experts leave them: some sections, some areas with a margin, strokes in other cortex."""

from __future__ import annotations

import zlib
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cytokeras.brain import Section
from cytokeras.brain.labels import UNLABELLED, SectionLabels
from cytokeras.phantom._section_fields import OTHER_CORTEX

ANNOTATED_SECTIONS = 0.75
"""Share of the training sections with any annotation; our choice, like the numbers below."""
_ANNOTATED_AREAS = 0.75
_MARGIN_MM = (1.0, 4.0)
_OUTLINE_MM = 0.25  # spacing of the lattice on which an annotation is outlined
_UNEVEN_MM = 0.8
_STROKES = 6  # in other cortex, in each annotated section
_STROKES_AWAY_MM = 6.0  # from any area


def partly_annotated(section: Section) -> Section:
    """The section as an expert may have left it: without labels, or with those of some areas and strokes elsewhere.

    The choice depends on the section's id alone. Sections of split "test" keep all their labels, to be scored on.
    """
    labels = section.labels
    if labels is None or section.split == "test":
        return section
    seed = zlib.crc32(section.id.encode())
    annotated = np.random.default_rng([seed, 6]).random() < ANNOTATED_SECTIONS
    kept = PartialLabels(labels, section.image, seed) if annotated else None
    return Section(section.id, section.image, section.plane, kept, section.split)


class PartialLabels:
    """The classes near some of a section's areas and at strokes in its other cortex; elsewhere it is not annotated.

    Args:
        truth: The labels of the whole section.
        image: The section's image, for its shape and pixel size.
        seed: It draws the areas, the strokes and the margin around them.
    """

    def __init__(self, truth: SectionLabels, image: Any, seed: int) -> None:
        self._truth = truth
        self._shape = image.shape[:2]
        self._step = max(1, round(1000 * _OUTLINE_MM / image.pixel_size_um))
        self._step_mm = self._step * image.pixel_size_um / 1000
        self._seed = seed

    def read(self, row: float, column: float, height: int, width: int, step: float = 1) -> NDArray[np.uint8]:
        """Class indices ``(height, width)`` uint8 at pixels (row + step i, column + step j); 255: not annotated."""
        labels = np.array(self._truth.read(row, column, height, width, step))
        outlined = self._outlined
        rows, columns = (
            np.clip(np.rint((start + step * np.arange(count)) / self._step).astype(int), 0, size - 1)
            for start, count, size in zip((row, column), (height, width), outlined.shape, strict=True)
        )
        labels[~outlined[np.ix_(rows, columns)]] = UNLABELLED
        return labels

    @cached_property
    def _outlined(self) -> np.ndarray:
        """What is annotated, at every ``_step``-th pixel."""
        rng = np.random.default_rng([self._seed, 7])
        height, width = (-(-length // self._step) for length in self._shape)
        labels = self._truth.read(0, 0, height, width, self._step)
        areas = np.unique(labels[(labels > OTHER_CORTEX) & (labels != UNLABELLED)])
        chosen = areas[rng.random(len(areas)) < _ANNOTATED_AREAS]
        uneven = ndimage.gaussian_filter(rng.normal(size=labels.shape), 6, mode="wrap")
        uneven *= _UNEVEN_MM / uneven.std()
        margin = rng.uniform(*_MARGIN_MM) + uneven
        kept = np.isin(labels, chosen)
        away = self._distance_mm(np.isin(labels, areas)) > _STROKES_AWAY_MM
        places = np.flatnonzero((labels == OTHER_CORTEX) & away)
        kept.flat[rng.choice(places, min(_STROKES, len(places)), replace=False)] = True
        return self._distance_mm(kept) < margin

    def _distance_mm(self, marked: np.ndarray) -> np.ndarray:
        """Distance of every point to the nearest that is marked; infinite where none is."""
        if not marked.any():
            return np.full(marked.shape, np.inf)
        return self._step_mm * ndimage.distance_transform_edt(~marked)
