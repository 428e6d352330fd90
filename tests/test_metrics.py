"""The scores: values by hand, and the Keras metrics against the NumPy functions and SciPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from cytokeras.errors import UserError
from cytokeras.metrics import (
    Dice,
    MeanDistanceError,
    PixelDistanceError,
    confusion_matrix,
    dice_scores,
    pixel_distance_error,
)

labels = hnp.arrays(np.uint8, st.tuples(st.integers(2, 7), st.integers(2, 7)), elements=st.sampled_from([0, 1, 2, 255]))


def one_hot(predicted: np.ndarray, num_classes: int) -> np.ndarray:
    return np.eye(num_classes, dtype=np.float32)[predicted]


def brute_force_penalties(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, int]:
    """Penalty of every annotated pixel from all pairs of pixels, and the number of pixels of absent classes."""
    penalties, absent = [], 0
    for place in np.argwhere(true != 255):
        given = predicted[tuple(place)]
        targets = np.argwhere(true == given)
        if len(targets):
            penalties.append(cdist(place[None], targets).min())
        else:
            penalties.append(np.hypot(true.shape[0] - 1, true.shape[1] - 1))
            absent += 1
    return np.array(penalties), absent


def test_confusion_matrix_has_true_classes_in_its_rows() -> None:
    confusion = confusion_matrix([0, 0, 1, 2, 255], [0, 1, 1, 0, 2], 3)
    np.testing.assert_array_equal(confusion, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])


def test_confusion_matrix_counts_every_annotated_pixel() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 4, (50, 60)), rng.integers(0, 4, (50, 60))
    true[:10] = 255
    assert confusion_matrix(true, predicted, 4).sum() == 40 * 60


@pytest.mark.parametrize(
    ("true", "predicted"), [([0, 1], [0]), ([0, 5], [0, 1]), ([0, 1], [0, 255]), ([0.0, 1.0], [0, 1])]
)
def test_confusion_matrix_refuses_what_is_no_label(true: list, predicted: list) -> None:
    with pytest.raises(UserError):
        confusion_matrix(true, predicted, 3)


def test_dice_is_the_harmonic_mean_of_precision_and_recall() -> None:
    confusion = np.array([[6, 2], [4, 8]])
    precision, recall = 8 / 10, 8 / 12
    assert dice_scores(confusion)[1] == pytest.approx(2 / (1 / precision + 1 / recall))


def test_dice_of_a_class_that_occurs_nowhere_is_nan() -> None:
    np.testing.assert_array_equal(dice_scores([[3, 0, 0], [0, 0, 0], [0, 0, 1]]), [1.0, np.nan, 1.0])


def test_dice_of_a_class_that_is_never_hit_is_zero() -> None:
    assert dice_scores([[1, 2], [0, 0]])[1] == 0.0


@given(true=labels, seed=st.integers(0, 100))
def test_dice_is_the_same_for_exchanged_maps(true: np.ndarray, seed: int) -> None:
    predicted = np.random.default_rng(seed).integers(0, 3, true.shape)
    confusion = confusion_matrix(true, predicted, 3)
    np.testing.assert_allclose(dice_scores(confusion), dice_scores(confusion.T))


def test_pixel_distance_of_one_shifted_pixel() -> None:
    true = np.array([[0, 0, 0, 1]])
    result = pixel_distance_error(true, np.array([[1, 0, 0, 1]]), pixel_size_um=16.0)
    assert result.mean_px == pytest.approx(3 / 4)
    assert result.mean_mm == pytest.approx(3 / 4 * 0.016)
    assert result.yasnoff_percent == pytest.approx(100 * 3 / 4)
    assert result.absent_count == 0


def test_pixel_distance_of_an_absent_class_is_the_diagonal_and_counted() -> None:
    true = np.zeros((4, 5), int)
    predicted = true.copy()
    predicted[0, 0] = 2
    result = pixel_distance_error(true, predicted, pixel_size_um=16.0)
    assert result.absent_count == 1
    assert result.mean_px == pytest.approx(5.0 / 20)  # the diagonal of 4 x 5 pixels is hypot(3, 4)


def test_pixel_distance_of_a_perfect_map_is_zero() -> None:
    true = np.random.default_rng(0).integers(0, 3, (8, 8))
    result = pixel_distance_error(true, true, pixel_size_um=16.0)
    assert (result.mean_px, result.yasnoff_percent, result.absent_count) == (0.0, 0.0, 0)


def test_pixel_distance_without_annotation_is_nan() -> None:
    result = pixel_distance_error(np.full((3, 3), 255), np.zeros((3, 3), int), pixel_size_um=16.0)
    assert np.isnan(result.mean_px)


@given(true=labels, seed=st.integers(0, 100))
def test_pixel_distance_is_that_of_all_pairs_of_pixels(true: np.ndarray, seed: int) -> None:
    predicted = np.random.default_rng(seed).integers(0, 3, true.shape)
    result = pixel_distance_error(true, predicted, pixel_size_um=1000.0)
    penalties, absent = brute_force_penalties(true, predicted)
    if len(penalties):
        assert result.mean_mm == pytest.approx(penalties.mean())
        assert result.yasnoff_percent == pytest.approx(100 * np.sqrt((penalties**2).sum()) / len(penalties))
        assert result.absent_count == absent


@pytest.mark.parametrize("shape", [(3,), (2, 3, 3)])
def test_pixel_distance_takes_one_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="label images"):
        pixel_distance_error(np.zeros(shape, int), np.zeros(shape, int), 16.0)


def test_mean_distance_error_is_in_mm_and_over_all_batches() -> None:
    metric = MeanDistanceError()
    metric.update_state(np.array([10.0, 20.0]), np.array([11.0, 23.0]))
    metric.update_state(np.array([[5.0]]), np.array([3.0]))
    assert float(metric.result()) == pytest.approx(2.0)


def test_dice_metric_is_that_of_the_confusion_matrix_over_batches() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 4, (6, 5, 5)), rng.integers(0, 4, (6, 5, 5))
    true[:, 0] = 255
    metric = Dice(4, average=None)
    for part in (slice(0, 2), slice(2, 6)):
        metric.update_state(true[part], one_hot(predicted[part], 4))
    np.testing.assert_allclose(metric.result(), dice_scores(confusion_matrix(true, predicted, 4)), rtol=1e-5)


def test_dice_metric_leaves_classes_out_that_occur_nowhere() -> None:
    metric = Dice(5)
    metric.update_state(np.array([[[0, 1]]]), one_hot(np.array([[[0, 1]]]), 5))
    assert float(metric.result()) == 1.0


def test_dice_metric_of_chosen_classes() -> None:
    metric = Dice(3, classes=(1,))
    metric.update_state(np.array([[[0, 1, 1, 2]]]), one_hot(np.array([[[0, 1, 2, 2]]]), 3))
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_dice_metric_before_any_pixel_is_nan() -> None:
    assert np.isnan(float(Dice(3).result()))


def test_dice_metric_forgets_when_reset() -> None:
    metric = Dice(2)
    metric.update_state(np.array([[[0]]]), one_hot(np.array([[[1]]]), 2))
    metric.reset_state()
    metric.update_state(np.array([[[0]]]), one_hot(np.array([[[0]]]), 2))
    assert float(metric.result()) == 1.0


@settings(deadline=None, max_examples=20)
@given(true=labels, seed=st.integers(0, 100))
def test_pixel_distance_metric_is_that_of_the_function(true: np.ndarray, seed: int) -> None:
    predicted = np.random.default_rng(seed).integers(0, 3, true.shape)
    expected = pixel_distance_error(true, predicted, pixel_size_um=16.0)
    for form, number in (("mean", expected.mean_px), ("yasnoff", expected.yasnoff_percent)):
        metric = PixelDistanceError(3, form=form)
        metric.update_state(true[None], one_hot(predicted, 3)[None])
        assert float(metric.result()) == pytest.approx(number, rel=1e-4, nan_ok=True)
        assert int(metric.absent) == expected.absent_count


def test_pixel_distance_metric_averages_over_patches() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, (3, 6, 6)), rng.integers(0, 3, (3, 6, 6))
    metric = PixelDistanceError(3)
    metric.update_state(true, one_hot(predicted, 3))
    each = [pixel_distance_error(one, two, 16.0).mean_px for one, two in zip(true, predicted, strict=True)]
    assert float(metric.result()) == pytest.approx(np.mean(each), rel=1e-4)


@pytest.mark.parametrize(
    "metric",
    [MeanDistanceError(), Dice(4, average=None, classes=(1, 2)), PixelDistanceError(4, form="yasnoff")],
)
def test_metrics_survive_serialization(metric: keras.Metric) -> None:
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(other) is type(metric)
    assert other.get_config() == metric.get_config()


@pytest.mark.parametrize(
    "build",
    [lambda: Dice(3, average="micro"), lambda: Dice(3, classes=(3,)), lambda: PixelDistanceError(3, form="max")],
)
def test_metrics_refuse_arguments_outside_their_range(build) -> None:
    with pytest.raises(UserError):
        build()


def test_metrics_run_inside_a_graph() -> None:
    model = keras.Sequential([keras.Input((4, 5, 3)), keras.layers.Conv2D(3, 1, activation="softmax")])
    model.compile(loss="sparse_categorical_crossentropy", metrics=[Dice(3), PixelDistanceError(3)])
    rng = np.random.default_rng(0)
    images, true = rng.random((2, 4, 5, 3)), rng.integers(0, 3, (2, 4, 5))
    result = model.evaluate(images, true, verbose=0, return_dict=True)
    predicted = model.predict(images, verbose=0).argmax(-1)
    each = [pixel_distance_error(one, two, 16.0).mean_px for one, two in zip(true, predicted, strict=True)]
    assert result["pixel_distance_error"] == pytest.approx(np.mean(each), rel=1e-4)
    assert result["dice"] == pytest.approx(np.nanmean(dice_scores(confusion_matrix(true, predicted, 3))), rel=1e-4)
