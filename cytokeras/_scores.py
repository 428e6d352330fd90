"""Scores of a segmentation on whole label images, in NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from cytokeras.errors import UserError


@dataclass(frozen=True)
class PixelDistance:
    """How far from their true class misclassified pixels lie; result of ``pixel_distance_error``.

    Args:
        mean_px: Mean penalty over all annotated pixels, in pixels of the label image.
        mean_mm: The same in mm.
        yasnoff_percent: ``100 * sqrt(sum d²) / N`` with d in pixels and N annotated pixels.
        absent_count: Number of pixels that were given a class which no annotated pixel of the image truly
            has; the penalty of each is the diagonal of the image.
    """

    mean_px: float
    mean_mm: float
    yasnoff_percent: float
    absent_count: int

    @classmethod
    def combine(cls, parts: Sequence[PixelDistance], counts: npt.ArrayLike) -> PixelDistance:
        """Pool errors of several images (or classes), each over so many annotated pixels; those of none are left out.

        All NaN where there is no pixel at all.
        """
        numbers = np.asarray(counts, np.float64)
        chosen = [(part, count) for part, count in zip(parts, numbers, strict=True) if count]
        total = numbers.sum()
        if not chosen:
            return cls(float("nan"), float("nan"), float("nan"), 0)
        # 100 sqrt(sum d²) / N is turned back into the sum of squares, which adds up.
        roots = [part.yasnoff_percent * count / 100 for part, count in chosen]
        return cls(
            mean_px=float(sum(part.mean_px * count for part, count in chosen) / total),
            mean_mm=float(sum(part.mean_mm * count for part, count in chosen) / total),
            yasnoff_percent=float(100 * np.linalg.norm(roots) / total),
            absent_count=sum(part.absent_count for part, _ in chosen),
        )


def confusion_matrix(
    true: npt.ArrayLike, predicted: npt.ArrayLike, num_classes: int, ignore: int = 255
) -> npt.NDArray[np.int64]:
    """Count the annotated pixels by true and predicted class.

    Args:
        true: True class indices, any shape, whole numbers.
        predicted: Predicted class indices of the same shape.
        num_classes: Number of classes.
        ignore: Label of pixels without annotation in ``true``; they are not counted.

    Returns:
        (num_classes, num_classes) int64; row: true class, column: predicted class.

    Raises:
        UserError: The shapes differ, the labels are no whole numbers, or a label of an annotated pixel is no
            class.
    """
    all_true, all_predicted = _labels(true, predicted)
    annotated = all_true != ignore
    rows, columns = all_true[annotated], all_predicted[annotated]
    _check_classes("true", rows, num_classes)
    _check_classes("predicted", columns, num_classes)
    pairs = rows.astype(np.int64) * num_classes + columns.astype(np.int64)
    counts = np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def dice_scores(confusion: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Dice score of every class: the harmonic mean of precision and recall (Spitzer et al. 2018, section 3).

    Args:
        confusion: (C, C) counts; row: true class, column: predicted class.

    Returns:
        (C,) float64, 0 … 1; NaN for a class that is neither true nor predicted anywhere. ``np.nanmean`` of it
        leaves such classes out.
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(confusion)
    marked = confusion.sum(axis=0) + confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(marked > 0, 2.0 * hits / marked, np.nan)


def pixel_distance_error(
    true: npt.ArrayLike, predicted: npt.ArrayLike, pixel_size_um: float, ignore: int = 255
) -> PixelDistance:
    """Penalise each misclassified pixel by its distance to the nearest pixel that truly has the class it was
    given.

    err_seg of Spitzer et al. 2018, section 3, after Yasnoff, Mui and Bacus 1977. The paper does not say what
    happens when no pixel of the section truly has that class: the penalty is then the diagonal of the image
    (the distance of its farthest pixels), and such pixels are counted. A correct pixel has the penalty 0.

    Args:
        true: (H, W) true class indices.
        predicted: (H, W) predicted class indices.
        pixel_size_um: Size of a pixel of these label images in µm.
        ignore: Label of pixels without annotation in ``true``; they have no penalty and no class.

    Returns:
        Mean penalty in pixels and in mm, Yasnoff's form, and the number of pixels of absent classes. All NaN
        where no pixel is annotated.

    Raises:
        UserError: The arrays are not two label images of one shape, or the pixel size is not positive.
    """
    true, predicted = _label_images(true, predicted, pixel_size_um)
    penalties, absent = _penalties(true, predicted, ignore)
    return _summed(penalties, absent, true != ignore, pixel_size_um)


def pixel_distance_by_class(
    true: npt.ArrayLike, predicted: npt.ArrayLike, pixel_size_um: float, num_classes: int, ignore: int = 255
) -> tuple[PixelDistance, ...]:
    """As ``pixel_distance_error``, over the pixels of each true class.

    Returns:
        One error a class; NaN for a class that no annotated pixel has.
    """
    true, predicted = _label_images(true, predicted, pixel_size_um)
    penalties, absent = _penalties(true, predicted, ignore)
    return tuple(_summed(penalties, absent, true == index, pixel_size_um) for index in range(num_classes))


def _label_images(true: Any, predicted: Any, pixel_size_um: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    true, predicted = _labels(true, predicted)
    if true.ndim != 2:
        raise UserError(f"true and predicted must be label images (H, W). {_received(true, predicted)}")
    if not pixel_size_um > 0:
        raise UserError(f"pixel_size_um must be positive. Received: pixel_size_um={pixel_size_um}")
    return true, predicted


def _penalties(
    true: npt.NDArray[Any], predicted: npt.NDArray[Any], ignore: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the penalty of every pixel and which pixels were given a class that no annotated pixel has."""
    wrong = (true != ignore) & (true != predicted)
    penalties = np.zeros(true.shape, np.float32)
    absent = np.zeros(true.shape, bool)
    for given in np.unique(predicted[wrong]):
        mistaken = wrong & (predicted == given)
        distances = _distances_to(true == given, mistaken)
        if distances is None:
            absent |= mistaken
            penalties[mistaken] = image_diagonal(true.shape)
        else:
            penalties[mistaken] = distances
    return penalties, absent


