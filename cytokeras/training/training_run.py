"""Phases of training, one after another, with a checkpoint after every interval and from any of them on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from tensorboardX import SummaryWriter

from cytokeras._files import atomic_path
from cytokeras.training.devices import alone, check_processes_agree
from cytokeras.training.guards import StopAtStep, StopOnDivergence
from cytokeras.training.resume import load_state, read_progress, save_state
from cytokeras.training.run_folder import RunFolder

DEFAULT_INTERVAL = 100
"""Steps between two checkpoints and lines of the log: a minute or two on a small machine, seconds on a large one."""

_CURVES_SECONDS = 30.0


@dataclass(frozen=True)
class TrainingPhase:
    """A part of a training with an optimizer of its own.

    Attributes:
        name: Name for the log.
        steps: Optimizer steps.
        prepare: Compiles the model of this phase and returns it; called when the phase begins.
        dataset: Batches without end from a given step on, the same ones whenever it is called.
        validation: Batches that are evaluated after every interval; None: none.
    """

    name: str
    steps: int
    prepare: Callable[[], keras.Model]
    dataset: Callable[[int], Any]
    validation: Any = None


@dataclass(frozen=True)
class Monitor:
    """The quantity by which the best checkpoint is chosen.

    Attributes:
        name: Name of it in the log.
        highest: Whether more is better.
    """

    name: str
    highest: bool

    def better(self, value: float, best: float | None) -> bool:
        """Whether ``value`` is the best so far."""
        if not math.isfinite(value):
            return False
        return best is None or (value > best if self.highest else value < best)


def train_phases(
    network: keras.Model,
    phases: Sequence[TrainingPhase],
    *,
    run: RunFolder | None = None,
    monitor: Monitor | None = None,
    interval: int = DEFAULT_INTERVAL,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> list[keras.callbacks.History]:
    """Train a network phase after phase; with a run folder, go on from its last checkpoint.

    An epoch of ``fit`` is an interval. A run that was killed repeats at most one interval, with the same batches, and
    ends with the weights of one that was not.

    Args:
        network: All that is trained; the models of the phases share its layers.
        phases: The phases in order.
        run: Where checkpoints and the log go; with a folder to read only, this process goes on from it like the others.
        monitor: By what ``run.best`` is chosen.
        interval: Steps between two checkpoints.
        callbacks: Further Keras callbacks.
        verbose: As in ``fit``.

    Returns:
        Histories of the phases that this call trained.

    Raises:
        UserError: The loss diverges, or the checkpoint belongs to another network.
    """
    progress: dict[str, Any] = {"phase": 0, "step": 0, "best": None}
    resumed = run is not None and run.state.exists()
    if run is not None and resumed:
        progress = read_progress(run.state)
    check_processes_agree([progress["phase"], progress["step"]], "step to begin with")
    kept = None if run is None or run.read_only else run
    if kept is not None:
        kept.forget_after(progress["phase"] + 1, progress["step"])
    histories = []
    for number in range(progress["phase"], len(phases)):
        phase, model = phases[number], phases[number].prepare()
        every = min(interval, phase.steps)
        step = progress["step"] if resumed else 0
        if run is not None and resumed:
            optimizer = model.optimizer if step else None
            if optimizer is not None:
                optimizer.build(model.trainable_variables)
            load_state(run.state, network, optimizer)
        resumed = False
        own = [StopOnDivergence(), StopAtStep(phase.steps, done=step), _LearningRate()]
        if kept is not None:
            own.append(_Recorder(kept, number, phase, network, monitor, every, progress))
        histories.append(
            model.fit(
                phase.dataset(step),
                initial_epoch=step // every,
                epochs=math.ceil(phase.steps / every),
                steps_per_epoch=every,
                validation_data=phase.validation,
                callbacks=[*own, *callbacks],
                shuffle=False,
                verbose=verbose,
            )
        )
        progress = {**progress, "phase": number + 1, "step": 0}
        if kept is not None:
            # After ``fit`` has put averaged weights into the network, where the optimizer averages.
            save_state(kept.state, network, None, progress)
            kept.draw_curves()
    if run is not None and resumed:
        load_state(run.state, network, None)  # all phases were done before
    return histories


class _LearningRate(keras.callbacks.Callback):
    """Adds the learning rate to the log, in every process: what hosts share they can only calculate with together."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Take the rate of the last step."""
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class _Recorder(keras.callbacks.Callback):
    """Writes a line of the log and a checkpoint after every interval."""

    def __init__(
        self,
        run: RunFolder,
        number: int,
        phase: TrainingPhase,
        network: keras.Model,
        monitor: Monitor | None,
        interval: int,
        progress: dict[str, Any],
    ) -> None:
        super().__init__()
        self._run, self._number, self._phase, self._network = run, number, phase, network
        self._monitor, self._interval, self._progress = monitor, interval, progress
        self._started = self._drawn = time.monotonic()
        # Keras' own TensorBoard callback needs TensorFlow and TensorBoard.
        self._events = SummaryWriter(str(run.events / f"phase-{number + 1}"), purge_step=progress["step"] + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log, keep the best, save the state; in this order, so that a kill in between leaves nothing wrong."""
        model, now = self.model, time.monotonic()
        step = min((epoch + 1) * self._interval, self._phase.steps)
        scores = {name: float(value) for name, value in (logs or {}).items()}
        for name, value in scores.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()
        row = {"phase": self._number + 1, "step": step, **scores}
        self._run.append({**row, "seconds": round(now - self._started, 1)})
        self._started = now
        if self._monitor is not None and self._monitor.name in scores:
            value = scores[self._monitor.name]
            if self._monitor.better(value, self._progress["best"]):
                self._progress["best"] = value
                with atomic_path(self._run.best) as temporary, alone():
                    self._network.save_weights(temporary)
        place = {**self._progress, "phase": self._number, "step": step}
        save_state(self._run.state, self._network, model.optimizer, place)
        if now - self._drawn > _CURVES_SECONDS:
            self._drawn = now
            self._run.draw_curves()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the events."""
        self._events.close()
