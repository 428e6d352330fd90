"""Self-supervised pre-training from a brain to a trained siamese network with its scores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from cytokeras._files import create_folder
from cytokeras.losses import siamese_losses
from cytokeras.metrics import MeanDistanceError
from cytokeras.pipelines.pair_dataset import DEFAULT_CACHE_BYTES, pair_dataset
from cytokeras.sampling import sample_cortex, sample_pairs, write_samples
from cytokeras.training.checks import check_recipe_fits
from cytokeras.training.learning_rate_search import LearningRateSearch, find_learning_rate
from cytokeras.training.recipes import part_size
from cytokeras.training.run_folder import RunFolder
from cytokeras.training.training_run import DEFAULT_INTERVAL, Monitor, TrainingPhase, train_phases

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.models import SiameseDistanceNet
    from cytokeras.sampling import CortexPairs
    from cytokeras.training.recipes import PretrainingRecipe

_VALIDATION_PATCHES, _VALIDATION_PAIRS = 300, 600

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

    def as_dict(self) -> dict[str, float]:
        """The scores for a model card."""
        return {
            "err_dist on held-out sections (mm)": self.err_dist_mm,
            "err_dist of the best constant guess (mm)": self.constant_guess_mm,
            "coordinate error on held-out sections (mm)": self.coordinate_error_mm,
            "coordinate error of the best constant guess (mm)": self.constant_coordinate_mm,
            "pairs scored": self.pairs,
        }

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
    run: str | os.PathLike[str] | RunFolder | None = None,
    validate: bool = False,
    seed: int = 0,
    interval: int = DEFAULT_INTERVAL,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> list[keras.callbacks.History]:
    """Train a siamese network on the training sections of a brain.

    Args:
        net: The network; its patch size and pixel size are those of the patches.
        brain: A brain with surfaces; it needs no annotation.
        recipe: Sampling, optimizer, schedule, loss.
        run: Folder for sampled pairs, log and checkpoints. Called again with it, training goes on where it was
            stopped and ends with the weights of an undisturbed run.
        validate: Whether pairs from the sections of split "test" are scored after every interval.
        seed: Seed of the sampling and of the order of the pairs.
        interval: Steps between two checkpoints; an epoch of ``fit``.
        callbacks: Further Keras callbacks.
        verbose: As in ``fit``.

    Returns:
        The histories of what this call trained; none where the run was complete.

    Raises:
        UserError: The brain or the recipe does not fit the network, the folder holds
            another run, or the loss diverges.
    """
    check_recipe_fits(net, recipe)
    if run is not None and not isinstance(run, RunFolder):
        run = RunFolder(run, pretraining_settings(net, brain, recipe, seed, interval, validate))
    progress = verbose != 0
    if run is None:
        locations = sample_cortex(brain, recipe.patches, seed=seed, split="train", progress=progress)
        pairs = sample_pairs(brain, locations, recipe.pairs, seed=seed, progress=progress)
    else:
        folder = create_folder(run.samples)
        pairs = write_samples(
            brain, folder, patches=recipe.patches, pairs=recipe.pairs, split="train", seed=seed, progress=progress
        )

    def prepare() -> keras.Model:
        _compile(net, recipe, recipe.build_optimizer())
        return net

    phase = TrainingPhase(
        "pre-training",
        recipe.steps * recipe.accumulate,
        prepare,
        lambda step: _batches(
            net,
            brain,
            pairs,
            part_size(recipe),
            seed=seed,
            augment=recipe.augment,
            repeat=True,
            initial_step=step,
            auxiliary=recipe.auxiliary,
            progress=progress,
        ),
        _held_out_batches(net, brain, _VALIDATION_PATCHES, _VALIDATION_PAIRS, 1, recipe.auxiliary)[0]
        if validate
        else None,
    )
    return train_phases(
        net,
        [phase],
        run=run,
        monitor=Monitor("val_distance_err_dist_mm", highest=False) if validate else None,
        interval=interval,
        callbacks=callbacks,
        verbose=verbose,
    )


def rate_search(
    net: SiameseDistanceNet, brain: Brain, recipe: PretrainingRecipe, *, seed: int = 0, steps: int = 60
) -> LearningRateSearch:
    """Search a learning rate for a recipe with its optimizer, batch size and losses; see ``find_learning_rate``."""
    check_recipe_fits(net, recipe)
    recipe = replace(recipe, batch_size=part_size(recipe), accumulate=1)
    count = steps * recipe.batch_size
    locations = sample_cortex(brain, min(count, recipe.patches), seed=seed, split="train")
    pairs = sample_pairs(brain, locations, count, seed=seed)
    _compile(net, recipe, recipe.build_optimizer(constant_rate=True))
    batches = _batches(net, brain, pairs, recipe.batch_size, seed=seed, auxiliary=recipe.auxiliary)
    return find_learning_rate(net, batches, steps=steps)


def _compile(net: SiameseDistanceNet, recipe: PretrainingRecipe, optimizer: keras.optimizers.Optimizer) -> None:
    net.compile(
        optimizer,
        **siamese_losses(
            recipe.alpha,
            recipe.output_scale_mm,
            distance_weight=recipe.distance_weight,
            auxiliary=recipe.auxiliary,
        ),
        metrics={"distance": MeanDistanceError(name="err_dist_mm")},
    )


def pretraining_settings(
    net: SiameseDistanceNet, brain: Brain, recipe: PretrainingRecipe, seed: int, interval: int, validate: bool
) -> Mapping[str, Any]:
    """What a run of these settings may be continued with."""
    return {
        "brain": brain.name,
        "network": net.get_config(),
        "recipe": recipe.as_dict(),
        "seed": seed,
        "interval": interval,
        "validate": validate,
    }


def _batches(net: SiameseDistanceNet, brain: Brain, pairs: CortexPairs, batch_size: int, **arguments: Any) -> Any:
    """Batches of pairs; patches stay in memory where they fit, and are read from the sections where they do not."""
    side = net.encoder.input_shape[1]
    needed = len(pairs.locations) * side**2 * (2 if arguments.get("augment") else 1)
    fits = needed <= DEFAULT_CACHE_BYTES
    return pair_dataset(brain, pairs, side, batch_size, pixel_size_um=net.pixel_size_um, cache=fits, **arguments)


def _held_out_batches(
    net: SiameseDistanceNet, brain: Brain, patches: int, pairs: int, seed: int, auxiliary: Iterable[str] = ()
) -> tuple[Any, CortexPairs]:
    locations = sample_cortex(brain, patches, seed=seed, split="test")
    table = sample_pairs(brain, locations, pairs, seed=seed)
    batches = _batches(net, brain, table, 32, shuffle=False, drop_remainder=False, auxiliary=auxiliary, progress=False)
    return batches, table


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
    dataset, table = _held_out_batches(net, brain, patches, pairs, seed)
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
