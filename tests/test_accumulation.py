"""k small batches against one batch of their sum."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.training import BranchRates, PerUpdate, accumulate_gradients, finetuning_recipe, halved_at
from cytokeras.training.recipes import part_size

SMALL, COUNT, UPDATES = 2, 4, 6


def two_branches() -> keras.Model:
    """Two branches of convolutions without batch normalization."""
    x = keras.Input((6, 6, 1))
    maps = [
        keras.layers.Conv2D(3, 3, activation="relu", kernel_regularizer="l2", name=f"{path}_conv")(x)
        for path in ("texture", "atlas")
    ]
    return keras.Model(x, keras.layers.Dense(2, name="head")(keras.layers.Flatten()(keras.layers.Concatenate()(maps))))


def trained(optimizer, batch_size: int, *, run_eagerly: bool = False) -> tuple[list[np.ndarray], keras.Model]:
    """Weights after one epoch."""
    keras.utils.set_random_seed(4)
    model = two_branches()
    rng = np.random.default_rng(0)
    samples = SMALL * COUNT * UPDATES
    x, y = rng.random((samples, 6, 6, 1)), rng.random((samples, 2))
    model.compile(optimizer, loss="mse", run_eagerly=run_eagerly)
    model.fit(x.astype("float32"), y.astype("float32"), batch_size=batch_size, shuffle=False, verbose=0)
    return [np.array(weight) for weight in model.get_weights()], model


# The rate is halved after every second update, so that a schedule that counted batches would be far off.
def rate() -> keras.optimizers.schedules.LearningRateSchedule:
    return halved_at((2, 4), initial_rate=0.1)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(rate(), momentum=0.9, nesterov=True),
    "clipped": lambda: keras.optimizers.SGD(rate(), momentum=0.9, global_clipnorm=0.05),
    "adamw": lambda: keras.optimizers.AdamW(rate(), weight_decay=0.1),
}


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
@pytest.mark.parametrize("with_branch_rates", [False, True])
def test_small_batches_change_the_weights_as_one_large_batch(build, with_branch_rates: bool) -> None:
    def wrapped(optimizer):
        return BranchRates(optimizer, {"atlas_": 10.0}) if with_branch_rates else optimizer

    large, _ = trained(wrapped(build()), SMALL * COUNT)
    small, model = trained(wrapped(accumulate_gradients(build(), COUNT)), SMALL)
    for one, other in zip(small, large, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6)
    assert int(model.optimizer.iterations) == UPDATES
    keras.utils.set_random_seed(4)
    start = two_branches().get_weights()
    assert min(np.abs(one - other).max() for one, other in zip(large, start, strict=True)) > 1e-3


def test_schedule_counts_updates() -> None:
    optimizer = accumulate_gradients(keras.optimizers.SGD(halved_at((3, 5), initial_rate=0.1)), 4)
    schedule = optimizer._learning_rate
    assert [float(schedule(step)) for step in (0, 11, 12, 19, 20)] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_schedule_of_updates_survives_serialization() -> None:
    schedule = PerUpdate(halved_at(), 10)
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [float(other(step)) for step in (0, 29_999, 30_000)] == pytest.approx([0.05, 0.05, 0.025])


def test_recipe_of_the_paper_reaches_its_batch_of_40_with_batches_of_4() -> None:
    recipe = replace(finetuning_recipe("paper"), accumulate=10)
    optimizer = recipe.build_optimizer(recipe.phases[1])
    assert part_size(recipe) == 4
    assert isinstance(optimizer, BranchRates)
    assert optimizer.inner_optimizer.gradient_accumulation_steps == 10
    schedule = optimizer.inner_optimizer._learning_rate
    assert [float(schedule(10 * step)) for step in (2_999, 3_000)] == pytest.approx([0.025, 0.0125])


def test_batches_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of accumulate"):
        part_size(replace(finetuning_recipe("paper"), accumulate=3))


def test_one_batch_an_update_is_the_optimizer_itself() -> None:
    sgd = keras.optimizers.SGD(0.1)
    assert accumulate_gradients(sgd, 1) is sgd


def test_averaged_weights_keep_their_half_life_in_updates() -> None:
    optimizer = accumulate_gradients(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9), 4)
    assert optimizer.ema_momentum**4 == pytest.approx(0.9)


@pytest.mark.parametrize("batches", [0, -2, 2.5])
def test_batches_must_be_a_positive_whole_number(batches) -> None:
    with pytest.raises(UserError, match="positive whole number"):
        accumulate_gradients(keras.optimizers.SGD(0.1), batches)


def test_wrapper_and_second_accumulation_are_refused() -> None:
    sgd = keras.optimizers.SGD(0.1)
    for optimizer in (BranchRates(sgd, {"atlas_": 2.0}), accumulate_gradients(sgd, 2)):
        with pytest.raises(UserError, match="plain optimizer"):
            accumulate_gradients(optimizer, 2)
