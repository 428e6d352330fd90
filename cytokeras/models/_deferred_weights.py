"""Building models without values, for weights that are known already.

Random initial values cost most of the time of building a network (on the JAX backend every shape is compiled: 40 s for
a small U-Net), and arguments from elsewhere may ask for more weights than there is memory. So the network is built
without values, its shapes can be looked at, and only then memory is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np


def build_without_values(build: Callable[[], Any], policy: Any = None) -> Any:
    """Build a model whose variables have shapes but no values yet; ``give_values`` has to follow.

    Args:
        build: Returns the model.
        policy: Keras dtype policy of the model; None is the global one.
    """
    policy = keras.config.dtype_policy() if policy is None else policy

    def build_in_scope() -> Any:
        keras.config.set_dtype_policy(policy)
        with keras.StatelessScope(initialize_variables=False):
            return build()

    # Keras remembers, for each thread, the variables that it has yet to initialise, and would do so at the next
    # occasion. That list ends with this thread.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(build_in_scope).result()


def give_values(model: Any, values: Mapping[str, np.ndarray]) -> None:
    """Give every variable of a model from ``build_without_values`` its value.

    Args:
        model: The model.
        values: Path of a variable (see ``variable_paths``) -> array of its shape. Variables that are not named get
            the values of their initializers.
    """
    for path, variable in zip(variable_paths(model), model.variables, strict=True):
        # Both are methods of keras.Variable that every backend has, in Keras 3.12 to 3.15; there is no public way.
        if path in values:
            variable._initialize(keras.ops.convert_to_tensor(values[path], dtype=variable.dtype))
        else:
            variable._deferred_initialize()
    if keras.backend.backend() == "torch":
        for layer in (model, *_all_layers(model)):
            layer.torch_params  # noqa: B018  registers the values as parameters of the module


def _all_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        yield from _all_layers(layer) if hasattr(layer, "layers") else ()


def variable_paths(model: Any) -> list[str]:
    """Return the path of every variable as ``layer/variable``, without the name of the model."""
    return [variable.path.removeprefix(f"{model.name}/") for variable in model.variables]


def copy_values(model: Any) -> dict[str, np.ndarray]:
    """Return path -> value of every variable of a model."""
    return dict(zip(variable_paths(model), model.get_weights(), strict=True))
