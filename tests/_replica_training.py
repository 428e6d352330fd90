"""Trains a segmentation network on one device and on two of one host, in a process of its own; prints what came of it.

Annotated pixels are rarer in one half of a batch than in the other, the gradients are clipped, and the atlas branch has
a rate of its own.
"""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import tensorflow as tf
from _feeding import linear_atlas, three_class_brain

from cytokeras.brain import Atlas
from cytokeras.losses import MaskedCategoricalCrossentropy
from cytokeras.metrics import Dice
from cytokeras.models import AtlasUNet
from cytokeras.pipelines import segmentation_dataset
from cytokeras.training import FinetuningRecipe, Phase, training_scope

RECIPE = FinetuningRecipe(
    "two devices", "for this test", (Phase(4, 0.002, True, 10.0, (2, 3)),), batch_size=8, clip_norm=0.05
)


def trained() -> tuple[keras.Model, dict[str, list[float]]]:
    keras.utils.set_random_seed(0)
    # Inputs that vary little over a patch, in grey values or in the atlas, let rounding grow from layer to layer.
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 200, (15, 15), dtype=np.uint8).repeat(20, axis=0).repeat(20, axis=1)
    atlas = linear_atlas()
    atlas = Atlas(rng.random(atlas.probabilities.shape, dtype=np.float32), atlas.affine, atlas.names)
    brain = three_class_brain(pixels=coarse + rng.integers(0, 56, coarse.shape, dtype=np.uint8), atlas=atlas)
    net = AtlasUNet(3, (194, 194, 1), 3, pixel_size_um=16.0, widths=(4,) * 6, class_names=brain.labels.names)
    net.compile(RECIPE.build_optimizer(RECIPE.phases[0]), loss=MaskedCategoricalCrossentropy(), metrics=[Dice(3)])
    dataset = segmentation_dataset(brain, net, RECIPE.batch_size, steps_per_epoch=1, seed=2, fixed=True)
    return net, net.fit(dataset, epochs=4, shuffle=False, verbose=0).history


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    alone, alone_history = trained()
    with training_scope("all"):
        shared, shared_history = trained()
    changes = [
        np.abs(one.numpy() - other.numpy()).max() for one, other in zip(alone.weights, shared.weights, strict=True)
    ]
    found = {
        "replicas": shared.distribute_strategy.num_replicas_in_sync,
        "alone": alone_history,
        "shared": shared_history,
        "differences": {weight.path: float(change) for weight, change in zip(alone.weights, changes, strict=True)},
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
