"""Learning rates: those of the paper, and the optimizer with a rate per branch."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.training import BranchRates, halved_at, halved_every, warmup_cosine


def rate(schedule, step: int) -> float:
    return float(schedule(step))


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.01), (2, 0.01), (3, 0.005), (6, 0.0025), (15, 0.01 / 32)])
def test_siamese_rate_halves_every_3_epochs(epoch: int, expected: float) -> None:
    schedule = halved_every(3, initial_rate=0.01, steps_per_epoch=100)
    assert rate(schedule, 100 * epoch) == pytest.approx(expected)
    assert rate(schedule, 100 * epoch + 99) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.05), (2999, 0.05), (3000, 0.025), (4999, 0.025), (5000, 0.0125), (6000, 0.00625), (8000, 0.00625)],
)
def test_segmentation_rate_halves_at_3k_5k_6k(step: int, expected: float) -> None:
    assert rate(halved_at(initial_rate=0.05), step) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (5, 0.05), (10, 0.1), (60, 0.05), (110, 0.0), (500, 0.0)])
def test_warmup_cosine_rises_to_its_peak_and_falls_to_zero(step: int, expected: float) -> None:
    schedule = warmup_cosine(0.1, warmup_steps=10, total_steps=110)
    assert rate(schedule, step) == pytest.approx(expected, abs=1e-7)


def test_warmup_cosine_ends_at_its_final_fraction() -> None:
    schedule = warmup_cosine(0.1, warmup_steps=10, total_steps=110, final_fraction=0.2)
    assert rate(schedule, 110) == pytest.approx(0.02)


@pytest.mark.parametrize(
    "build",
    [
        lambda: halved_every(0, steps_per_epoch=10),
        lambda: halved_every(3, steps_per_epoch=0),
        lambda: halved_at((5000, 3000)),
        lambda: halved_at(()),
        lambda: halved_at(initial_rate=-1.0),
        lambda: warmup_cosine(0.1, warmup_steps=10, total_steps=10),
        lambda: warmup_cosine(0.1, warmup_steps=1, total_steps=10, final_fraction=2.0),
    ],
)
def test_schedules_refuse_arguments_outside_their_range(build) -> None:
    with pytest.raises(UserError):
        build()


@pytest.mark.parametrize(
    "schedule",
    [halved_every(3, steps_per_epoch=10), halved_at(), warmup_cosine(0.1, warmup_steps=1, total_steps=9)],
)
def test_schedules_survive_serialization(schedule) -> None:
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [rate(other, step) for step in range(0, 90, 7)] == [rate(schedule, step) for step in range(0, 90, 7)]


# Branch rates


def two_branches() -> keras.Model:
    """Two linear branches whose weights have equal values and equal gradients."""
    x = keras.Input((4,))
    branches = [
        keras.layers.Dense(3, kernel_initializer="ones", name=name)(x) for name in ("texture_head", "atlas_head")
    ]
    return keras.Model(x, keras.layers.Add(name="sum")(branches))


def weight_changes(optimizer, steps: int = 3, model: keras.Model | None = None) -> dict[str, np.ndarray]:
    """Change of the kernel of each branch; the targets are so far away that the gradients are constant."""
    model = two_branches() if model is None else model
    before = {layer.name: layer.get_weights()[0] for layer in model.layers if layer.weights}
    model.compile(optimizer, loss="mae", run_eagerly=keras.backend.backend() == "tensorflow")
    x = np.random.default_rng(0).random((8, 4)).astype(np.float32)
    for _ in range(steps):
        model.train_on_batch(x, np.full((8, 3), 1e4, np.float32))
    return {name: model.get_layer(name).get_weights()[0] - value for name, value in before.items()}


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01),
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "schedule": lambda: keras.optimizers.SGD(halved_at((1, 2), initial_rate=0.01), momentum=0.9),
    "clipped": lambda: keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=0.1),
    "accumulating": lambda: keras.optimizers.SGD(0.01, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_weight_change_is_the_multiplier_times_that_of_the_optimizer(build) -> None:
    plain, scaled = weight_changes(build()), weight_changes(BranchRates(build(), {"atlas_": 10.0}))
    assert np.abs(plain["atlas_head"]).min() > 0
    np.testing.assert_allclose(scaled["atlas_head"], 10.0 * plain["atlas_head"], rtol=1e-3)
    np.testing.assert_allclose(scaled["texture_head"], plain["texture_head"], rtol=1e-6)


def test_longest_prefix_counts() -> None:
    optimizer = BranchRates(keras.optimizers.SGD(0.01), {"atlas_": 10.0, "atlas_head": 2.0})
    changes = weight_changes(optimizer)
    np.testing.assert_allclose(changes["atlas_head"], 2.0 * changes["texture_head"], rtol=1e-3)


def test_rate_can_be_read_and_set() -> None:
    optimizer = BranchRates(keras.optimizers.SGD(0.01), {"atlas_": 10.0})
    optimizer.learning_rate = 0.5
    assert float(optimizer.learning_rate) == pytest.approx(0.5)
    assert float(optimizer.inner_optimizer.learning_rate) == pytest.approx(0.5)


def test_given_optimizer_is_left_alone() -> None:
    sgd = keras.optimizers.SGD(0.01)
    weight_changes(BranchRates(sgd, {"atlas_": 10.0}))
    assert not sgd.built
    assert int(sgd.iterations) == 0


def test_branch_rates_survive_serialization() -> None:
    optimizer = BranchRates(keras.optimizers.SGD(0.01, momentum=0.9, clipnorm=1.0), {"atlas_": 10.0})
    other = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(other, BranchRates)
    assert other.multipliers == {"atlas_": 10.0}
    assert other.inner_optimizer.get_config() == optimizer.inner_optimizer.get_config()


def test_training_goes_on_from_a_keras_file(tmp_path) -> None:
    def build() -> BranchRates:
        return BranchRates(keras.optimizers.SGD(0.01, momentum=0.9), {"atlas_": 10.0})

    straight = two_branches()
    weight_changes(build(), steps=4, model=straight)
    halfway = two_branches()
    weight_changes(build(), steps=2, model=halfway)
    halfway.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 2
    x = np.random.default_rng(0).random((8, 4)).astype(np.float32)
    for _ in range(2):
        loaded.train_on_batch(x, np.full((8, 3), 1e4, np.float32))
    for one, two in zip(straight.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_loss_scaling_goes_around_branch_rates() -> None:
    scaled = keras.optimizers.LossScaleOptimizer(BranchRates(keras.optimizers.SGD(0.01), {"atlas_": 10.0}))
    changes = weight_changes(scaled)
    np.testing.assert_allclose(changes["atlas_head"], 10.0 * changes["texture_head"], rtol=1e-3)


def test_prefix_without_layer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"'atlas_hand'.*Did you mean 'atlas_head'"):
        weight_changes(BranchRates(keras.optimizers.SGD(0.01), {"atlas_hand": 10.0}))


@pytest.mark.parametrize("multipliers", [{}, {"atlas_": 0.0}, {"atlas_": float("nan")}, {"": 2.0}])
def test_multipliers_must_be_positive(multipliers: dict[str, float]) -> None:
    with pytest.raises(UserError):
        BranchRates(keras.optimizers.SGD(0.01), multipliers)


def test_used_optimizer_is_refused() -> None:
    sgd = keras.optimizers.SGD(0.01)
    sgd.build(two_branches().trainable_variables)
    with pytest.raises(UserError, match="used"):
        BranchRates(sgd, {"atlas_": 10.0})


def test_rate_as_an_argument_of_branch_rates_is_refused() -> None:
    with pytest.raises(TypeError, match="learning_rate"):
        BranchRates(keras.optimizers.SGD(0.01), {"atlas_": 10.0}, learning_rate=0.1)
