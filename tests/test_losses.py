"""The losses: values by hand, gradients by finite differences."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.losses import (
    CoordinateLoss,
    DistanceLoss,
    MaskedCategoricalCrossentropy,
    ScaledAbsoluteError,
    SpatialContrastiveLoss,
    siamese_losses,
)

RNG = np.random.default_rng(0)


def value(loss: keras.Loss, true, predicted) -> float:
    return float(loss(np.asarray(true), np.asarray(predicted, np.float32)))


def gradient(loss: keras.Loss, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Slopes of the mean loss, in double precision."""
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("gradients are taken with the TensorFlow backend")
    tensor = tf.constant(predicted, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        result = tf.reduce_mean(loss.call(tf.constant(true), tensor))
    return tape.gradient(result, tensor).numpy()


def finite_differences(loss: keras.Loss, true: np.ndarray, predicted: np.ndarray, step: float = 1e-6) -> np.ndarray:
    slopes = np.zeros_like(predicted)
    for index in np.ndindex(predicted.shape):
        shift = np.zeros_like(predicted)
        shift[index] = step
        higher, lower = (np.mean(loss.call(true, predicted + sign * shift)) for sign in (1, -1))
        slopes[index] = (higher - lower) / (2 * step)
    return slopes


def test_distance_loss_is_the_mean_absolute_difference() -> None:
    assert value(DistanceLoss(), [10.0, 20.0], [13.0, 19.0]) == pytest.approx(2.0)


def test_distance_loss_is_divided_by_its_scale() -> None:
    assert value(DistanceLoss(scale_mm=50.0), [10.0, 20.0], [13.0, 19.0]) == pytest.approx(0.04)


def test_distance_loss_does_not_broadcast_a_column_of_targets() -> None:
    # (B, 1) - (B,) would compare every pair with every other.
    assert value(DistanceLoss(), [[10.0], [20.0]], [10.0, 20.0]) == 0.0


def test_coordinate_loss_sums_over_x_y_z_and_averages_over_patches() -> None:
    true, predicted = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], [[1.0, -2.0, 3.0], [1.0, 1.0, 1.0]]
    assert value(CoordinateLoss(), true, predicted) == pytest.approx(3.0)


def test_coordinate_loss_is_divided_by_its_scale() -> None:
    assert value(CoordinateLoss(scale_mm=2.0), [[0.0, 0.0, 0.0]], [[1.0, 2.0, 3.0]]) == pytest.approx(3.0)


def test_crossentropy_of_one_pixel_is_minus_the_log_of_its_probability() -> None:
    loss = value(MaskedCategoricalCrossentropy(), [[[1]]], [[[[0.2, 0.5, 0.3]]]])
    assert loss == pytest.approx(np.log(2.0))


def test_crossentropy_averages_over_annotated_pixels_alone() -> None:
    probabilities = np.full((2, 2, 2, 4), 0.25, np.float32)
    labels = np.full((2, 2, 2), 255, np.uint8)
    labels[0, 0, 1] = 3
    assert value(MaskedCategoricalCrossentropy(), labels, probabilities) == pytest.approx(np.log(4.0))


def test_crossentropy_agrees_with_keras_where_all_is_annotated() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), (2, 3, 3)).astype(np.float32)
    labels = rng.integers(0, 5, (2, 3, 3))
    expected = value(keras.losses.SparseCategoricalCrossentropy(), labels, probabilities)
    assert value(MaskedCategoricalCrossentropy(), labels, probabilities) == pytest.approx(expected, rel=1e-5)


def test_crossentropy_without_annotation_is_zero() -> None:
    labels = np.full((1, 2, 2), 255, np.uint8)
    assert value(MaskedCategoricalCrossentropy(), labels, np.full((1, 2, 2, 3), 1 / 3)) == 0.0


def test_crossentropy_of_a_label_that_is_no_class_is_nan() -> None:
    assert np.isnan(value(MaskedCategoricalCrossentropy(), [[[7]]], [[[[0.5, 0.5]]]]))


def test_crossentropy_is_finite_for_a_probability_of_zero() -> None:
    assert np.isfinite(value(MaskedCategoricalCrossentropy(), [[[0]]], [[[[0.0, 1.0]]]]))


