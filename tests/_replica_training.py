"""Trains a small network on one device and on two of one host, in a process of its own; prints what came of it.

Annotated pixels are rarer in one half of a batch than in the other, the gradients are clipped, and a branch has a rate
of its own. The maps are small: TensorFlow's sums of 300,000 float32 values on CPUs keep four digits only.
"""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from cytokeras.losses import MaskedCategoricalCrossentropy
from cytokeras.models.conv_blocks import batch_normalization, convolution
from cytokeras.training import FinetuningRecipe, Phase, training_scope

RECIPE = FinetuningRecipe(
    "two devices", "for this test", (Phase(12, 0.1, True, 10.0, (4, 8)),), batch_size=8, clip_norm=0.05
)


def trained() -> tuple[keras.Model, list[float]]:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = (rng.normal(3, 1, (24, 6, 6, 3)) * np.arange(1, 25)[:, None, None, None]).astype(np.float32)
    y = np.argmax(x, axis=-1).astype(np.uint8)
    y[np.arange(24) % 8 > 4] = 255
    inputs = keras.Input((6, 6, 3))
    maps = batch_normalization("norm", 0.01)(convolution("atlas_conv", 3, 1, 1, 0.01)(inputs))
    net = keras.Model(inputs, keras.layers.Softmax()(convolution("output_conv", 3, 1, 1, 0.01)(maps)))
    net.compile(RECIPE.build_optimizer(RECIPE.phases[0]), loss=MaskedCategoricalCrossentropy())
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(RECIPE.batch_size)
    return net, net.fit(dataset, epochs=4, shuffle=False, verbose=0).history["loss"]


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    alone, alone_losses = trained()
    with training_scope("all"):
        shared, shared_losses = trained()
    changes = [one.numpy() - other.numpy() for one, other in zip(alone.weights, shared.weights, strict=True)]
    found = {
        "replicas": shared.distribute_strategy.num_replicas_in_sync,
        "alone": alone_losses,
        "shared": shared_losses,
        "largest_difference": max(float(np.abs(change).max()) for change in changes),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
