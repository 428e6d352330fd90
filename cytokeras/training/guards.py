"""Callbacks that stop a training that has gone wrong."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from cytokeras.errors import UserError

_EXPLODED = 100.0
"""A running loss above so many times that of the first batch will not come back (our choice)."""


class StopOnDivergence(keras.callbacks.Callback):
    """Raises where the loss is no longer finite, or a hundred times that of the first batch.

    The message names step and batch. The network then has the weights of the end of the last epoch again, the last
    ones that were good. Keras' own ``TerminateOnNaN`` ends ``fit`` as if nothing had happened; a caller would go on
    with dead weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0
        self._first: float | None = None
        self._good: list[Any] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights that training starts from."""
        self._first = None
        self._good = _copied_weights(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch for the message."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the running loss."""
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss) and (self._first is None or loss <= _EXPLODED * max(self._first, 1e-3)):
            self._first = loss if self._first is None else self._first
            return
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        first = f" (it began with {self._first:.3g})" if self._first is not None else ""
        if self._good is not None:
            self.model.set_weights(self._good)
        raise UserError(
            f"The loss became {loss:.4g}{first} in epoch {self._epoch + 1}, batch {batch + 1} (step {step}): lower the "
            "learning rate (find_learning_rate suggests one), clip the gradient (clip_norm) or scale the targets "
            "(output_scale_mm), then start again. The weights are those of the last good epoch."
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights of a good epoch."""
        self._good = _copied_weights(self.model)


def _copied_weights(model: keras.Model) -> list[np.ndarray]:
    # PyTorch's arrays are views of memory that training goes on writing to.
    return [np.array(weight) for weight in model.get_weights()]


class StopAtStep(keras.callbacks.Callback):
    """Ends ``fit`` after a number of steps that need not be whole epochs.

    Args:
        steps: The number.
        done: How many were done before.
    """

    def __init__(self, steps: int, done: int = 0) -> None:
        super().__init__()
        self._steps, self._done = steps, done

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop after the last step."""
        self._done += 1
        if self._done >= self._steps:
            self.model.stop_training = True
