"""Learning rate schedules of the paper, made of those that Keras has."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from cytokeras.errors import UserError


def halved_every(
    epochs: int = 3, *, initial_rate: float = 0.01, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Halve the rate after every ``epochs`` epochs.

    Spitzer et al. 2018, section 2, trains the siamese network with 0.01, halved every 3 epochs, for 16
    epochs.

    Args:
        epochs: Epochs from one halving to the next.
        initial_rate: Rate of the first epochs.
        steps_per_epoch: Optimizer steps of an epoch.

    Raises:
        UserError: An argument is not positive.
    """
    _check_positive(epochs=epochs, initial_rate=initial_rate, steps_per_epoch=steps_per_epoch)
    return keras.optimizers.schedules.ExponentialDecay(
        float(initial_rate), decay_steps=int(epochs * steps_per_epoch), decay_rate=0.5, staircase=True
    )


def halved_at(
    iterations: Sequence[int] = (3000, 5000, 6000), *, initial_rate: float = 0.05
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Halve the rate after each of the given numbers of iterations.

    Spitzer et al. 2018, section 3: both phases of training the segmentation network halve their rate (0.05,
    then 0.025) at iterations 3k, 5k and 6k.

    Args:
        iterations: Iterations that are done before the rate is halved, increasing.
        initial_rate: Rate of the first iterations.

    Raises:
        UserError: The iterations are not positive and increasing, or the rate is not positive.
    """
    _check_positive(initial_rate=initial_rate)
    steps = [int(iteration) for iteration in iterations]
    if not steps or steps[0] < 1 or steps != sorted(set(steps)):
        raise UserError(f"iterations must be positive and increasing. Received: iterations={iterations}")
    # Keras keeps the old value at step == boundary, and counts steps from 0.
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [step - 1 for step in steps], [float(initial_rate) * 0.5**count for count in range(len(steps) + 1)]
    )


def warmup_cosine(
    peak_rate: float, *, warmup_steps: int, total_steps: int, final_fraction: float = 0.0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Raise the rate linearly from 0 to its peak, then let it fall along half a cosine.

    Not stated in the paper. The squared distance of eq. 1 has steep gradients at the start of training; a
    warm-up keeps the first steps small.

    Args:
        peak_rate: Rate at the end of the warm-up.
        warmup_steps: Iterations of the warm-up.
        total_steps: Iterations in all; the rate stays at its last value afterwards.
        final_fraction: Last rate as a fraction of the peak, 0 … 1.

    Raises:
        UserError: The steps are not ``0 < warmup_steps < total_steps``, or another argument is outside its
            range.
    """
    _check_positive(peak_rate=peak_rate, warmup_steps=warmup_steps)
    if warmup_steps >= total_steps or not 0 <= final_fraction <= 1:
        raise UserError(
            "warmup_cosine needs warmup_steps below total_steps and final_fraction from 0 to 1. Received: "
            f"warmup_steps={warmup_steps}, total_steps={total_steps}, final_fraction={final_fraction}"
        )
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=int(total_steps - warmup_steps),
        alpha=float(final_fraction),
        warmup_target=float(peak_rate),
        warmup_steps=int(warmup_steps),
    )


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"{name} must be positive. Received: {name}={value}")
