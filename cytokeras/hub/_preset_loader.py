"""From a preset to a model: overrides, the checks that need the model, and the weights in their places."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from cytokeras.errors import UserError
from cytokeras.hub import presets
from cytokeras.hub._weights_file import Variable
from cytokeras.hub.golden import TOLERANCE, GoldenPair
from cytokeras.hub.preset_files import (
    CONFIG_FILE,
    GOLDEN_FILE,
    METADATA_FILE,
    WEIGHTS_FILE,
    PresetConfig,
    PresetFolder,
    variables_difference,
)

_MODEL_CLASSES = ("AtlasUNet", "SiameseDistanceNet")

_HEAD_ARGUMENTS = ("num_classes", "class_names", "auxiliary")
"""Overrides that may replace, add or remove output heads and leave all other layers their weights."""

# Overrides that leave every weight its shape although the trained filters then see another scale or grid.
_SCALE_ARGUMENTS = ("pixel_size_um", "first_stride", "first_pool")


def load_preset(
    cls: type,
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    load_weights: bool = True,
    dtype: Any = None,
    local_files_only: bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    **overrides: Any,
) -> Any:
    """Build ``cls`` from a preset; see ``PretrainedModel.from_pretrained``."""
    from cytokeras.hub._model_building import check_overrides, dtype_policy, find_policy

    check_overrides(cls, overrides)
    policy = find_policy(dtype)
    files = (CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE) if load_weights else (CONFIG_FILE,)
    preset = presets.open_source(source, files, revision, local_files_only, cache_dir, token)
    config = preset.read_config()
    _check_class(cls, config, preset.label)
    changed = _changed_arguments(config, overrides)
    if not load_weights:
        with dtype_policy(policy):
            return _build(cls, preset, config, changed)
    model, new_layers = _build_with_weights(cls, preset, config, changed, policy)
    for warning in _warnings(config, changed, new_layers):
        # Points at the caller of from_pretrained.
        warnings.warn(warning, UserWarning, stacklevel=3)
    return model


def load_folder(preset: PresetFolder) -> Any:
    """Load the model of a preset folder, of whatever class it is."""
    from cytokeras import models

    config = preset.read_config()
    if config.class_name not in _MODEL_CLASSES:
        raise UserError(f"{preset.label}: holds a {config.class_name}; this version of cytokeras has no such model.")
    return load_preset(getattr(models, config.class_name), preset.folder)


def check_golden_pair(source: str | os.PathLike[str], **where: Any) -> tuple[float, float]:
    """Load a preset and compare its outputs for the golden inputs with the golden outputs.

    Args:
        source: As for ``from_pretrained``.
        **where: ``revision``, ``local_files_only``, ``cache_dir``, ``token``, as for ``from_pretrained``.

    Returns:
        The largest difference and the largest that is allowed, as shares of the largest golden value.

    Raises:
        UserError: The preset cannot be had, is damaged, or has no golden pair.
    """
    preset = PresetFolder(presets.download_preset(source, **where), os.fspath(source))
    pair = GoldenPair.read(preset.check_golden(preset.read_metadata()), f"{preset.label}/{GOLDEN_FILE}")
    return pair.difference(load_folder(preset)), TOLERANCE


def _build_with_weights(
    cls: type, preset: PresetFolder, config: PresetConfig, changed: Mapping[str, Any], policy: Any
) -> tuple[Any, list[str]]:
    """Return the model with the weights of the preset, and the layers that got new ones."""
    from cytokeras.hub._model_building import list_variables
    from cytokeras.models._deferred_weights import build_without_values, give_values

    def without_values(changed: Mapping[str, Any]) -> tuple[Any, tuple[Variable, ...]]:
        model = build_without_values(lambda: _build(cls, preset, config, changed), policy)
        return model, list_variables(model)

    metadata = preset.read_metadata()
    preset.check_weights(metadata)
    model, variables = without_values({})
    difference = variables_difference(metadata.variables, variables)
    if difference:
        raise UserError(f"{preset.label}/{METADATA_FILE}, field variables: {difference}; the preset is damaged.")
    new_layers: list[str] = []
    if changed:
        heads = {name: changed[name] for name in _HEAD_ARGUMENTS if name in changed}
        removed: list[str] = []
        if heads:
            _, other_heads = without_values(heads)
            new_layers, removed = _changed_layers(variables, other_heads)
        model, wanted = without_values(changed)
        _check_shapes(variables, wanted, [*new_layers, *removed], changed, preset.label)
    kept = {variable.path for variable in variables if variable.layer not in new_layers}
    give_values(model, {path: array for path, array in preset.read_weights(metadata).items() if path in kept})
    return model, new_layers


def _build(cls: type, preset: PresetFolder, config: PresetConfig, changed: Mapping[str, Any]) -> Any:
    from cytokeras.hub._model_building import build, build_stored

    # Errors of given arguments are those of the constructor; errors of stored ones name the file.
    if changed:
        return build(cls, {**config.arguments, **changed})
    return build_stored(cls, config.arguments, f"{preset.label}/{CONFIG_FILE}, field arguments")


def _check_class(cls: type, config: PresetConfig, label: str) -> None:
    if config.class_name in {base.__name__ for base in cls.__mro__}:
        return
    text = f"{label}: holds a {config.class_name}, not a {cls.__name__}"
    if config.class_name not in _MODEL_CLASSES:
        raise UserError(f"{text}; this version of cytokeras has no such model.")
    text += f"; load it with {config.class_name}.from_pretrained"
    if config.class_name == "SiameseDistanceNet":
        text += " and copy its texture branch with cytokeras.transfer_weights"
    raise UserError(f"{text}.")


def _changed_arguments(config: PresetConfig, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides that differ from what is stored, with the arguments that have to follow them."""
    from cytokeras.hub._model_building import as_tuples

    changed = dict(overrides)
    stored = config.arguments
    if changed.get("pixel_size_um", config.pixel_size_um) != config.pixel_size_um:
        # None: the first block follows from the pixel size.
        changed.update({name: changed.get(name) for name in ("first_stride", "first_pool") if name in stored})
    if "num_classes" in stored:
        if changed.get("class_names") is not None:
            changed.setdefault("num_classes", len(changed["class_names"]))
        elif changed.get("num_classes", stored["num_classes"]) != stored["num_classes"]:
            changed["class_names"] = None  # the stored names are those of other classes
    return {
        name: value
        for name, value in changed.items()
        if name not in stored or as_tuples(stored[name]) != as_tuples(value)
    }


