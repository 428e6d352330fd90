"""Keras metrics of both networks; beside them the NumPy functions for whole label images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from cytokeras._scores import (
    PixelDistance,
    confusion_matrix,
    dice_scores,
    image_diagonal,
    pixel_distance_error,
)
from cytokeras.errors import UserError

__all__ = [
    "Dice",
    "MeanDistanceError",
    "PixelDistance",
    "PixelDistanceError",
    "confusion_matrix",
    "dice_scores",
    "pixel_distance_error",
]


@keras.saving.register_keras_serializable(package="cytokeras")
class MeanDistanceError(keras.metrics.Mean):
    """Mean absolute difference of predicted and true distances in mm: err_dist of Spitzer et al. 2018.

    Compare it with the error of the best constant guess (the mean absolute deviation of the true distances
    from their median): a network that has collapsed is no better.

    Args:
        name: Name of the metric.
        dtype: Dtype of its computation.

    Shape:
        ``y_true`` (B,) or (B, 1) mm, ``y_pred`` (B,) mm.
    """

    def __init__(self, name: str = "mean_distance_error", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of pairs."""
        y_pred = ops.cast(y_pred, self.dtype)
        y_true = ops.reshape(ops.cast(y_true, self.dtype), ops.shape(y_pred))
        super().update_state(ops.abs(y_pred - y_true), sample_weight=sample_weight)


@keras.saving.register_keras_serializable(package="cytokeras")
class Dice(keras.metrics.Metric):
    """Dice score of the confusion matrix over all annotated pixels seen: harmonic mean of precision and
    recall.

    A class that is neither true nor predicted anywhere is NaN and left out of the macro average.

    Args:
        num_classes: Number of classes.
        ignore_class: Label of pixels without annotation.
        average: ``"macro"`` for the mean over classes (one number), None for the score of each class.
        classes: Indices of the classes that are averaged or listed, for example the areas alone; None is all.
        name: Name of the metric.
        dtype: Dtype of the counts.

    Shape:
        ``y_true`` (B, h, w) or (B, h, w, 1) whole numbers, ``y_pred`` (B, h, w, num_classes) probabilities;
        sample weights broadcast against (B, h, w). The result is a number, or (len(classes),).

    Raises:
        UserError: ``average`` is neither of the two, or ``classes`` names no class.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: int = 255,
        average: str | None = "macro",
        classes: Sequence[int] | None = None,
        name: str = "dice",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if average not in ("macro", None):
            raise UserError(f"average must be 'macro' or None. Received: average={average!r}")
        chosen = list(range(num_classes)) if classes is None else [int(index) for index in classes]
        if not chosen or min(chosen) < 0 or max(chosen) >= num_classes:
            raise UserError(f"classes must be indices 0 … {num_classes - 1}. Received: classes={classes}")
        self.num_classes = int(num_classes)
        self.ignore_class = int(ignore_class)
        self.average = average
        self.classes = tuple(chosen)
        # Counts beyond 2^24 in float32 are rounded by a relative 6e-8, which no score shows.
        self.confusion = self.add_weight(shape=(num_classes, num_classes), initializer="zeros", name="confusion")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of label maps."""
        labels, given, weights = _labels_and_weights(y_true, y_pred, self.ignore_class, self.dtype)
        if sample_weight is not None:
            weights = weights * ops.cast(sample_weight, self.dtype)
        true = ops.one_hot(ops.reshape(labels, (-1,)), self.num_classes, dtype=self.dtype)
        predicted = ops.one_hot(ops.reshape(given, (-1,)), self.num_classes, dtype=self.dtype)
        true = true * ops.reshape(weights, (-1, 1))
        self.confusion.assign_add(ops.matmul(ops.transpose(true), predicted))

    def result(self) -> Any:
        """Macro average or scores of the classes."""
        hits = ops.diagonal(self.confusion)
        marked = ops.sum(self.confusion, axis=0) + ops.sum(self.confusion, axis=1)
        chosen = ops.convert_to_tensor(self.classes, dtype="int32")
        seen = ops.take(ops.cast(marked > 0, self.dtype), chosen)
        scores = ops.take(ops.divide_no_nan(2.0 * hits, marked), chosen)
        if self.average is None:
            return ops.where(seen > 0, scores, float("nan"))
        count = ops.sum(seen)
        return ops.where(count > 0, ops.divide_no_nan(ops.sum(scores * seen), count), float("nan"))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "average": self.average,
            "classes": list(self.classes),
        }


