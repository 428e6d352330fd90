"""A copy of a network that only predicts: normalisations folded into the convolutions before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)


def folded_copy(model: keras.Model, input_shapes: Mapping[str, Sequence[int]]) -> keras.Model:
    """Return a network with the same inputs and, to float32 rounding, the same outputs, for prediction alone.

    A batch normalization with frozen statistics is a scale and a shift of every channel, and the grey scaling at the
    input one of all pixels: both go into the kernel and the bias of their convolution. (Valid convolutions see no
    padding, so the shift is the same everywhere.) A third of the passes over memory and of the time goes with them.

    Args:
        model: A functional network of valid convolutions, each followed by a batch normalization.
        input_shapes: (height, width, channels) of each input of the copy, sizes that are valid for the network.
    """
    graph = {layer.name: layer for layer in model.layers}
    convolutions = [layer for layer in graph.values() if isinstance(layer, _CONVOLUTIONS)]
    norm_after = {_source(layer): layer for layer in graph.values() if _is(layer, "BatchNormalization")}
    dropped = {layer.name for layer in norm_after.values()}
    dropped |= {name for name in map(_source, convolutions) if _is(graph.get(name), "Rescaling")}

    def clone(layer: keras.Layer) -> keras.Layer:
        more = {"use_bias": True} if isinstance(layer, _CONVOLUTIONS) else {}
        return type(layer).from_config({**layer.get_config(), **more})

    def call(layer: keras.Layer, *inputs: Any, **arguments: Any) -> Any:
        return inputs[0] if layer.name in dropped else layer(*inputs, **arguments)

    inputs = {name: keras.Input(shape, dtype="float32", name=name) for name, shape in input_shapes.items()}
    copy = keras.models.clone_model(model, inputs, clone_function=clone, call_function=call)
    for layer in convolutions:
        weights = _folded_weights(layer, norm_after[layer.name], graph.get(_source(layer)))
        copy.get_layer(layer.name).set_weights(weights)
    return copy


def _folded_weights(layer: keras.Layer, norm: keras.Layer, before: keras.Layer | None) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of the convolution ``layer`` with what stands around it folded in."""
    gamma, beta, mean, variance = (np.asarray(weight, np.float64) for weight in norm.get_weights())
    kernel = np.asarray(layer.get_weights()[0], np.float64)
    bias = np.zeros(len(gamma))
    if _is(before, "Rescaling"):
        bias = before.offset * kernel.sum(axis=(0, 1, 2))
        kernel = before.scale * kernel
    scale = gamma / np.sqrt(variance + norm.epsilon)
    # a transposed kernel has its output channels before its input channels
    kernel = kernel * (scale[:, None] if _is(layer, "Conv2DTranspose") else scale)
    return kernel.astype(np.float32), (beta + (bias - mean) * scale).astype(np.float32)


def _source(layer: keras.Layer) -> str:
    """Return the name of the layer that gives a layer of one input its input."""
    return layer.input._keras_history.operation.name


def _is(layer: keras.Layer | None, kind: str) -> bool:
    return type(layer).__name__ == kind
