"""Finding a learning rate by a short training with a rising one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cytokeras.errors import UserError

_SMOOTHING = 0.9
_STOP_FACTOR = 4.0
"""The search ends where the smoothed loss is so many times its lowest value."""


@dataclass(frozen=True)
class LearningRateSearch:
    """What a learning rate search saw.

    Attributes:
        rates: ``(N,)`` learning rates, rising.
        losses: ``(N,)`` smoothed losses.
        suggestion: A tenth of the rate with the lowest smoothed loss; the usual rule of thumb.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float

    def __str__(self) -> str:
        lines = [f"{'learning rate':>14}  {'loss':>10}"]
        chosen = np.unique(np.linspace(0, len(self.rates) - 1, min(len(self.rates), 15)).astype(int))
        lines += [f"{self.rates[index]:>14.2e}  {self.losses[index]:>10.4g}" for index in chosen]
        return "\n".join([*lines, f"suggested learning rate: {self.suggestion:.1e}"])


def find_learning_rate(
    model: keras.Model, batches: Iterable[Any], *, lowest: float = 1e-6, highest: float = 1.0, steps: int = 100
) -> LearningRateSearch:
    """Train a compiled model with a rate that rises exponentially, and put weights and optimizer back.

    The range test of Smith 2017 (Cyclical learning rates for training neural networks). Spitzer et al. 2018: "choosing
    a good learning rate was essential".

    Args:
        model: Compiled with an optimizer whose rate is a number, not a schedule.
        batches: At least ``steps`` batches of (inputs, targets).
        lowest: First rate.
        highest: Last rate; the search ends earlier where the loss rises to four times its lowest value.
        steps: Number of rates.

    Raises:
        UserError: The range is empty, the rate is a schedule, there are too few batches, or the loss is not finite
            with the lowest rate already.
    """
    if not 0 < lowest < highest or steps < 10:
        raise UserError(
            "find_learning_rate needs 0 < lowest < highest and at least 10 steps. Received: "
            f"lowest={lowest}, highest={highest}, steps={steps}"
        )
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    state = [*model.variables, *optimizer.variables]
    before = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in state]  # PyTorch's are views
    rates, losses = np.geomspace(lowest, highest, steps), []
    average, best = 0.0, math.inf
    source = iter(batches)
    try:
        for number, rate in enumerate(rates):
            try:
                optimizer.learning_rate = float(rate)
            except TypeError as error:
                raise UserError("find_learning_rate needs an optimizer whose learning rate is a number.") from error
            try:
                inputs, targets = next(source)
            except StopIteration:
                raise UserError(f"find_learning_rate: there are {number} batches for {steps} steps.") from None
            loss = float(model.train_on_batch(inputs, targets, return_dict=True)["loss"])
            model.reset_metrics()
            if not math.isfinite(loss):
                break
            average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
            losses.append(average / (1 - _SMOOTHING ** (number + 1)))
            best = min(best, losses[-1])
            if losses[-1] > _STOP_FACTOR * best:
                break
    finally:
        for variable, value in zip(state, before, strict=True):
            variable.assign(value)
    if len(losses) < 2:
        raise UserError(f"The loss is not finite with a learning rate of {lowest:g}: check inputs and targets.")
    lowest_loss = int(np.argmin(losses))
    return LearningRateSearch(rates[: len(losses)], np.asarray(losses), float(rates[lowest_loss]) / 10)
