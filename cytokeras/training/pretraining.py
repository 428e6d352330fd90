"""Self-supervised pre-training from a brain to a trained siamese network."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras

from cytokeras._files import create_folder
from cytokeras.losses import siamese_losses
from cytokeras.metrics import MeanDistanceError
from cytokeras.pipelines import Form, Shard, worker_shard
from cytokeras.sampling import sample_cortex, sample_pairs, write_samples
from cytokeras.training.checks import check_recipe_fits
from cytokeras.training.learning_rate_search import LearningRateSearch, find_learning_rate
from cytokeras.training.pair_batches import held_out_pairs, pair_batches
from cytokeras.training.recipes import part_size
from cytokeras.training.run_folder import RunFolder
from cytokeras.training.training_run import DEFAULT_INTERVAL, Monitor, TrainingPhase, train_phases

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.models import SiameseDistanceNet
    from cytokeras.sampling import CortexPairs
    from cytokeras.training.recipes import PretrainingRecipe

_VALIDATION_PATCHES, _VALIDATION_PAIRS = 300, 600


def pretrain(
    net: SiameseDistanceNet,
    brain: Brain,
    recipe: PretrainingRecipe,
    *,
    run: str | os.PathLike[str] | RunFolder | None = None,
    validate: bool = False,
    seed: int = 0,
    interval: int = DEFAULT_INTERVAL,
    form: Form = None,
    shard: Shard = None,
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
        form: As in ``pair_dataset``.
        shard: As in ``pair_dataset``. Where several processes train together, all must see the folder of ``run``; the
            one with index 0 writes it, and all go on from it.
        callbacks: Further Keras callbacks.
        verbose: As in ``fit``.

    Returns:
        The histories of what this call trained; none where the run was complete.

    Raises:
        UserError: The brain or the recipe does not fit the network, the folder holds
            another run, or the loss diverges.
    """
    check_recipe_fits(net, recipe)
    feeding = {"form": form, "shard": worker_shard(shard)}
    if run is not None and not isinstance(run, RunFolder):
        settings = pretraining_settings(net, brain, recipe, seed, interval, validate)
        run = RunFolder(run, settings, read_only=feeding["shard"][0] > 0)
    progress = verbose != 0
    pairs = _training_pairs(brain, recipe, run, seed, progress)

    def prepare() -> keras.Model:
        _compile(net, recipe, recipe.build_optimizer())
        return net

    phase = TrainingPhase(
        "pre-training",
        recipe.steps * recipe.accumulate,
        prepare,
        lambda step: pair_batches(
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
            **feeding,
        ),
        _validation_batches(net, brain, recipe, **feeding) if validate else None,
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
    batches = pair_batches(net, brain, pairs, recipe.batch_size, seed=seed, auxiliary=recipe.auxiliary)
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


def _training_pairs(
    brain: Brain, recipe: PretrainingRecipe, run: RunFolder | None, seed: int, progress: bool
) -> CortexPairs:
    """The pairs of a run; several processes draw the same ones, and all read them where they go on."""
    if run is None or (run.read_only and not run.state.exists()):
        locations = sample_cortex(brain, recipe.patches, seed=seed, split="train", progress=progress)
        return sample_pairs(brain, locations, recipe.pairs, seed=seed, progress=progress)
    folder = create_folder(run.samples)
    return write_samples(
        brain, folder, patches=recipe.patches, pairs=recipe.pairs, split="train", seed=seed, progress=progress
    )


def _validation_batches(net: SiameseDistanceNet, brain: Brain, recipe: PretrainingRecipe, **feeding: Any) -> Any:
    """Whole batches, of the size that several devices and processes can share."""
    size = part_size(recipe)
    pairs = held_out_pairs(brain, _VALIDATION_PATCHES, size * math.ceil(_VALIDATION_PAIRS / size), seed=1)
    return pair_batches(net, brain, pairs, size, shuffle=False, auxiliary=recipe.auxiliary, progress=False, **feeding)
