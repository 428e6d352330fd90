"""From a class and its arguments to a model and its variable list; all that the hub needs Keras for."""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.hub.preset_files import Variable, variables_difference


def constructor_arguments(cls: type[Any]) -> list[str]:
    """Return the names of the arguments of a model's constructor."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [parameter.name for parameter in parameters if parameter.kind in named]


def check_overrides(cls: type, overrides: Mapping[str, Any]) -> None:
    """Raise TypeError, with the nearest name, for an override that is no argument of the constructor."""
    known = constructor_arguments(cls)
    for name, value in overrides.items():
        if name not in known:
            raise TypeError(
                f"{cls.__name__}.from_pretrained got an unknown argument {name!r}."
                f"{nearest_name_hint(name, known)} Arguments of the model: {', '.join(known)}. "
                f"Received: {name}={value!r}"
            )


@contextlib.contextmanager
def dtype_policy(policy: Any) -> Iterator[None]:
    """Build models with this Keras dtype policy inside the block; None changes nothing.

    Raises:
        UserError: There is no such policy.
    """
    try:
        chosen = keras.dtype_policies.get(policy)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"dtype must be a Keras dtype policy such as 'float32' or 'mixed_bfloat16'. Received: dtype={policy!r}"
        ) from error
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(chosen)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build_stored(cls: type, arguments: Mapping[str, Any], where: str) -> Any:
    """Build a model from the arguments of a preset; ``where`` names them in errors.

    Raises:
        UserError: An argument is unknown to this class or has a value that it refuses.
    """
    known = constructor_arguments(cls)
    for name in arguments:
        if name not in known:
            raise UserError(f"{where}.{name}: is no argument of {cls.__name__}.{nearest_name_hint(name, known)}")
    try:
        return build(cls, arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {cls.__name__} cannot be built from these arguments ({error})") from error


def build(cls: type, arguments: Mapping[str, Any]) -> Any:
    """Build a model; lists, which is what JSON makes of tuples, become tuples again."""
    return cls(**{name: as_tuples(value) for name, value in arguments.items()})


def as_tuples(value: Any) -> Any:
    """Return ``value`` with every list in it replaced by a tuple."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def list_variables(model: Any) -> tuple[Variable, ...]:
    """Return name, shape and dtype of every variable of a model, the same in every process.

    Keras numbers the layers that were given no name by a counter of the process (``conv2d_7``), and variables
    of nested models may begin with the model's own name. The prefix is cut off, and such layers are numbered
    anew in the order in which they occur.
    """
    automatic = _automatic_names(model)
    numbers: dict[str, dict[str, int]] = defaultdict(dict)

    def stable(part: str) -> str:
        base = automatic.get(part)
        if base is None:
            return part
        number = numbers[base].setdefault(part, len(numbers[base]))
        return f"{base}_{number}" if number else base

    variables = []
    for variable in model.variables:
        parts = variable.path.removeprefix(f"{model.name}/").split("/")
        shape = tuple(int(size) for size in variable.shape)
        name = "/".join(stable(part) for part in parts)
        variables.append(Variable(name, shape, keras.backend.standardize_dtype(variable.dtype)))
    return tuple(variables)


def _automatic_names(model: Any) -> dict[str, str]:
    """Return layer name -> name without its number, for the layers that Keras named itself."""
    found = {}
    layers = list(model.layers)
    while layers:
        layer = layers.pop()
        layers += getattr(layer, "layers", [])
        base = _snake_case(type(layer).__name__)
        if re.fullmatch(rf"{base}(_\d+)?", layer.name):
            found[layer.name] = base
    return found


def _snake_case(name: str) -> str:
    # As keras.src.utils.naming.to_snake_case, which is private: BatchNormalization, Conv2D, conv2d.
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


@dataclass(frozen=True)
class Clone:
    """A model built anew from the arguments of another, with its weights, and what a preset states of it."""

    model: Any
    arguments: dict[str, Any]
    variables: tuple[Variable, ...]
    trainable_parameters: int
    keras_version: str


def build_clone(model: Any) -> Clone:
    """Build a model anew in float32 and copy the weights of ``model`` into it.

    What is written is thereby known to be loadable from the constructor's arguments alone, and free of what
    training attached to the model: optimizer, frozen layers, half-precision weights.

    Raises:
        UserError: ``get_config`` does not rebuild the model, or a weight is NaN or infinite.
    """
    name = type(model).__name__
    variables = list_variables(model)
    for variable, value in zip(variables, model.get_weights(), strict=True):
        if not np.all(np.isfinite(np.asarray(value, dtype="float64"))):
            raise UserError(f"{name}: weight {variable.path} holds NaN or infinite values; such a model is not saved.")
    try:
        arguments = json.loads(json.dumps(model.get_config(), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: an argument is no JSON value ({error}), so it cannot be saved.") from error
    with dtype_policy("float32"):
        clone = build(type(model), arguments)
    clone_variables = list_variables(clone)
    difference = variables_difference(clone_variables, variables)
    if difference:
        raise UserError(
            f"{name}: was changed after it was built and cannot be rebuilt from its arguments: "
            f"{difference.replace('in the preset', 'in a model built anew')}."
        )
    clone.set_weights(model.get_weights())
    count = sum(math.prod(variable.shape) for variable in clone.trainable_variables)
    return Clone(clone, arguments, clone_variables, count, keras.__version__)
