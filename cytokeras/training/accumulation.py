"""Large batches on small devices: gradients of several batches for one update."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cytokeras.errors import UserError


@keras.saving.register_keras_serializable(package="cytokeras")
class PerUpdate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that counts updates where an optimizer needs several steps for one.

    Keras' optimizers pass the number of batches seen to their schedule, also with ``gradient_accumulation_steps``: a
    rate that is to be halved at update 3000 would be halved at batch 3000.

    Args:
        schedule: Keras schedule of updates.
        steps_per_update: Batches for one update.
    """

    def __init__(self, schedule: Any, steps_per_update: int) -> None:
        self.schedule = schedule
        self.steps_per_update = int(steps_per_update)

    def __call__(self, step: Any) -> Any:
        """The rate after ``step`` batches."""
        return self.schedule(ops.floor_divide(ops.convert_to_tensor(step), self.steps_per_update))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "steps_per_update": self.steps_per_update,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PerUpdate:
        """Build the schedule from the result of ``get_config``."""
        return cls(**{**config, "schedule": keras.saving.deserialize_keras_object(config["schedule"])})


def accumulate_gradients(optimizer: keras.optimizers.Optimizer, batches: int) -> keras.optimizers.Optimizer:
    """A copy of an optimizer that averages the gradients of so many batches for every update.

    With ``batches=10`` and batches of 4 the weights change as with batches of 40 (the batch of Spitzer et al. 2018,
    section 3), in the memory of 4. Clipping, weight decay and momentum see the averaged gradient, and a schedule counts
    updates. Three things remain those of the small batch: batch normalization takes its statistics from it and updates
    the moving ones ``batches`` times, with its own momentum, for every update; a masked loss is averaged over the
    annotated pixels of each small batch, and these averages alike; what ``fit`` counts and reports are small batches.
    Averaged weights (``use_ema``) keep their half-life in updates and lag behind by less than one.

    Not under ``tf.distribute``: Keras cannot accumulate there.

    Args:
        optimizer: A Keras optimizer that has not been used yet, with or without schedule. Wrap the result, not the
            argument, in ``BranchRates``.
        batches: Batches for an update; 1 changes nothing.

    Raises:
        UserError: ``batches`` is not a positive whole number, or the optimizer was used already, accumulates
            already or is a wrapper.
    """
    if int(batches) != batches or batches < 1:
        raise UserError(f"accumulate must be a positive whole number of batches. Received: {batches}")
    if batches == 1:
        return optimizer
    config = optimizer.get_config()
    if optimizer.built or "gradient_accumulation_steps" not in config or config["gradient_accumulation_steps"]:
        raise UserError(
            "Gradients can be accumulated by a plain optimizer that is new and does not accumulate yet. "
            f"Received: {type(optimizer).__name__}"
        )
    rate = keras.saving.deserialize_keras_object(config["learning_rate"])
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        config["learning_rate"] = PerUpdate(rate, batches)
    config["gradient_accumulation_steps"] = int(batches)
    if config["use_ema"]:
        # Keras averages after every batch, whether the weights changed or not.
        config["ema_momentum"] **= 1.0 / batches
    return type(optimizer).from_config(config)
