"""A training of a small dense network in two phases, for runs that are stopped and go on."""

from __future__ import annotations

import itertools

import keras
import numpy as np

from cytokeras.training import RunFolder
from cytokeras.training.training_run import Monitor, TrainingPhase, train_phases

STEPS, INTERVAL = (13, 9), 4


class Killed(Exception):
    """What a test kills a training with."""


class KillAt(keras.callbacks.Callback):
    """Ends the process' training in a batch, as a signal would."""

    def __init__(self, batch):
        super().__init__()
        self.left = batch

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise Killed


def batches_from(step, stop=None):
    """Batches that depend on their number alone."""
    for number in itertools.count(step) if stop is None else range(step, stop):
        rng = np.random.default_rng(number)
        yield rng.normal(size=(8, 5)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)


def dense_training(folder, callbacks=(), *, eager=True, read_only=False):
    """Train with momenta, averaged weights and accumulated gradients."""
    keras.utils.set_random_seed(4)
    layers = [keras.layers.Dense(4, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((5,)), *layers])

    def prepare(optimizer):
        model.compile(optimizer, "mse", run_eagerly=eager)
        return model

    schedule = keras.optimizers.schedules.CosineDecay(0.05, STEPS[1])
    optimizers = (
        lambda: keras.optimizers.SGD(0.05, momentum=0.9, gradient_accumulation_steps=3),
        lambda: keras.optimizers.AdamW(schedule, use_ema=True, ema_momentum=0.7),
    )
    held_out = next(batches_from(99))
    phases = [
        TrainingPhase(f"phase {n}", steps, lambda make=make: prepare(make()), batches_from, held_out)
        for n, (steps, make) in enumerate(zip(STEPS, optimizers, strict=True))
    ]
    run = RunFolder(folder, {"seed": 4}, read_only=read_only)
    run.draw_curves = lambda: None  # which takes longer than the training
    monitor = Monitor("val_loss", highest=False)
    train_phases(model, phases, run=run, monitor=monitor, interval=INTERVAL, callbacks=callbacks, verbose=0)
    return model, run
