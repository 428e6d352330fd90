"""The losses of both networks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cytokeras.errors import UserError

# Below this a float32 probability is treated as this; log(1e-30) = -69, and its gradient 1e30 is still
# finite.
_SMALLEST_PROBABILITY = 1e-30


@keras.saving.register_keras_serializable(package="cytokeras")
class DistanceLoss(keras.losses.Loss):
    """Absolute difference of predicted and true distance along the cortex, Spitzer et al. 2018, eq. 1.

    ``l_dist = | ||f(x1) - f(x2)||² - y_dist |``, where the network's output is the squared distance already.

    Args:
        scale_mm: Millimetres that count as a loss of 1. The paper states no unit; with 1 the loss is in mm.
        name: Name of the loss.
        reduction: As for every Keras loss.

    Shape:
        ``y_true`` (B,) or (B, 1) mm, ``y_pred`` (B,) mm; the loss before reduction is (B,).

    Example:
        >>> float(DistanceLoss(scale_mm=10.0)(np.array([30.0]), np.array([25.0])))
        0.5
    """

    def __init__(
        self, scale_mm: float = 1.0, name: str = "distance_loss", reduction: str = "sum_over_batch_size"
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self.scale_mm = _positive_scale(scale_mm)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every pair, (B,)."""
        # Without the reshape (B, 1) - (B,) would silently become (B, B).
        return ops.abs(y_pred - ops.reshape(y_true, ops.shape(y_pred))) / self.scale_mm

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "scale_mm": self.scale_mm}


@keras.saving.register_keras_serializable(package="cytokeras")
class CoordinateLoss(keras.losses.Loss):
    """Sum of the absolute differences of the coordinates of a patch, Spitzer et al. 2018, eq. 2.

    ``l_coord = || d(f(x)) - y_coord ||_1``; y_coord is the place on the inflated surface.

    Args:
        scale_mm: Millimetres that count as a loss of 1. The paper states no unit; with 1 the loss is in mm.
        name: Name of the loss.
        reduction: As for every Keras loss.

    Shape:
        ``y_true`` and ``y_pred`` (B, 3) mm; the loss before reduction is (B,).
    """

    def __init__(
        self, scale_mm: float = 1.0, name: str = "coordinate_loss", reduction: str = "sum_over_batch_size"
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self.scale_mm = _positive_scale(scale_mm)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every patch, (B,)."""
        return ops.sum(ops.abs(y_pred - y_true), axis=-1) / self.scale_mm

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "scale_mm": self.scale_mm}


def siamese_losses(
    alpha: float = 10.0, scale_mm: float = 1.0, *, distance_weight: float = 1.0
) -> dict[str, dict[str, Any]]:
    """Losses and loss weights of a ``SiameseDistanceNet``, to be passed to ``compile``.

    Spitzer et al. 2018, eq. 3: ``L = l_dist + alpha (l_coord(x1) + l_coord(x2)) + lambda ||w||²``. The last
    term is the network's own (its argument ``weight_decay``, 0.001 in the paper).

    Args:
        alpha: Weight of the coordinate losses, 10 in the paper; 0 trains with distances alone.
        scale_mm: Millimetres that count as a loss of 1, in all three losses. The paper states no unit; the
            scale decides how strong the gradients and the L2 term are.
        distance_weight: Weight of the distance loss; 0 trains with coordinates alone, as an ablation of the
            paper.

    Returns:
        ``{"loss": {...}, "loss_weights": {...}}``.

    Raises:
        UserError: A weight is negative, both are 0, or the scale is not positive.

    Example:
        >>> siamese_losses(alpha=10.0, scale_mm=50.0)["loss_weights"]
        {'distance': 1.0, 'coordinates_a': 10.0, 'coordinates_b': 10.0}
    """
    if alpha < 0 or distance_weight < 0 or alpha + distance_weight == 0:
        raise UserError(
            "alpha and distance_weight must not be negative, nor both 0. "
            f"Received: alpha={alpha}, distance_weight={distance_weight}"
        )
    return {
        "loss": {
            "distance": DistanceLoss(scale_mm),
            "coordinates_a": CoordinateLoss(scale_mm),
            "coordinates_b": CoordinateLoss(scale_mm),
        },
        "loss_weights": {
            "distance": float(distance_weight),
            "coordinates_a": float(alpha),
            "coordinates_b": float(alpha),
        },
    }


@keras.saving.register_keras_serializable(package="cytokeras")
class MaskedCategoricalCrossentropy(keras.losses.Loss):
    """Cross-entropy of class probabilities, averaged over the annotated pixels of the batch.

    Pixels without annotation take no part (not stated in the paper). A batch without any annotated pixel has
    a loss of 0. A label that is neither a class nor ``ignore_class`` makes the loss NaN. The sum over all
    pixels, or the values of single pixels, would depend on how much is annotated, so other reductions are not
    offered.

    Args:
        ignore_class: Label of pixels without annotation.
        name: Name of the loss.

    Shape:
        ``y_true`` (B, h, w) or (B, h, w, 1) whole numbers, ``y_pred`` (B, h, w, C) probabilities 0 … 1;
        sample weights broadcast against (B, h, w).
    """

    def __init__(self, ignore_class: int = 255, name: str = "masked_categorical_crossentropy") -> None:
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.ignore_class = int(ignore_class)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every pixel (B, h, w), scaled so that the mean over all pixels is that over the annotated ones."""
        num_classes = y_pred.shape[-1]
        labels = ops.cast(ops.reshape(y_true, ops.shape(y_pred)[:-1]), "int32")
        annotated = ops.not_equal(labels, self.ignore_class)
        is_class = ops.logical_and(labels >= 0, labels < num_classes)
        chosen = ops.one_hot(ops.where(is_class, labels, 0), num_classes, dtype=y_pred.dtype)
        probability = ops.sum(chosen * y_pred, axis=-1)
        loss = -ops.log(ops.maximum(probability, _SMALLEST_PROBABILITY))
        loss = ops.where(annotated, loss, 0.0)
        loss = ops.where(ops.logical_and(annotated, ops.logical_not(is_class)), float("nan"), loss)
        share = _mean_over_replicas(ops.cast(annotated, loss.dtype))
        return loss / ops.where(share > 0, share, 1.0)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"ignore_class": self.ignore_class, "name": self.name}


def _mean_over_replicas(values: Any) -> Any:
    """Mean over the whole batch, also where ``tf.distribute`` has given a part of it to each device."""
    axes = tuple(range(len(values.shape)))
    return ops.moments(values, axes, synchronized=keras.backend.backend() == "tensorflow")[0]


def _positive_scale(scale_mm: float) -> float:
    if not scale_mm > 0:
        raise UserError(f"scale_mm must be positive. Received: scale_mm={scale_mm}")
    return float(scale_mm)
