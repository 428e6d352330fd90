"""The learning rate search on a problem whose largest stable rate is known."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.training import find_learning_rate


def linear_model(rate=0.1) -> keras.Model:
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=True)
    return model


def batches(count):
    """Inputs of unit covariance: the mean squared error has the curvature 2, and gradient descent diverges above 1."""
    for number in range(count):
        inputs = np.random.default_rng(number).standard_normal((256, 4)).astype(np.float32)
        yield inputs, inputs @ np.array([[1.0], [-2.0], [3.0], [0.5]], np.float32)


def test_search_ends_beyond_the_stable_rate_and_suggests_one_below():
    model = linear_model()
    before = model.get_weights()[0]
    search = find_learning_rate(model, batches(100), lowest=1e-4, highest=100.0, steps=100)
    assert 1.0 < search.rates[-1] < 100.0
    assert 0.005 < search.suggestion < 0.5
    assert len(search.rates) == len(search.losses)
    assert "suggested learning rate" in str(search)
    np.testing.assert_array_equal(model.get_weights()[0], before)
    assert int(model.optimizer.iterations) == 0
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"steps": 3}, "at least 10 steps"), ({"lowest": 1.0, "highest": 0.1}, "lowest < highest")],
)
def test_empty_ranges_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        find_learning_rate(linear_model(), batches(20), **arguments)


def test_too_few_batches_are_told():
    with pytest.raises(UserError, match="there are 5 batches for 10 steps"):
        find_learning_rate(linear_model(), batches(5), steps=10)


def test_a_schedule_is_refused():
    model = linear_model(keras.optimizers.schedules.CosineDecay(0.1, 10))
    with pytest.raises(UserError, match="learning rate is a number"):
        find_learning_rate(model, batches(20), steps=10)


def test_loss_that_is_never_finite_is_told():
    wrong = ((inputs, targets * np.nan) for inputs, targets in batches(20))
    with pytest.raises(UserError, match="not finite with a learning rate of 1e-06"):
        find_learning_rate(linear_model(), wrong, steps=10)
