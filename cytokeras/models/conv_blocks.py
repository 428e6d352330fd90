"""From a layer list to Keras layers, and what both networks share in building themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from cytokeras.errors import nearest_name_hint
from cytokeras.models._deferred_weights import build_without_values, copy_values, give_values
from cytokeras.models.batch_normalization import BatchNormalization
from cytokeras.models.field_geometry import ConvStep, PoolStep, Step

_WHITE = 255.0  # grey value of the background in 8-bit images

# Not stated in the paper. Keras' own 0.99 still carries a third of the initial statistics after 100 steps, which
# spoils short fine-tuning; 0.95 forgets them in 60.
_NORM_MOMENTUM = 0.95
_KERNEL_INITIALIZER = "he_normal"  # for ReLU; not stated in the paper


def make_layers(steps: Iterable[Step], weight_decay: float) -> dict[str, keras.Layer]:
    """Create the layers of ``steps`` by name, for ``run_steps`` to connect once or, to share them, more often."""
    layers: dict[str, keras.Layer] = {}
    for step in steps:
        for layer in _layers_of(step, weight_decay):
            layers[layer.name] = layer
    return layers


def run_steps(steps: Iterable[Step], x: Any, layers: Mapping[str, keras.Layer]) -> Any:
    """Send ``x`` through the layers of ``steps``."""
    for step in steps:
        for name in _layer_names(step):
            x = layers[name](x)
    return x


def rescale_grey() -> keras.Layer:
    """Layer from 8-bit grey to network input: 255 (background) to -1, 0 (black, cells) to +1.

    Stained cells are what the networks look for, so they are positive. The paper of 2018 states no
    normalisation; the first author's tutorial standardises inputs. A fixed map needs no statistics of a data
    set.
    """
    # float32 under mixed precision too: half precision would round the grey values.
    return keras.layers.Rescaling(-2.0 / _WHITE, offset=1.0, name="rescale_grey", dtype="float32")


def batch_normalization(name: str, weight_decay: float) -> keras.Layer:
    """Batch normalization whose statistics are those of all replicas."""
    # Without synchronized=True each replica keeps its own moving statistics and only the first is saved. Only
    # the TensorFlow backend has replicas of a layer, and the others refuse the argument.
    return BatchNormalization(
        momentum=_NORM_MOMENTUM,
        synchronized=keras.backend.backend() == "tensorflow",
        gamma_regularizer=_l2(weight_decay),
        beta_regularizer=_l2(weight_decay),
        name=name,
    )


def convolution(name: str, filters: int, kernel: int, stride: int, weight_decay: float) -> keras.Layer:
    """A valid convolution without bias (the batch normalization after it has one)."""
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        use_bias=False,
        kernel_initializer=_KERNEL_INITIALIZER,
        kernel_regularizer=_l2(weight_decay),
        name=name,
    )


def reject_unknown_arguments(unknown: Mapping[str, Any], builder: type) -> None:
    """Raise TypeError for the first unknown argument of a model class, naming the nearest known one."""
    for name, value in unknown.items():
        known = [known for known in inspect.signature(builder.__init__).parameters if known not in ("self", "unknown")]
        hint = nearest_name_hint(name, known)
        raise TypeError(f"{builder.__name__} has no argument {name!r}.{hint} Received: {name}={value!r}")


def with_input_shape(model: keras.Model, input_shape: Sequence[int]) -> Any:
    """A model of the same class, arguments and dtype policy for another input shape, with a copy of the weights."""
    arguments = {**model.get_config(), "input_shape": input_shape}
    other = build_without_values(lambda: type(model)(**arguments), model.dtype_policy)
    give_values(other, copy_values(model))
    return other


def _l2(weight_decay: float) -> keras.Regularizer | None:
    return keras.regularizers.L2(weight_decay) if weight_decay else None


def _layer_names(step: Step) -> tuple[str, ...]:
    if isinstance(step, PoolStep):
        return (step.name,)
    return step.name, f"{step.name}_norm", f"{step.name}_relu"


def _layers_of(step: Step, weight_decay: float) -> tuple[keras.Layer, ...]:
    if isinstance(step, PoolStep):
        # padding="same" is ceil pooling: 1019 px would otherwise run out of pixels in block 6.
        return (keras.layers.MaxPooling2D(step.kernel, step.stride, padding="same", name=step.name),)
    if isinstance(step, ConvStep):
        first = convolution(step.name, step.filters, step.kernel, step.stride, weight_decay)
    else:
        first = keras.layers.Conv2DTranspose(
            step.filters,
            2,
            strides=2,
            use_bias=False,
            kernel_initializer=_KERNEL_INITIALIZER,
            kernel_regularizer=_l2(weight_decay),
            name=step.name,
        )
    return (
        first,
        batch_normalization(f"{step.name}_norm", weight_decay),
        keras.layers.ReLU(name=f"{step.name}_relu"),
    )
