"""How well the segmentation of a brain agrees with its annotations: per section, per area, as table and as figure."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cytokeras._files import atomic_path
from cytokeras._scores import PixelDistance, pixel_distance_by_class
from cytokeras.analysis.borders import color_of
from cytokeras.analysis.evaluation import NOT_AREAS, Evaluation, evaluate, labels_on_grid
from cytokeras.brain import UNLABELLED, Brain, Section
from cytokeras.errors import UserError
from cytokeras.inference import OutputGrid, _drawing, read_label_tiff

_COLUMNS = (
    "section", "class", "annotated_px", "predicted_px", "correct_px", "dice", "precision", "recall",
    "pixel_distance_px", "pixel_distance_mm", "pixel_distance_yasnoff_percent", "absent_class_px",
)  # fmt: skip
_ALL = "all"
_SIZE_TOLERANCE = 0.01  # as for the pixel size a user states


@dataclass(frozen=True, eq=False)
class BrainEvaluation:
    """Agreement of predicted and annotated classes over the annotated sections of a brain.

    Attributes:
        sections: One evaluation a section, in the order of the brain.
        distances: Distance errors of each section by true class, in the order of the classes.
        missing: Ids of annotated sections without labels, or without an annotated pixel.
    """

    sections: tuple[Evaluation, ...]
    distances: tuple[tuple[PixelDistance, ...], ...]
    missing: tuple[str, ...] = ()

    @cached_property
    def total(self) -> Evaluation:
        """The pixels of all sections together; its confusion matrix is that of the brain."""
        return Evaluation.combine(self.sections)

    def table(self) -> str:
        """Return a text table: classes over all sections, then one line a section with the Dice of every area."""
        total = self.total
        areas = [
            index
            for index, name in enumerate(total.class_names)
            if name not in NOT_AREAS and total.confusion[index].any()
        ]
        rows = [("section", "areas", "all", "px", "mm", "Yasnoff", *(total.class_names[index] for index in areas))]
        for one in self.sections:
            distance = one.pixel_distance
            distances = (f"{distance.mean_px:.2f}", f"{distance.mean_mm:.3f}", f"{distance.yasnoff_percent:.1f} %")
            dices = (one.dice_areas, one.dice_all, *one.dice[areas])
            mean, every, *of_areas = ("–" if math.isnan(value) else f"{value:.3f}" for value in dices)
            rows.append((one.sections[0], mean, every, *distances, *of_areas))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        head = "Mean Dice over areas and over all classes, pixel distance error (px, mm, Yasnoff), Dice of each area"
        return "\n".join([total.table(), "", head, *lines])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row a section and class, and rows ``all`` for sections and classes together.

        Distance errors of a class are those of its true pixels. Values that do not exist are empty.
        """
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for evaluation, distances in zip(self.sections, self.distances, strict=True):
                writer.writerows(_rows(evaluation.sections[0], evaluation, distances))
            writer.writerows(_rows(_ALL, self.total, self._pooled_distances()))

    def confusion_to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the confusion matrix over all sections: a row a true class, a column a predicted class, in pixels."""
        total = self.total
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("true class", *total.class_names))
            writer.writerows(
                (name, *row) for name, row in zip(total.class_names, total.confusion.tolist(), strict=True)
            )

    def to_png(self, path: str | os.PathLike[str]) -> None:
        """Write a figure: confusion matrix (rows true, shares of the true pixels), Dice of each class and section."""
        total = self.total
        shown = np.flatnonzero(total.confusion.sum(axis=0) + total.confusion.sum(axis=1))
        names = [total.class_names[index] for index in shown]
        counts = total.confusion[np.ix_(shown, shown)]
        panels = [
            ("Share of true pixels (rows) by predicted class", _matrix(counts, names)),
            ("Dice by class", _bars(names, total.dice[shown])),
            (
                "Dice by section, mean of areas",
                _bars([one.sections[0] for one in self.sections], np.array([one.dice_areas for one in self.sections])),
            ),
        ]
        picture = _drawing.compose(panels, [], 1.0)
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG", optimize=True)

    def _pooled_distances(self) -> tuple[PixelDistance, ...]:
        """Pool the distance errors of every class over the sections."""
        counts = np.array([evaluation.confusion.sum(axis=1) for evaluation in self.sections], np.float64)
        return tuple(
            PixelDistance.combine([distances[index] for distances in self.distances], counts[:, index])
            for index in range(counts.shape[1])
        )


def evaluate_brain(
    predictions: str | os.PathLike[str], brain: Brain, *, sections: Sequence[str] | None = None
) -> BrainEvaluation:
    """Compare what `segment_brain` wrote with the annotations of a brain.

    Pixels without annotation take no part; sections without annotation neither.

    Args:
        predictions: Folder that holds ``<id>-labels.ome.tif``, or the label image of one section.
        brain: The brain with its annotations.
        sections: Ids of the sections wanted; default: all that are annotated, of a label image the one whose id its
            name begins with.

    Raises:
        UserError: There are no labels of any annotated section, a section named has no annotation, labels are those
            of another image, or the classes differ.
    """
    evaluations, distances, missing = [], [], []
    for section, path in _label_files(Path(predictions), brain, sections):
        if not path.is_file():
            missing.append(section.id)
            continue
        segmentation = read_label_tiff(path)
        _check_same_image(path, segmentation.grid, section)
        truth = labels_on_grid(section, segmentation.grid)
        if (truth == UNLABELLED).all():
            missing.append(section.id)
            continue
        evaluations.append(evaluate(segmentation, truth, scheme=brain.labels, name=section.id))
        size = segmentation.grid.pixel_size_um
        distances.append(pixel_distance_by_class(truth, segmentation.labels, size, len(brain.labels)))
    if not evaluations:
        raise UserError(f"{predictions}: holds the labels of no annotated section of brain {brain.name}.")
    return BrainEvaluation(tuple(evaluations), tuple(distances), tuple(missing))


def _label_files(predictions: Path, brain: Brain, sections: Sequence[str] | None) -> list[tuple[Section, Path]]:
    """Return the annotated sections wanted and the files that hold their labels, if they are there."""
    if not predictions.exists():
        raise UserError(f"{predictions}: no such file or folder; expected what segment_section or segment_brain wrote.")
    if predictions.is_file() and sections is None:
        named = [one.id for one in brain.sections if predictions.name.startswith((f"{one.id}-", f"{one.id}."))]
        if not named:
            raise UserError(f"{predictions}: its name begins with the id of no section of brain {brain.name}; name it.")
        sections = [max(named, key=len)]
    chosen = [brain.section(id) for id in sections] if sections is not None else list(brain.sections)
    unannotated = [section.id for section in chosen if section.labels is None]
    if sections is not None and unannotated:
        raise UserError(
            f"section {unannotated[0]!r}: has no annotation in brain {brain.name}; nothing to compare with."
        )
    if predictions.is_dir():
        return [(one, predictions / f"{one.id}-labels.ome.tif") for one in chosen if one.labels is not None]
    if len(chosen) != 1:
        raise UserError(f"{predictions}: is the label image of one section. Received: {len(chosen)} sections")
    return [(chosen[0], predictions)]


def _check_same_image(path: Path, grid: OutputGrid, section: Section) -> None:
    """Raise UserError where the cells of a label image cannot lie on the image of the section."""
    size = grid.pixel_size_um / grid.step_px
    last = [axis[-1] for axis in (grid.rows_px, grid.columns_px)]
    outside = any(place > side + grid.step_px for place, side in zip(last, section.image.shape, strict=True))
    if outside or abs(size / section.pixel_size_um - 1) > _SIZE_TOLERANCE:
        height, width = section.image.shape
        raise UserError(
            f"{path}: lies on an image of {size:g} µm and at least {last[0]:.0f} x {last[1]:.0f} px; the image of "
            f"section {section.id!r} has {section.pixel_size_um:g} µm and {height} x {width} px."
        )


def _rows(name: str, evaluation: Evaluation, distances: Sequence[PixelDistance]) -> list[tuple[object, ...]]:
    rows = []
    confusion = evaluation.confusion
    for index, class_name in enumerate(evaluation.class_names):
        true, predicted, correct = (
            int(confusion[index].sum()), int(confusion[:, index].sum()), int(confusion[index, index]),
        )  # fmt: skip
        scores = (float(evaluation.dice[index]), _share(correct, predicted), _share(correct, true))
        rows.append((name, class_name, true, predicted, correct, *scores, *_numbers(distances[index])))
    hits, count = int(np.trace(confusion)), evaluation.annotated_count
    whole = (evaluation.dice_all, hits / count, hits / count)
    rows.append((name, _ALL, count, count, hits, *whole, *_numbers(evaluation.pixel_distance)))
    return [tuple("" if isinstance(v, float) and math.isnan(v) else v for v in row) for row in rows]


def _numbers(distance: PixelDistance) -> tuple[float, float, float, int]:
    return distance.mean_px, distance.mean_mm, distance.yasnoff_percent, distance.absent_count


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _matrix(counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draw a confusion matrix with its rows scaled to 1."""
    cell, font = 46, _drawing.font(13)
    margin = 12 + int(max(font.getlength(name) for name in names))
    picture = Image.new("RGB", (margin + cell * len(names), margin + cell * len(names)), _drawing.PAGE)
    draw = ImageDraw.Draw(picture)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colors = color_of(shares)
    for row, name in enumerate(names):
        draw.text((margin - 6, margin + (row + 0.5) * cell), name, fill=_drawing.INK, font=font, anchor="rm")
        for column in range(len(names)):
            left, top = margin + column * cell, margin + row * cell
            draw.rectangle((left, top, left + cell - 2, top + cell - 2), fill=tuple(colors[row, column].tolist()))
            ink = (255, 255, 255) if shares[row, column] < 0.5 else _drawing.INK
            place = (left + cell / 2, top + cell / 2)
            draw.text(place, f"{shares[row, column]:.2f}", fill=ink, font=font, anchor="mm")
    for column, name in enumerate(names):
        text = Image.new("RGB", (margin, 18), _drawing.PAGE)
        ImageDraw.Draw(text).text((0, 9), name, fill=_drawing.INK, font=font, anchor="lm")
        picture.paste(text.rotate(90, expand=True), (margin + column * cell + cell // 2 - 9, -6))
    return np.asarray(picture)


def _bars(names: Sequence[str], values: np.ndarray) -> np.ndarray:
    """Draw one horizontal bar a name, 0 … 1."""
    line, length, font = 24, 220, _drawing.font(13)
    margin = 12 + int(max(font.getlength(name) for name in names))
    picture = Image.new("RGB", (margin + length + 60, line * len(names) + 4), _drawing.PAGE)
    draw = ImageDraw.Draw(picture)
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        middle = number * line + line / 2
        draw.text((margin - 6, middle), name, fill=_drawing.INK, font=font, anchor="rm")
        known = not math.isnan(value)
        draw.rectangle((margin, middle - 8, margin + length * (value if known else 0), middle + 8), fill=(60, 110, 160))
        text = f"{value:.2f}" if known else "–"
        draw.text((margin + length + 8, middle), text, fill=_drawing.INK, font=font, anchor="lm")
    return np.asarray(picture)
