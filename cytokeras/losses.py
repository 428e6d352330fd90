"""The losses of both networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from cytokeras._auxiliary_tasks import CONTRAST, PLACE_TASKS, auxiliary_weights, outputs_of
from cytokeras.errors import UserError

# Below this a float32 probability is treated as this; log(1e-30) = -69, and its gradient 1e30 is still
# finite.
_SMALLEST_PROBABILITY = 1e-30

_SMALLEST_SQUARE = 1e-12  # of the length of a feature vector; shorter ones are as good as zero


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
        self.scale_mm = _positive(scale_mm, "scale_mm")

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
        self.scale_mm = _positive(scale_mm, "scale_mm")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every patch, (B,)."""
        return ops.sum(ops.abs(y_pred - y_true), axis=-1) / self.scale_mm

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "scale_mm": self.scale_mm}


@keras.saving.register_keras_serializable(package="cytokeras")
class ScaledAbsoluteError(keras.losses.Loss):
    """Absolute difference of one number a patch, in a unit of its own: curvature or obliqueness of its place.

    Args:
        scale: Difference that counts as a loss of 1, in the unit of the targets.
        name: Name of the loss.
        reduction: As for every Keras loss.

    Shape:
        ``y_true`` (B,) or (B, 1), ``y_pred`` (B,) or (B, 1); the loss before reduction has the shape of ``y_pred``.
    """

    def __init__(
        self, scale: float = 1.0, name: str = "scaled_absolute_error", reduction: str = "sum_over_batch_size"
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self.scale = _positive(scale, "scale")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every patch, in the shape of ``y_pred``."""
        return ops.abs(y_pred - ops.reshape(y_true, ops.shape(y_pred))) / self.scale

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="cytokeras")
class SpatialContrastiveLoss(keras.losses.Loss):
    """Patches from near places shall have similar features, all others of the batch dissimilar ones.

    Every one of the 2B patches of a batch is compared with the 2B - 1 others. With the cosine similarity s of two
    feature vectors and the distance d of their places, the loss of patch i is the cross-entropy of two
    distributions over the others, averaged over the two patches of a pair::

        target_ij    = softmax_j(-d_ij / target_temperature_mm)
        predicted_ij = softmax_j( s_ij / temperature)
        loss_i       = -sum_j target_ij log predicted_ij

    That is InfoNCE (van den Oord et al. 2018) with distance-weighted instead of chosen positives; where all but
    one target vanish it is InfoNCE itself. Equal features give log(2B - 1), the smallest value is the entropy of
    the targets.

    The two patches of a pair have their distance along the cortex. Of all others the batch has only the places on
    the inflated surface, so their distance is the straight one there, which is shorter. These places are in
    one frame, with the right hemisphere mirrored: mirrored places of the two hemispheres count as near. Under
    ``tf.distribute`` every replica compares the patches of its own share.

    Args:
        target_temperature_mm: Distance in mm over which the target falls to 1/e. Not from a paper: 10 mm is about
            the distance of nearest neighbours among the 64 patches of a batch of 32 pairs.
        temperature: Temperature of the cosine similarities.
        name: Name of the loss.
        reduction: As for every Keras loss.

    Shape:
        ``y_true`` (B, 1 + 2C): the distance of the two places along the cortex, C coordinates of the first and C of
        the second, all in mm. ``y_pred`` (B, 2, F): features of the first and the second patch. The loss before
        reduction is (B,).

    Example:
        >>> places = np.array([[5.0, 0, 0, 0, 3, 4, 0], [5.0, 90, 0, 0, 93, 4, 0]])
        >>> round(float(SpatialContrastiveLoss()(places, np.ones((2, 2, 32)))), 4)  # equal features: log(3)
        1.0986

    Reference:
        Van den Oord, Li, Vinyals. Representation Learning with Contrastive Predictive Coding. 2018.

        Contrastive learning of cytoarchitecture, with positives from areas instead of distances: Schiffer, Amunts,
        Harmeling, Dickscheid. Contrastive Representation Learning for Whole Brain Cytoarchitectonic Mapping in
        Histological Human Brain Sections. ISBI 2021.
    """

    def __init__(
        self,
        target_temperature_mm: float = 10.0,
        temperature: float = 0.1,
        name: str = "spatial_contrastive_loss",
        reduction: str = "sum_over_batch_size",
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self.target_temperature_mm = _positive(target_temperature_mm, "target_temperature_mm")
        self.temperature = _positive(temperature, "temperature")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every pair, (B,)."""
        count = 2 * ops.shape(y_pred)[0]
        features = ops.concatenate([y_pred[:, 0], y_pred[:, 1]], axis=0)
        squared_length = ops.sum(ops.square(features), axis=-1, keepdims=True)
        features = features * ops.rsqrt(ops.maximum(squared_length, _SMALLEST_SQUARE))
        similarity = ops.matmul(features, ops.transpose(features)) / self.temperature
        number = ops.arange(count)
        itself = ops.equal(number[:, None], number[None, :])
        partner = ops.equal(number[:, None], (number[None, :] + count // 2) % count)
        closeness = -_batch_distances_mm(y_true, partner) / self.target_temperature_mm
        target = ops.softmax(ops.where(itself, -float("inf"), closeness), axis=-1)
        # Finite, as 0 times infinity would be NaN; far below every similarity.
        predicted = ops.log_softmax(ops.where(itself, -1e9, similarity), axis=-1)
        loss = -ops.sum(target * predicted, axis=-1)
        return ops.mean(ops.reshape(loss, (2, -1)), axis=0)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        temperatures = {"target_temperature_mm": self.target_temperature_mm, "temperature": self.temperature}
        return {**super().get_config(), **temperatures}


def _batch_distances_mm(targets: Any, partner: Any) -> Any:
    """Distances of all places of a batch, (2B, 2B) mm, the first places of the pairs before the second ones.

    Args:
        targets: (B, 1 + 2C) as ``SpatialContrastiveLoss`` has them.
        partner: (2B, 2B), True where row and column are the two places of one pair.
    """
    dimensions = (int(targets.shape[-1]) - 1) // 2
    places = ops.concatenate([targets[:, 1 : 1 + dimensions], targets[:, 1 + dimensions :]], axis=0)
    straight = ops.sqrt(ops.sum(ops.square(places[:, None] - places[None, :]), axis=-1))
    along = ops.concatenate([targets[:, 0], targets[:, 0]], axis=0)
    return ops.where(partner, along[:, None], straight)


def siamese_losses(
    alpha: float = 10.0,
    scale_mm: float = 1.0,
    *,
    distance_weight: float = 1.0,
    auxiliary: Mapping[str, float] | Iterable[str] = (),
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
        auxiliary: Further tasks, each with the weight of its loss (names alone: 1): ``"curvature"`` and
            ``"obliqueness"`` of both places, of which 0.2/mm and 20° count as a loss of 1, and ``"contrast"``, a
            ``SpatialContrastiveLoss``. Not in eq. 3; the network has to be built with them, and its targets come
            from ``pair_dataset(..., auxiliary=net.auxiliary)``.

    Returns:
        ``{"loss": {...}, "loss_weights": {...}}``.

    Raises:
        UserError: A weight is negative, all are 0, the scale is not positive, or a task is unknown.

    Example:
        >>> siamese_losses(alpha=10.0, scale_mm=50.0)["loss_weights"]
        {'distance': 1.0, 'coordinates_a': 10.0, 'coordinates_b': 10.0}
    """
    weights = auxiliary_weights(auxiliary)
    if alpha < 0 or distance_weight < 0 or alpha + distance_weight + sum(weights.values()) == 0:
        raise UserError(
            "alpha and distance_weight must not be negative, nor both 0. "
            f"Received: alpha={alpha}, distance_weight={distance_weight}"
        )
    losses: dict[str, keras.Loss] = {
        "distance": DistanceLoss(scale_mm),
        "coordinates_a": CoordinateLoss(scale_mm),
        "coordinates_b": CoordinateLoss(scale_mm),
    }
    loss_weights = {
        "distance": float(distance_weight),
        "coordinates_a": float(alpha),
        "coordinates_b": float(alpha),
    }
    for task, weight in weights.items():
        for output in outputs_of(task):
            losses[output] = (
                SpatialContrastiveLoss() if task == CONTRAST else ScaledAbsoluteError(PLACE_TASKS[task].scale)
            )
            loss_weights[output] = weight
    return {"loss": losses, "loss_weights": loss_weights}


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


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise UserError(f"{name} must be positive. Received: {name}={value}")
    return float(value)