def _summed(
    penalties: npt.NDArray[np.float32], absent: npt.NDArray[np.bool_], chosen: npt.NDArray[np.bool_], size_um: float
) -> PixelDistance:
    count = int(chosen.sum())
    if count == 0:
        return PixelDistance(float("nan"), float("nan"), float("nan"), 0)
    values = penalties[chosen].astype(np.float64)
    mean_px = float(values.sum()) / count
    yasnoff = 100.0 * float(np.linalg.norm(values)) / count
    return PixelDistance(mean_px, mean_px * size_um / 1000.0, yasnoff, int(absent[chosen].sum()))


def image_diagonal(shape: tuple[int, ...]) -> float:
    """Distance of the farthest two pixels of an image in pixels."""
    height, width = shape
    return float(np.hypot(height - 1, width - 1))


def _distances_to(target: npt.NDArray[np.bool_], queries: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64] | None:
    """Distance of each query pixel to the nearest target pixel; None without any target pixel."""
    if not target.any():
        return None
    # The box around all pixels that matter gives the same distances; a whole section would take gigabytes.
    rows, columns = (
        np.nonzero((target | queries).any(axis=1))[0],
        np.nonzero((target | queries).any(axis=0))[0],
    )
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    distances: npt.NDArray[np.float64] = distance_transform_edt(~target[box])[queries[box]]
    return distances


def _labels(true: Any, predicted: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape or true.dtype.kind not in "iu" or predicted.dtype.kind not in "iu":
        raise UserError(f"true and predicted must be whole-number labels of one shape. {_received(true, predicted)}")
    return true, predicted


def _received(true: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> str:
    return f"Received: true {true.shape} {true.dtype}, predicted {predicted.shape} {predicted.dtype}"


def _check_classes(what: str, labels: npt.NDArray[Any], num_classes: int) -> None:
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise UserError(
            f"{what} labels of annotated pixels must be class indices 0 … {num_classes - 1}. "
            f"Received: {labels.min()} … {labels.max()}"
        )