def test_crossentropy_takes_sample_weights_by_pixel() -> None:
    loss = MaskedCategoricalCrossentropy()
    labels = np.array([[[0, 1]]])
    probabilities = np.array([[[[0.5, 0.5], [0.75, 0.25]]]], np.float32)
    weighted = float(loss(labels, probabilities, sample_weight=np.array([[[1.0, 0.0]]])))
    assert weighted == pytest.approx(np.log(2.0) / 2)


@pytest.mark.parametrize(
    ("loss", "true", "predicted"),
    [
        (DistanceLoss(scale_mm=3.0), np.array([1.0, 5.0]), np.array([2.0, 3.0])),
        (CoordinateLoss(scale_mm=3.0), np.zeros((2, 3)), np.array([[1.0, -2.0, 3.0], [-1.0, 0.5, 4.0]])),
        (ScaledAbsoluteError(scale=0.2), np.array([0.1, -0.3]), np.array([0.15, 0.05])),
        (
            SpatialContrastiveLoss(target_temperature_mm=30.0, temperature=0.5),
            RNG.normal(size=(3, 7)) * 30,
            RNG.normal(size=(3, 2, 4)),
        ),
        (
            MaskedCategoricalCrossentropy(),
            np.array([[[0, 255], [2, 1]]]),
            RNG.dirichlet(np.ones(3) * 5, (1, 2, 2)),
        ),
    ],
    ids=["distance", "coordinates", "scaled", "contrast", "crossentropy"],
)
def test_gradients_are_those_of_finite_differences(loss, true, predicted) -> None:
    expected = finite_differences(loss, true, predicted)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(gradient(loss, true, predicted), expected, rtol=1e-6, atol=1e-8)


def test_pixels_without_annotation_have_no_gradient() -> None:
    probabilities = np.full((1, 1, 2, 2), 0.5)
    slopes = gradient(MaskedCategoricalCrossentropy(), np.array([[[255, 0]]]), probabilities)
    np.testing.assert_array_equal(slopes[0, 0, 0], [0.0, 0.0])


def test_siamese_losses_have_the_weights_of_equation_3() -> None:
    compiled = siamese_losses(alpha=10.0)
    assert compiled["loss_weights"] == {"distance": 1.0, "coordinates_a": 10.0, "coordinates_b": 10.0}


def test_siamese_losses_share_their_scale() -> None:
    assert {loss.scale_mm for loss in siamese_losses(scale_mm=50.0)["loss"].values()} == {50.0}


@pytest.mark.parametrize(
    "arguments",
    [
        {"alpha": -1.0},
        {"alpha": 0.0, "distance_weight": 0.0},
        {"alpha": 0.0, "distance_weight": 0.0, "auxiliary": {"contrast": 0.0}},
        {"scale_mm": 0.0},
        {"auxiliary": {"curvature": -1.0}},
        {"auxiliary": ("curvature", "curvature")},
    ],
)
def test_siamese_losses_refuse_weights_that_train_nothing(arguments: dict) -> None:
    with pytest.raises(UserError):
        siamese_losses(**arguments)


def test_scaled_absolute_error_is_divided_by_its_scale_and_does_not_broadcast() -> None:
    assert value(ScaledAbsoluteError(0.2), [[0.1], [0.3]], [0.2, 0.3]) == pytest.approx(0.25)


def test_auxiliary_losses_have_the_weights_given() -> None:
    compiled = siamese_losses(alpha=0.0, distance_weight=0.0, auxiliary={"contrast": 0.5, "curvature": 2.0})
    weights = {"contrast": 0.5, "curvature_a": 2.0, "curvature_b": 2.0}
    assert {name: weight for name, weight in compiled["loss_weights"].items() if weight} == weights
    assert set(compiled["loss"]) == set(compiled["loss_weights"])


def test_auxiliary_losses_weigh_one_where_only_named() -> None:
    assert siamese_losses(auxiliary=["obliqueness"])["loss_weights"]["obliqueness_b"] == 1.0


def test_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no task 'curvatur'\. Did you mean 'curvature'"):
        siamese_losses(auxiliary=("curvatur",))


@pytest.mark.parametrize(
    "loss",
    [
        DistanceLoss(7.0),
        CoordinateLoss(7.0),
        MaskedCategoricalCrossentropy(ignore_class=99),
        ScaledAbsoluteError(0.3),
        SpatialContrastiveLoss(5.0, 0.2),
    ],
)
def test_losses_survive_serialization(loss: keras.Loss) -> None:
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(other) is type(loss)
    assert other.get_config() == loss.get_config()