@keras.saving.register_keras_serializable(package="cytokeras")
class PixelDistanceError(keras.metrics.Metric):
    """Distance of misclassified pixels to the nearest pixel that truly has the class they were given.

    err_seg of Spitzer et al. 2018, section 3, in output pixels, with the patch in the place of the section: a
    class that is absent from the patch costs the diagonal of the patch, however near it is in the section. It
    therefore follows the progress of training; ``pixel_distance_error`` on whole sections gives the numbers
    to report. Exact, and computed inside the graph on every backend.

    Args:
        num_classes: Number of classes.
        ignore_class: Label of pixels without annotation.
        form: ``"mean"`` for the mean penalty of an annotated pixel in output pixels, ``"yasnoff"`` for
            ``100 * sqrt(sum d²) / N`` (Yasnoff, Mui and Bacus 1977).
        name: Name of the metric.
        dtype: Dtype of its computation.

    Shape:
        ``y_true`` (B, h, w) or (B, h, w, 1) whole numbers, ``y_pred`` (B, h, w, num_classes) probabilities;
        sample weights are not supported.

    Raises:
        UserError: ``form`` is neither of the two.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: int = 255,
        form: str = "mean",
        name: str = "pixel_distance_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if form not in ("mean", "yasnoff"):
            raise UserError(f"form must be 'mean' or 'yasnoff'. Received: form={form!r}")
        self.num_classes = int(num_classes)
        self.ignore_class = int(ignore_class)
        self.form = form
        self.penalty = self.add_weight(shape=(), initializer="zeros", name="penalty")
        self.squared_penalty = self.add_weight(shape=(), initializer="zeros", name="squared_penalty")
        self.pixels = self.add_weight(shape=(), initializer="zeros", name="pixels")
        self.absent = self.add_weight(shape=(), initializer="zeros", name="absent")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of label maps."""
        if sample_weight is not None:
            raise UserError("PixelDistanceError has no sample weights; list it in metrics, not weighted_metrics.")
        labels, given, annotated = _labels_and_weights(y_true, y_pred, self.ignore_class, self.dtype)
        height, width = int(y_pred.shape[1]), int(y_pred.shape[2])
        truly = ops.one_hot(labels, self.num_classes, dtype=self.dtype) * ops.expand_dims(annotated, -1)
        squared = _squared_distances(truly, float(height**2 + width**2))
        squared = ops.sum(squared * ops.one_hot(given, self.num_classes, dtype=self.dtype), axis=-1)
        is_absent = ops.cast(squared >= height**2 + width**2, self.dtype)
        diagonal = image_diagonal((height, width))
        squared = annotated * (squared * (1.0 - is_absent) + diagonal**2 * is_absent)
        self.penalty.assign_add(ops.sum(ops.sqrt(squared)))
        self.squared_penalty.assign_add(ops.sum(squared))
        self.pixels.assign_add(ops.sum(annotated))
        self.absent.assign_add(ops.sum(annotated * is_absent))

    def result(self) -> Any:
        """The error over all annotated pixels seen; NaN without any."""
        total = ops.sqrt(self.squared_penalty) * 100.0 if self.form == "yasnoff" else self.penalty
        return ops.where(self.pixels > 0, ops.divide_no_nan(total, self.pixels), float("nan"))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "form": self.form,
        }


def _labels_and_weights(y_true: Any, y_pred: Any, ignore_class: int, dtype: str) -> tuple[Any, Any, Any]:
    """True labels with 0 where not annotated, predicted labels (both int32), and 1 where annotated; (B, h,
    w)."""
    labels = ops.cast(ops.reshape(y_true, ops.shape(y_pred)[:-1]), "int32")
    annotated = ops.not_equal(labels, ignore_class)
    given = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
    return ops.where(annotated, labels, 0), given, ops.cast(annotated, dtype)


def _squared_distances(truly: Any, unreached: float) -> Any:
    """Squared distance of every pixel to the nearest pixel of each class, exact, in pixels².

    Args:
        truly: (B, h, w, C), 1 where the pixel has the class, 0 elsewhere.
        unreached: Value for a class that the image does not have; above every squared distance of the image.

    Returns:
        (B, h, w, C). The minimum over a column first, then over a row, is the minimum over the image.
    """
    squared = (1.0 - truly) * unreached
    for axis in (1, 2):
        squared = _nearest_along(squared, axis)
    return ops.minimum(squared, unreached)


def _nearest_along(squared: Any, axis: int) -> Any:
    """For every pixel the minimum over the pixels k of its line of ``squared[k] + (distance to k)²``."""
    length = int(squared.shape[axis])
    shape = [length if place == axis else 1 for place in range(4)]
    places = ops.reshape(ops.arange(length, dtype=squared.dtype), shape)

    def add_source(k: Any, nearest: Any) -> Any:
        source = ops.expand_dims(ops.take(squared, k, axis=axis), axis)
        return ops.minimum(nearest, source + ops.square(places - ops.cast(k, squared.dtype)))

    # A table of all pairs of pixels of a line would take `length` times the memory of this loop.
    return ops.fori_loop(0, length, add_source, squared)
