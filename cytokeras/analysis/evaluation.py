"""How well a segmentation agrees with the annotation."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from cytokeras._files import atomic_path
from cytokeras._scores import PixelDistance, confusion_matrix, dice_scores, pixel_distance_error
from cytokeras.brain import UNLABELLED, VISUAL_SCHEME, LabelScheme, Section, SectionLabels
from cytokeras.errors import UserError
from cytokeras.inference import OutputGrid, Segmentation

# What a parcellation knows beside its areas (Spitzer et al. 2018, section 3).
NOT_AREAS: Final = ("background", "white matter", "other cortex")

_STRIP_PIXELS = 32_000_000  # label pixels read at once, bytes


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Agreement of predicted and annotated classes over the annotated pixels of one or more sections.

    Pixels are those of the output grid (16 µm for the published geometry), not of the image.

    Attributes:
        class_names: Names of the C classes.
        confusion: (C, C) int64 pixels, rows true class, columns predicted class.
        pixel_distance: Distance error: mean penalty in pixels and mm, Yasnoff's percentage, pixels given an
            absent class.
        pixel_size_um: Edge length of a pixel in µm; of several sections the mean, weighted by their pixels.
        sections: Names of the sections, in order.
    """

    class_names: tuple[str, ...]
    confusion: np.ndarray
    pixel_distance: PixelDistance
    pixel_size_um: float
    sections: tuple[str, ...] = ()

    @property
    def annotated_count(self) -> int:
        """Number of annotated pixels."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of annotated pixels with the right class, 0 … 1."""
        return float(np.trace(self.confusion) / self.annotated_count)

    @cached_property
    def dice(self) -> np.ndarray:
        """Dice of each class, (C,) float64 0 … 1; NaN where it is neither true nor predicted."""
        return dice_scores(self.confusion)

    @property
    def dice_areas(self) -> float:
        """Mean Dice over the areas that are annotated (without background, white matter and other cortex)."""
        areas = np.array([name not in NOT_AREAS for name in self.class_names])
        return self._macro(areas)

    @property
    def dice_all(self) -> float:
        """Mean Dice over all classes that are annotated."""
        return self._macro(np.ones(len(self.class_names), bool))

    def _macro(self, wanted: np.ndarray) -> float:
        """Average over the wanted classes that occur in the truth; NaN without any."""
        chosen = wanted & (self.confusion.sum(axis=1) > 0)
        return float(self.dice[chosen].mean()) if chosen.any() else math.nan

    @staticmethod
    def combine(evaluations: Sequence[Evaluation]) -> Evaluation:
        """Pool the pixels of several sections.

        Confusions add up, distance errors are weighted by annotated pixels.

        Raises:
            UserError: Nothing to combine, or the classes differ.
        """
        if not evaluations:
            raise UserError("Evaluation.combine: at least one evaluation is needed; received none.")
        names = evaluations[0].class_names
        for other in evaluations[1:]:
            if other.class_names != names:
                raise UserError(
                    f"Evaluation.combine: the classes of {_title(other)} differ from those of {_title(evaluations[0])}."
                )
        counts = np.array([evaluation.annotated_count for evaluation in evaluations], np.float64)
        total = counts.sum()
        pooled = PixelDistance.combine([evaluation.pixel_distance for evaluation in evaluations], counts)
        return Evaluation(
            names,
            np.sum([evaluation.confusion for evaluation in evaluations], axis=0),
            pooled,
            float(counts @ [evaluation.pixel_size_um for evaluation in evaluations] / total),
            tuple(name for evaluation in evaluations for name in evaluation.sections),
        )

    def table(self) -> str:
        """Return an aligned text table: one row a class that occurs, then the summary."""
        occurring = np.flatnonzero(self.confusion.sum(axis=0) + self.confusion.sum(axis=1))
        rows = [("class", "Dice", "precision", "recall", "annotated px")]
        for index in occurring:
            hits = self.confusion[index, index]
            rows.append(
                (
                    self.class_names[index],
                    f"{self.dice[index]:.3f}",
                    _ratio(hits, self.confusion[:, index].sum()),
                    _ratio(hits, self.confusion[index].sum()),
                    f"{self.confusion[index].sum():,}",
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
                ]
            )
            for row in rows
        ]
        lines.insert(1, "-" * len(lines[0]))
        summary = self.summary()
        width = max(len(name) for name, _ in summary)
        return "\n".join([*lines, "", *(f"{name.ljust(width)}  {value}" for name, value in summary)])

    def summary(self) -> list[tuple[str, str]]:
        """Return the figures over all classes as (name, value with unit)."""
        distance = self.pixel_distance
        entries = [
            ("Dice, mean of annotated areas", _number(self.dice_areas)),
            ("Dice, mean of annotated classes", _number(self.dice_all)),
            ("Accuracy", _number(self.accuracy)),
            ("Pixel distance error", f"{distance.mean_px:.2f} px = {distance.mean_mm:.3f} mm"),
            ("Pixel distance error (Yasnoff)", f"{distance.yasnoff_percent:.2f} %"),
            ("Annotated pixels", f"{self.annotated_count:,} of {self.pixel_size_um:g} µm"),
        ]
        if distance.absent_count:
            entries.append(("Pixels given a class absent from the annotation", f"{distance.absent_count:,}"))
        return entries

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row a number: measure, class, value, unit.

        The class is empty for figures over all; values that do not exist are empty.
        """
        true, predicted = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        rows: list[tuple[str, str, float, str]] = []
        for index, name in enumerate(self.class_names):
            rows += [
                ("dice", name, float(self.dice[index]), ""),
                ("annotated", name, int(true[index]), "px"),
                ("predicted", name, int(predicted[index]), "px"),
                ("correct", name, int(self.confusion[index, index]), "px"),
            ]
        distance = self.pixel_distance
        rows += [
            ("dice_areas", "", self.dice_areas, ""),
            ("dice_all", "", self.dice_all, ""),
            ("accuracy", "", self.accuracy, ""),
            ("pixel_distance", "", distance.mean_px, "px"),
            ("pixel_distance", "", distance.mean_mm, "mm"),
            ("pixel_distance_yasnoff", "", distance.yasnoff_percent, "%"),
            ("absent_class", "", distance.absent_count, "px"),
            ("cell_size", "", self.pixel_size_um, "um"),
        ]
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("measure", "class", "value", "unit"))
            writer.writerows((m, c, "" if math.isnan(v) else v, u) for m, c, v, u in rows)


def evaluate(
    segmentation: Segmentation,
    labels: SectionLabels | Section | np.ndarray,
    *,
    scheme: LabelScheme = VISUAL_SCHEME,
    name: str | None = None,
) -> Evaluation:
    """Compare a segmentation with the annotation of its section.

    Pixels without annotation (255) are left out. The annotation is read at the image pixel nearest to the
    centre of each output pixel. What an output pixel counts in the distance error when the annotation does
    not contain the class it was given, `pixel_distance_error` says.

    Args:
        segmentation: Result of `segment_section`.
        labels: Annotation of the same image: a section, its labels, or classes on the grid, (h, w) uint8.
        scheme: The classes.
        name: Name in the report; default: the id of the section.

    Returns:
        Confusion, Dice scores and distance errors (Dice and distance error of Spitzer et al. 2018, section 3;
        the latter after Yasnoff, Mui & Bacus 1977).

    Raises:
        UserError: The section has no labels, no pixel is annotated, or the classes are not those of the scheme.
    """
    if isinstance(labels, Section):
        name = name or labels.id
    truth = labels if isinstance(labels, np.ndarray) else labels_on_grid(labels, segmentation.grid)
    predicted = segmentation.labels
    if truth.shape != predicted.shape:
        raise UserError(f"labels: must lie on the output grid {predicted.shape}; received shape {truth.shape}.")
    names = segmentation.class_names
    if names is not None and names != scheme.names:
        raise UserError(
            f"scheme: its classes ({', '.join(scheme.names)}) are not those of the segmentation ({', '.join(names)})."
        )
    where = f"section {name!r}" if name else "labels"
    if not (truth != UNLABELLED).any():
        raise UserError(f"{where}: no pixel of the output grid is annotated, so nothing can be evaluated.")
    confusion = confusion_matrix(truth, predicted, len(scheme))
    size = segmentation.grid.pixel_size_um
    return Evaluation(
        scheme.names, confusion, pixel_distance_error(truth, predicted, size), size, (name,) if name else ()
    )


def labels_on_grid(labels: SectionLabels | Section, grid: OutputGrid) -> np.ndarray:
    """Return the annotated class at the image pixel nearest to the centre of each cell.

    Returns:
        (h, w) uint8; 255 not annotated or outside the image.

    Raises:
        UserError: The section has no labels.
    """
    if isinstance(labels, Section):
        if labels.labels is None:
            raise UserError(f"section {labels.id!r}: has no labels; only annotated sections can be evaluated.")
        labels = labels.labels
    # floor(x + 0.5), not rint: halves must all go the same way for equal steps
    rows, columns = (np.floor(axis + 0.5).astype(int) for axis in (grid.rows_px, grid.columns_px))
    step = round(grid.step_px)
    if all(np.array_equal(axis, axis[0] + step * np.arange(len(axis))) for axis in (rows, columns)):
        return labels.read(int(rows[0]), int(columns[0]), len(rows), len(columns), step=step)
    return _gather(labels, rows, columns)


def _gather(labels: SectionLabels, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Read labels at rows and columns that are not equally spaced, in strips at full resolution."""
    left, width = int(columns[0]), int(columns[-1] - columns[0]) + 1
    strip = max(1, int(_STRIP_PIXELS * len(rows) / (width * (rows[-1] - rows[0] + 1))))
    result = np.empty((len(rows), len(columns)), np.uint8)
    for first in range(0, len(rows), strip):
        some = rows[first : first + strip]
        window = labels.read(int(some[0]), left, int(some[-1] - some[0]) + 1, width)
        result[first : first + strip] = window[np.ix_(some - some[0], columns - left)]
    return result


def _title(evaluation: Evaluation) -> str:
    return ", ".join(evaluation.sections) or "the evaluation"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "–"
