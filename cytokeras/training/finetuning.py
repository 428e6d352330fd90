"""Supervised training of an atlas U-Net in the two phases of Spitzer et al. 2018, section 3.2."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import keras

from cytokeras.losses import MaskedCategoricalCrossentropy
from cytokeras.metrics import Dice
from cytokeras.pipelines import Form, Shard, labelled_centres, segmentation_dataset, worker_shard
from cytokeras.training.checks import missing_classes
from cytokeras.training.learning_rate_search import LearningRateSearch, find_learning_rate
from cytokeras.training.recipes import part_size
from cytokeras.training.run_folder import RunFolder
from cytokeras.training.training_run import DEFAULT_INTERVAL, Monitor, TrainingPhase, train_phases

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.models import AtlasUNet
    from cytokeras.sampling import LabelledCentres
    from cytokeras.training.recipes import FinetuningRecipe, Phase

_VALIDATION_PATCHES = 64


def finetune(
    unet: AtlasUNet,
    brains: Brain | Sequence[Brain],
    recipe: FinetuningRecipe,
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
    """Train a segmentation network on the annotated training sections of one or more brains.

    Transfer weights from a siamese network before, with ``transfer_weights``, or train from random weights. A phase
    with atlas trains a network without atlas path as one without atlas.

    Args:
        unet: The network. Phases without atlas train it through ``unet.without_atlas()``.
        brains: Brains with labels and, for phases with atlas, an atlas.
        recipe: Phases, optimizer, batch size.
        run: Folder for log and checkpoints. Called again with it, training goes on where it was stopped and ends with
            the weights of an undisturbed run.
        validate: Whether at least 64 patches of the annotated sections of split "test" are scored after every interval.
        seed: Seed of the patch centres.
        interval: Steps between two checkpoints; an epoch of ``fit``.
        form: As in ``segmentation_dataset``.
        shard: As in ``segmentation_dataset``. Where several processes train together, all must see the folder of
            ``run``; the one with index 0 writes it, and all go on from it.
        callbacks: Further Keras callbacks.
        verbose: As in ``fit``.

    Returns:
        The histories of the phases that this call trained.

    Raises:
        UserError: A brain does not fit the network, the folder holds another run, or the loss diverges.

    Warns:
        UserWarning: The annotation lacks some of the network's classes.
    """
    centres = labelled_centres(brains, unet, seed=seed)
    if missing := missing_classes(centres, unet):
        warnings.warn(missing, UserWarning, stacklevel=2)
    feeding = {"form": form, "shard": worker_shard(shard)}
    phases = [
        _phase(
            unet, brains, recipe, phase, centres, seed=seed + number, interval=interval, validate=validate, **feeding
        )
        for number, phase in enumerate(recipe.phases)
    ]
    # What a later phase cannot read is found before the first one has taken its hours.
    for phase in phases:
        phase.dataset(0)
    if run is not None and not isinstance(run, RunFolder):
        settings = finetuning_settings(unet, brains, recipe, seed, interval, validate)
        run = RunFolder(run, settings, read_only=feeding["shard"][0] > 0)
    return train_phases(
        unet,
        phases,
        run=run,
        monitor=Monitor("val_dice", highest=True) if validate else None,
        interval=interval,
        callbacks=callbacks,
        verbose=verbose,
    )


def rate_search(
    unet: AtlasUNet, brains: Brain | Sequence[Brain], recipe: FinetuningRecipe, *, seed: int = 0, steps: int = 60
) -> LearningRateSearch:
    """Search a learning rate for the first phase of a recipe; see ``find_learning_rate``."""
    recipe = replace(recipe, batch_size=part_size(recipe), accumulate=1)
    phase = recipe.phases[0]
    model = _model_of(unet, phase)
    _compile(model, unet, recipe.build_optimizer(phase, constant_rate=True))
    batches = segmentation_dataset(
        brains,
        model,
        recipe.batch_size,
        steps_per_epoch=steps,
        seed=seed,
        with_atlas=model is unet and unet.atlas_channels > 0,
    )
    return find_learning_rate(model, batches, steps=steps)


def _model_of(unet: AtlasUNet, phase: Phase) -> keras.Model:
    return unet if phase.with_atlas or not unet.atlas_channels else unet.without_atlas()


def _compile(model: keras.Model, unet: AtlasUNet, optimizer: keras.optimizers.Optimizer) -> None:
    model.compile(optimizer, loss=MaskedCategoricalCrossentropy(), metrics=[Dice(unet.num_classes, name="dice")])


def _phase(
    unet: AtlasUNet,
    brains: Brain | Sequence[Brain],
    recipe: FinetuningRecipe,
    phase: Phase,
    centres: LabelledCentres,
    *,
    seed: int,
    interval: int,
    validate: bool,
    **feeding: Any,
) -> TrainingPhase:
    model = _model_of(unet, phase)
    with_atlas = model is unet and unet.atlas_channels > 0

    def prepare() -> keras.Model:
        _compile(model, unet, recipe.build_optimizer(phase))
        return model

    size = part_size(recipe)
    batches = partial(segmentation_dataset, brains, model, size, with_atlas=with_atlas, **feeding)
    validation = None
    if validate:
        steps = math.ceil(_VALIDATION_PATCHES / size)
        validation = batches(steps_per_epoch=steps, seed=0, split="test", fixed=True)
    return TrainingPhase(
        "with atlas" if with_atlas else "without atlas",
        phase.iterations * recipe.accumulate,
        prepare,
        lambda step: batches(
            steps_per_epoch=interval,
            seed=seed,
            augment=recipe.augment,
            repeat=True,
            initial_step=step,
            centres=centres,
        ),
        validation,
    )


def finetuning_settings(
    unet: AtlasUNet, brains: Brain | Sequence[Brain], recipe: FinetuningRecipe, seed: int, interval: int, validate: bool
) -> Mapping[str, Any]:
    """What a run of these settings may be continued with."""
    names = [brain.name for brain in ([brains] if not isinstance(brains, Sequence) else brains)]
    return {
        "brains": names,
        "network": unet.get_config(),
        "recipe": recipe.as_dict(),
        "seed": seed,
        "interval": interval,
        "validate": validate,
    }
