"""Callbacks that stop a training that has gone wrong."""

from __future__ import annotations

import math
from typing import Any

import keras

from cytokeras.errors import UserError


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises where the loss is no longer a finite number, naming epoch and batch.

    Keras' own ``TerminateOnNaN`` ends ``fit`` as if nothing had happened; a caller would go on with dead weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch for the message."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the running loss."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise UserError(
                f"The loss became {loss} in epoch {self._epoch + 1}, batch {batch + 1}: lower the learning rate, clip "
                "the gradient (clip_norm) or scale the targets (output_scale_mm), then start again."
            )