def _warnings(config: PresetConfig, changed: Mapping[str, Any], new_layers: Sequence[str]) -> list[str]:
    """Say it where overrides give new weights, or keep the shapes of weights but not what they mean."""
    found = []
    if new_layers:
        names = [name for name in ("num_classes", "auxiliary") if name in changed]
        told = ", ".join(f"{name}={changed[name]!r} replaces {config.arguments.get(name, ())!r}" for name in names)
        found.append(f"{told}: {' and '.join(new_layers)} are newly initialised, all else is loaded.")
    elif config.classes and changed.get("class_names") is not None:
        found.append("class_names changed but not their number: the output head keeps its weights and their order.")
    names = [name for name in _SCALE_ARGUMENTS if name in changed]
    if names:
        new = ", ".join(f"{name}={changed[name]!r}" for name in names)
        old = ", ".join(f"{name}={config.arguments.get(name)!r}" for name in names)
        found.append(f"{new}: the weights are kept although they were trained with {old}.")
    return found


def _changed_layers(stored: Sequence[Variable], other: Sequence[Variable]) -> tuple[list[str], list[str]]:
    """Return the layers of ``other`` that are new or have a variable of another shape, and those it lacks."""
    before, after = ({variable.path: variable.shape for variable in each} for each in (stored, other))
    new = (variable.layer for variable in other if before.get(variable.path) != variable.shape)
    removed = (variable.layer for variable in stored if variable.path not in after)
    return list(dict.fromkeys(new)), list(dict.fromkeys(removed))


def _check_shapes(
    stored: Sequence[Variable],
    wanted: Sequence[Variable],
    new_layers: Sequence[str],
    changed: Mapping[str, Any],
    label: str,
) -> None:
    """Raise UserError unless both lists hold the same variables outside ``new_layers``, in whatever order."""
    before, after = (
        {variable.path: variable.shape for variable in variables if variable.layer not in new_layers}
        for variables in (stored, wanted)
    )
    different = [
        f"{path} is {before.get(path, 'absent')} in the preset and {after.get(path, 'absent')} in the model"
        for path in dict.fromkeys([*before, *after])
        if before.get(path) != after.get(path)
    ]
    if different:
        arguments = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        raise UserError(
            f"{label}: the stored weights do not fit the model built with {arguments}: {different[0]}"
            f"{f', and {len(different) - 1} more' if len(different) > 1 else ''}. "
            "Build it with load_weights=False and give it other weights."
        )
