"""Trains a segmentation network on one device and on two of one host, in a process of its own; prints what came of it.

Annotated pixels are rarer in one half of a batch than in the other, the gradients are clipped, and the atlas branch has
a rate of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from _feeding import linear_atlas, three_class_brain

from cytokeras.brain import Atlas
from cytokeras.losses import MaskedCategoricalCrossentropy
from cytokeras.models import AtlasUNet
from cytokeras.models.conv_blocks import batch_normalization, convolution
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
    net.compile(RECIPE.build_optimizer(RECIPE.phases[0]), loss=MaskedCategoricalCrossentropy())
    dataset = segmentation_dataset(brain, net, RECIPE.batch_size, steps_per_epoch=1, seed=2, fixed=True)
    return net, net.fit(dataset, epochs=3, shuffle=False, verbose=0).history


def trained_on_small_maps() -> tuple[keras.Model, dict[str, list[float]]]:
    """Sums over few values, in which float32 rounds little."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = (rng.normal(3, 1, (24, 6, 6, 3)) * np.arange(1, 25)[:, None, None, None]).astype(np.float32)
    y = rng.normal(0, 1, (24, 6, 6, 3)).astype(np.float32)
    inputs = keras.Input((6, 6, 3))
    maps = batch_normalization("norm", 0.0)(convolution("atlas_conv", 3, 1, 1, 0.0)(inputs))
    net = keras.Model(inputs, convolution("output_conv", 3, 1, 1, 0.0)(maps))
    net.compile(RECIPE.build_optimizer(RECIPE.phases[0]), loss="mse")
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    return net, net.fit(dataset, epochs=4, shuffle=False, verbose=0).history


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    json.dump({"small": compared(trained_on_small_maps), "unet": compared(trained)}, sys.stdout)


def compared(train: Callable[[], tuple[keras.Model, dict[str, list[float]]]]) -> dict[str, Any]:
    alone, alone_history = train()
    with training_scope("all"):
        shared, shared_history = train()
    changes = [one.numpy() - other.numpy() for one, other in zip(alone.weights, shared.weights, strict=True)]
    return {
        "replicas": shared.distribute_strategy.num_replicas_in_sync,
        "alone": alone_history["loss"],
        "shared": shared_history["loss"],
        "differences": {
            weight.path: float(np.abs(change).max()) for weight, change in zip(alone.weights, changes, strict=True)
        },
    }


if __name__ == "__main__":
    main()
