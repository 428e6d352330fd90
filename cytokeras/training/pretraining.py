"""Self-supervised pre-training from a brain to a trained siamese network with its scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from cytokeras._auxiliary_tasks import require_tasks
from cytokeras.losses import siamese_losses
from cytokeras.metrics import MeanDistanceError
from cytokeras.pipelines import pair_dataset
from cytokeras.sampling import sample_cortex, sample_pairs
from cytokeras.training.guards import StopOnNonFinite

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.models import SiameseDistanceNet
    from cytokeras.sampling import CortexPairs
    from cytokeras.training.recipes import PretrainingRecipe

COLLAPSE_RATIO = 0.95
"""A network whose error is above this share of the best constant guess has learned nothing about distance."""


@dataclass(frozen=True)
class DistanceScores:
    """How well a siamese network predicts distances on pairs it was not trained on.

    Attributes:
        err_dist_mm: Mean absolute error of the distance (err_dist of Spitzer et al. 2018).
        constant_guess_mm: The same for the best constant, the median of the true distances.
        coordinate_error_mm: Mean absolute error of a coordinate on the inflated surface.
        constant_coordinate_mm: The same for the best constant place.
        pairs: Number of pairs.
    """

    err_dist_mm: float
    constant_guess_mm: float
    coordinate_error_mm: float
    constant_coordinate_mm: float
    pairs: int

    @property
    def collapsed(self) -> bool:
        """Whether the distances are hardly better than a constant guess."""
        return self.err_dist_mm > COLLAPSE_RATIO * self.constant_guess_mm

    def __str__(self) -> str:
        text = (
            f"err_dist {self.err_dist_mm:.1f} mm (best constant guess {self.constant_guess_mm:.1f} mm), "
            f"coordinates {self.coordinate_error_mm:.1f} mm (constant {self.constant_coordinate_mm:.1f} mm), "
            f"{self.pairs} pairs"
        )
        return text + ": COLLAPSED, it learned nothing about distance" if self.collapsed else text


def pretrain(
    net: SiameseDistanceNet,
    brain: Brain,
    recipe: PretrainingRecipe,
    *,
    seed: int = 0,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    verbose: int | str = "auto",
) -> keras.callbacks.History:
    """Train a siamese network on the training sections of a brain.

    Args:
        net: The network; its patch size and pixel size are those of the patches.
        brain: A brain with surfaces; it needs no annotation.
        recipe: Sampling, optimizer, schedule, loss.
        seed: Seed of the sampling and of the order of the pairs.
        callbacks: Further Keras callbacks.
        verbose: As in ``fit``.

    Returns:
        The history of ``fit``.

    Raises:
        UserError: The brain does not fit the network, the network lacks a task of the recipe, or the loss is no
            longer finite.
    """
    require_tasks(recipe.auxiliary, net.auxiliary)
    locations = sample_cortex(brain, recipe.patches, seed=seed, split="train")
    pairs = sample_pairs(brain, locations, recipe.pairs, seed=seed)
    dataset = pair_dataset(
        brain,
        pairs,
        net.encoder.input_shape[1],
        recipe.batch_size,
        pixel_size_um=net.pixel_size_um,
        seed=seed,
        cache=True,
        auxiliary=recipe.auxiliary,
        progress=verbose != 0,
    )
    net.compile(
        recipe.build_optimizer(),
        **siamese_losses(
            recipe.alpha,
            recipe.output_scale_mm,
            distance_weight=recipe.distance_weight,
            auxiliary=recipe.auxiliary,
        ),
        metrics={"distance": MeanDistanceError(name="err_dist_mm")},
    )
    callbacks = (StopOnNonFinite(), *callbacks)
    return net.fit(dataset, epochs=recipe.epochs, callbacks=list(callbacks), shuffle=False, verbose=verbose)


def distance_scores(
    net: SiameseDistanceNet, brain: Brain, *, patches: int = 1000, pairs: int = 2000, seed: int = 1
) -> DistanceScores:
    """Score a siamese network on pairs from the held-out sections of a brain.

    Args:
        net: The network.
        brain: A brain with sections of split ``"test"``.
        patches: Number of patches sampled.
        pairs: Number of pairs made of them.
        seed: Seed of the sampling.
    """
    locations = sample_cortex(brain, patches, seed=seed, split="test")
    table = sample_pairs(brain, locations, pairs, seed=seed)
    dataset = pair_dataset(
        brain,
        table,
        net.encoder.input_shape[1],
        32,
        pixel_size_um=net.pixel_size_um,
        shuffle=False,
        drop_remainder=False,
        cache=True,
        progress=False,
    )
    return _scores(net.predict(dataset, verbose=0), table)


def _scores(predicted: dict[str, Any], table: CortexPairs) -> DistanceScores:
    distance = np.reshape(predicted["distance"], -1)
    true = table.distance_mm
    places = np.concatenate([table.coordinates_a, table.coordinates_b])
    guessed = np.concatenate([predicted["coordinates_a"], predicted["coordinates_b"]])
    return DistanceScores(
        err_dist_mm=float(np.abs(distance - true).mean()),
        constant_guess_mm=float(np.abs(true - np.median(true)).mean()),
        coordinate_error_mm=float(np.abs(guessed - places).mean()),
        constant_coordinate_mm=float(np.abs(places - np.median(places, axis=0)).mean()),
        pairs=len(true),
    )
