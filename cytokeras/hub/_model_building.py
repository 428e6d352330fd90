"""From a class and its arguments to a model and its variable list; all that the hub needs Keras for."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.hub._weights_file import Variable, sha256_of_array
from cytokeras.hub.preset_files import variables_difference
from cytokeras.models._deferred_weights import build_without_values, copy_values, give_values, variable_paths


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


def find_policy(dtype: Any) -> Any:
    """Return the Keras dtype policy that ``dtype`` names; None is the global one.

    Raises:
        UserError: There is no such policy.
    """
    try:
        return keras.dtype_policies.get(dtype)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"dtype must be a Keras dtype policy such as 'float32' or 'mixed_bfloat16'. Received: dtype={dtype!r}"
        ) from error


@contextlib.contextmanager
def dtype_policy(chosen: Any) -> Iterator[None]:
    """Build models with this Keras dtype policy inside the block."""
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
    """Return path, shape and dtype of every variable of a model, which may be without values."""
    return tuple(
        Variable(path, tuple(int(size) for size in variable.shape), keras.backend.standardize_dtype(variable.dtype))
        for path, variable in zip(variable_paths(model), model.variables, strict=True)
    )


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
    clone = build_without_values(lambda: build(type(model), arguments), "float32")
    clone_variables = list_variables(clone)
    difference = variables_difference(clone_variables, variables)
    if difference:
        raise UserError(
            f"{name}: was changed after it was built and cannot be rebuilt from its arguments: "
            f"{difference.replace('in the preset', 'in a model built anew')}."
        )
    give_values(clone, copy_values(model))
    stored = tuple(
        dataclasses.replace(variable, sha256=sha256_of_array(value))
        for variable, value in zip(clone_variables, clone.get_weights(), strict=True)
    )
    count = sum(math.prod(variable.shape) for variable in clone.trainable_variables)
    return Clone(clone, arguments, stored, count, keras.__version__)
