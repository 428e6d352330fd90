"""How well a siamese network does its tasks on sections it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import numpy.typing as npt

from cytokeras._auxiliary_tasks import CONTRAST, PLACE_TASKS, outputs_of
from cytokeras.losses import SpatialContrastiveLoss
from cytokeras.pipelines import pair_targets
from cytokeras.training.pair_batches import held_out_pairs, pair_batches

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.models import SiameseDistanceNet

_Array = npt.NDArray[np.floating]
_BATCH = 32
"""Pairs that are compared with each other in the contrast, as in a batch of training."""

COLLAPSE_RATIO = 0.95
"""A network whose error is above this share of the best constant guess has learned nothing about distance."""


@dataclass(frozen=True)
class TaskScore:
    """The error of a network in one task beside that of the best constant guess.

    Attributes:
        task: ``"distance"``, ``"coordinates"`` or the name of an auxiliary task.
        label: What is measured.
        unit: Unit of both errors.
        error: Error of the network: the mean absolute error, with ``"contrast"`` the mean ``SpatialContrastiveLoss``
            of batches of 32 pairs.
        constant_guess: Error of what predicts the median of the true values, or the same features, everywhere.
    """

    task: str
    label: str
    unit: str
    error: float
    constant_guess: float

    def __str__(self) -> str:
        return f"{self.label} {self.error:.3g} {self.unit} (best constant guess {self.constant_guess:.3g})"


@dataclass(frozen=True)
class DistanceScores:
    """How well a siamese network predicts distances on pairs it was not trained on, and what else it was built for.

    Attributes:
        tasks: The scores: distance, coordinates, then the auxiliary tasks of the network.
        pairs: Number of pairs.
    """

    tasks: tuple[TaskScore, ...]
    pairs: int

    def __getitem__(self, task: str) -> TaskScore:
        """The score of a task; KeyError where the network was built without it."""
        return {score.task: score for score in self.tasks}[task]

    @property
    def err_dist_mm(self) -> float:
        """Mean absolute error of the distance (err_dist of Spitzer et al. 2018)."""
        return self["distance"].error

    @property
    def constant_guess_mm(self) -> float:
        """The same for the best constant, the median of the true distances."""
        return self["distance"].constant_guess

    @property
    def collapsed(self) -> bool:
        """Whether the distances are hardly better than a constant guess."""
        return self.err_dist_mm > COLLAPSE_RATIO * self.constant_guess_mm

    def as_dict(self) -> dict[str, float]:
        """The scores for a model card."""
        scores: dict[str, float] = {}
        for score in self.tasks:
            scores[f"{score.label} on held-out sections ({score.unit})"] = score.error
            scores[f"{score.label} of the best constant guess ({score.unit})"] = score.constant_guess
        return {**scores, "pairs scored": self.pairs}

    def __str__(self) -> str:
        text = f"{', '.join(map(str, self.tasks))}; {self.pairs} pairs"
        return text + ": COLLAPSED, it learned nothing about distance" if self.collapsed else text


def distance_scores(
    net: SiameseDistanceNet, brain: Brain, *, patches: int = 1000, pairs: int = 2000, seed: int = 1
) -> DistanceScores:
    """Score a siamese network on pairs from the held-out sections of a brain, in all tasks it was built for.

    Args:
        net: The network.
        brain: A brain with sections of split ``"test"``.
        patches: Number of patches sampled.
        pairs: Number of pairs made of them.
        seed: Seed of the sampling.
    """
    table = held_out_pairs(brain, patches, pairs, seed)
    batches = pair_batches(net, brain, table, _BATCH, shuffle=False, drop_remainder=False, progress=False)
    predicted = net.predict(batches, verbose=0)
    targets = pair_targets(table, net.auxiliary)
    scores = []
    for name in ("distance", "coordinates", *net.auxiliary):
        measure = _MEASURES[name]
        true, guessed = (
            np.concatenate([values[output] for output in measure.outputs]) for values in (targets, predicted)
        )
        error, constant = measure.error(true, guessed), measure.error(true, measure.constant(true))
        scores.append(TaskScore(name, measure.label, measure.unit, error, constant))
    return DistanceScores(tuple(scores), len(table))


def _absolute_error(true: _Array, predicted: _Array) -> float:
    # On the rim of an open surface places have no curvature.
    return float(np.nanmean(np.abs(np.reshape(predicted, true.shape) - true)))


def _median(true: _Array) -> _Array:
    return np.broadcast_to(np.nanmedian(true, axis=0), true.shape)


def _contrastive_loss(true: _Array, predicted: _Array) -> float:
    batch = min(_BATCH, len(true))
    loss = SpatialContrastiveLoss()
    starts = range(0, len(true) - batch + 1, batch)
    losses = [loss(true[start : start + batch], predicted[start : start + batch]) for start in starts]
    return float(np.mean([keras.ops.convert_to_numpy(value) for value in losses]))


def _equal_features(true: _Array) -> _Array:
    return np.ones((len(true), 2, 1), np.float32)


@dataclass(frozen=True)
class _Measure:
    """How a task is scored: its outputs, the error from truth and prediction, the best guess without looking."""

    label: str
    unit: str
    outputs: tuple[str, ...]
    error: Callable[[_Array, _Array], float] = _absolute_error
    constant: Callable[[_Array], _Array] = _median


_MEASURES = {
    "distance": _Measure("err_dist", "mm", ("distance",)),
    "coordinates": _Measure("coordinate error", "mm", ("coordinates_a", "coordinates_b")),
    **{name: _Measure(f"{name} error", task.unit, outputs_of(name)) for name, task in PLACE_TASKS.items()},
    CONTRAST: _Measure("contrast loss", "nats", outputs_of(CONTRAST), _contrastive_loss, _equal_features),
}
