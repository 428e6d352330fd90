"""Supervised training of an atlas U-Net in the two phases of Spitzer et al. 2018, section 3.2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from cytokeras.losses import MaskedCategoricalCrossentropy
from cytokeras.metrics import Dice
from cytokeras.pipelines import segmentation_dataset
from cytokeras.training.guards import StopOnNonFinite

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.models import AtlasUNet
    from cytokeras.training.recipes import FinetuningRecipe

_MOST_EPOCHS = 10  # how often the running loss is reported; an epoch has no other meaning here


def finetune(
    unet: AtlasUNet,
    brains: Brain | Sequence[Brain],
    recipe: FinetuningRecipe,
    *,
    seed: int = 0,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    verbose: int | str = "auto",
) -> list[keras.callbacks.History]:
    """Train a segmentation network on the annotated training sections of one or more brains.

    Transfer weights from a siamese network before, with ``transfer_weights``, or train from random weights.

    Args:
        unet: The network. Phases without atlas train it through ``unet.without_atlas()``.
        brains: Brains with labels and, for phases with atlas, an atlas.
        recipe: Phases, optimizer, batch size.
        seed: Seed of the patch centres.
        callbacks: Further Keras callbacks.
        verbose: As in ``fit``.

    Returns:
        The histories of the phases.

    Raises:
        UserError: A brain does not fit the network, or the loss is no longer finite.
    """
    histories = []
    for number, phase in enumerate(recipe.phases):
        with_atlas = phase.with_atlas and unet.atlas_channels > 0
        model = unet if with_atlas else unet.without_atlas()
        epochs = max(n for n in range(1, _MOST_EPOCHS + 1) if phase.iterations % n == 0)
        dataset = segmentation_dataset(
            brains,
            model,
            recipe.batch_size,
            steps_per_epoch=phase.iterations // epochs,
            seed=seed + number,
            with_atlas=with_atlas,
        )
        model.compile(
            recipe.build_optimizer(phase),
            loss=MaskedCategoricalCrossentropy(),
            metrics=[Dice(unet.num_classes)],
        )
        histories.append(
            model.fit(dataset, epochs=epochs, callbacks=[StopOnNonFinite(), *callbacks], shuffle=False, verbose=verbose)
        )
    return histories
