"""Presets: models with their weights, built in, in a folder or on the Hugging Face Hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.hub import hub_client
from cytokeras.hub.hub_client import HUB_PREFIX, HubSource
from cytokeras.hub.preset_files import (
    CONFIG_FILE,
    METADATA_FILE,
    WEIGHTS_FILE,
    PresetConfig,
    PresetFolder,
    PresetMetadata,
    variables_difference,
)

_MODEL_CLASSES = ("AtlasUNet", "SiameseDistanceNet")

_CLASS_ARGUMENTS = ("num_classes", "class_names")

# Overrides that leave every weight its shape although the trained filters then see another scale or grid.
_SCALE_ARGUMENTS = ("pixel_size_um", "first_stride", "first_pool")


@dataclass(frozen=True)
class PresetDescription:
    """What is known of a preset without building it.

    Attributes:
        name: Built-in name, folder or Hub repository.
        class_name: Class of the model.
        pixel_size_um: Edge of an input pixel in µm.
        parameters: Number of trainable weights.
        summary: One line.
        config, metadata: Content of the two JSON files.
    """

    name: str
    class_name: str
    pixel_size_um: float
    parameters: int
    summary: str
    config: PresetConfig
    metadata: PresetMetadata

    def __str__(self) -> str:
        size, count = f"{self.pixel_size_um:g} µm/px", f"{self.parameters:,} weights"
        return f"{self.name}: {self.class_name}, {size}, {count}. {self.summary}".rstrip()


def list_presets() -> list[PresetDescription]:
    """Return the built-in presets in the order of their names; imports neither Keras nor a backend."""
    return [_describe(PresetFolder(folder, name)) for name, folder in builtin_presets().items()]


def describe_preset(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    local_files_only: bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> PresetDescription:
    """Return what is known of one preset without its weights; arguments as for ``from_pretrained``."""
    files = (CONFIG_FILE, METADATA_FILE)
    return _describe(_open_source(source, files, revision, local_files_only, cache_dir, token))


def builtin_presets() -> dict[str, Path]:
    """Return name -> folder of the presets that came with the package, sorted by name."""
    package = Path(__file__).resolve().parents[1]
    roots = [package / "_weights"]
    # In a checkout the weights lie beside the package, not in it; elsewhere a folder of
    # that name is none of ours.
    if (package.parent / "setup.cfg").is_file():
        roots.append(package.parent / "weights")
    folders = {config.parent.name: config.parent for root in roots for config in root.glob(f"*/{CONFIG_FILE}")}
    return dict(sorted(folders.items()))


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
    from cytokeras.hub._model_building import as_tuples, build, build_stored, check_overrides, dtype_policy

    check_overrides(cls, overrides)
    files = (CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE) if load_weights else (CONFIG_FILE,)
    preset = _open_source(source, files, revision, local_files_only, cache_dir, token)
    config = preset.read_config()
    _check_class(cls, config, preset.label)
    where = f"{preset.label}/{CONFIG_FILE}, field arguments"
    stored = config.arguments
    changed = {
        name: value
        for name, value in _completed(config, overrides).items()
        if name not in stored or as_tuples(stored[name]) != as_tuples(value)
    }
    if load_weights:
        metadata = preset.read_metadata()
        weights = preset.checked_weights(metadata)
    with dtype_policy(dtype):
        # Errors of given arguments are those of the constructor; errors of stored ones name the file.
        model = build(cls, {**stored, **changed}) if changed else build_stored(cls, stored, where)
        if not load_weights:
            return model
        warning = _scale_warning(config, changed)
        if warning:
            _warn(warning)
        if not changed or _difference(metadata, model) is None:
            return _load(model, weights, metadata, preset.label)
        # The file goes by the order of the layers, which some arguments change: load it as it was written,
        # then copy by name.
        trained = _load(build_stored(cls, stored, where), weights, metadata, preset.label)
        head = _fill_changed(model, trained, stored, changed, preset.label)
    if head:
        _warn(
            f"num_classes={changed['num_classes']} replaces {stored['num_classes']}: "
            f"{' and '.join(head)} are newly initialised, all else is loaded."
        )
    return model


def _open_source(
    source: str | os.PathLike[str],
    files: Sequence[str],
    revision: str | None,
    local_files_only: bool | None,
    cache_dir: str | os.PathLike[str] | None,
    token: str | bool | None,
) -> PresetFolder:
    """Find the folder of a preset, downloading it where ``source`` is a repository of the Hub."""
    name = os.fspath(source)
    builtin = builtin_presets()
    local: Path | None = None
    if not name.startswith(HUB_PREFIX):
        local = builtin.get(name) if isinstance(source, str) else None
        if local is None and (isinstance(source, os.PathLike) or os.path.isdir(name)):
            local = Path(name)
    if local is not None:
        if revision is not None:
            raise UserError(
                f"revision is for repositories of the Hub, {name} is local. Received: revision={revision!r}"
            )
        if not local.is_dir():
            raise UserError(f"{name}: no such preset folder.")
        return PresetFolder(local, name)
    repository = HubSource.parse(name, revision)
    if repository is None:
        presets = ", ".join(builtin) or "none"
        raise UserError(
            f"Unknown preset {name!r}: neither a built-in preset ({presets}), nor a folder, nor 'org/name' "
            f"on the Hub.{nearest_name_hint(name, builtin)}"
        )
    try:
        folder = hub_client.download(
            repository, files, local_files_only=local_files_only, cache_dir=cache_dir, token=token
        )
    except UserError as error:
        if name.startswith(HUB_PREFIX):
            raise
        # "org/name" may have been meant as a path.
        raise UserError(f"{error} Neither is there a folder or built-in preset {name!r}.") from error
    return PresetFolder(folder, str(repository))


def _describe(preset: PresetFolder) -> PresetDescription:
    config, metadata = preset.read_config(), preset.read_metadata()
    summary = metadata.provenance.get("description", "").partition("\n")[0]
    return PresetDescription(
        preset.label,
        config.class_name,
        config.pixel_size_um,
        metadata.trainable_parameters,
        summary,
        config,
        metadata,
    )


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


def _completed(config: PresetConfig, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Add the arguments that have to follow an override because the stored ones would contradict it."""
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
    return changed


def _scale_warning(config: PresetConfig, changed: Mapping[str, Any]) -> str | None:
    """Say it where overrides keep the shapes of the weights but not what the weights mean."""
    renamed = "class_names" in changed and "num_classes" not in changed
    if renamed and config.classes and changed["class_names"] is not None:
        return "class_names changed but not their number: the output head keeps its weights and their order."
    names = [name for name in _SCALE_ARGUMENTS if name in changed]
    if not names:
        return None
    new = ", ".join(f"{name}={changed[name]!r}" for name in names)
    old = ", ".join(f"{name}={config.arguments.get(name)!r}" for name in names)
    return f"{new}: the weights are kept although they were trained with {old}."


def _difference(metadata: PresetMetadata, model: Any) -> str | None:
    from cytokeras.hub._model_building import list_variables

    return variables_difference(metadata.variables, list_variables(model))


def _load(model: Any, weights: Path, metadata: PresetMetadata, label: str) -> Any:
    difference = _difference(metadata, model)
    if difference:
        raise UserError(f"{label}/{METADATA_FILE}, field variables: {difference}; the preset is damaged.")
    try:
        model.load_weights(weights)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{label}/{WEIGHTS_FILE}: is damaged, Keras cannot load it ({error}).") from error
    return model


def _fill_changed(
    model: Any, trained: Any, stored: Mapping[str, Any], changed: Mapping[str, Any], label: str
) -> list[str]:
    """Copy the weights of ``trained`` by name; return the layers of a new output head, which are left alone.

    Raises:
        UserError: Other shapes differ than those that follow from a new number of classes.
    """
    from cytokeras.hub._model_building import build

    if "num_classes" not in changed:
        _check_shapes(trained, model, changed, label)
        return _copy_by_name(trained, model)
    others = {name: value for name, value in changed.items() if name not in _CLASS_ARGUMENTS}
    if others:
        # With the old number of classes all weights must fit, output head included.
        _check_shapes(trained, build(type(model), {**stored, **others}), others, label)
    return _copy_by_name(trained, model)


def _check_shapes(trained: Any, model: Any, changed: Mapping[str, Any], label: str) -> None:
    """Raise UserError unless both models have the same variables, in whatever order."""
    from cytokeras.hub._model_building import list_variables

    stored, built = ({v.path: v for v in list_variables(m)} for m in (trained, model))
    different = [
        f"{path} is {stored[path].shape if path in stored else 'absent'} in the preset and "
        f"{built[path].shape if path in built else 'absent'} in the model"
        for path in dict.fromkeys([*stored, *built])
        if path not in stored or path not in built or stored[path].shape != built[path].shape
    ]
    if different:
        arguments = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        raise UserError(
            f"{label}: the stored weights do not fit the model built with {arguments}: {different[0]}"
            f"{f', and {len(different) - 1} more' if len(different) > 1 else ''}. "
            "Build it with load_weights=False and give it other weights."
        )


def _copy_by_name(trained: Any, model: Any) -> list[str]:
    """Copy the weights of every layer whose shapes agree; return the names of the others."""
    from cytokeras.hub._model_building import list_variables

    sources = dict(zip((v.path for v in list_variables(trained)), trained.variables, strict=True))
    targets = list(zip(list_variables(model), model.variables, strict=True))
    # A dict keeps the order of the layers.
    head = dict.fromkeys(v.layer for v, _ in targets if tuple(sources[v.path].shape) != v.shape)
    for variable, target in targets:
        if variable.layer not in head:
            target.assign(sources[variable.path])
    return list(head)


def _warn(text: str) -> None:
    # Points at the caller of from_pretrained.
    warnings.warn(text, UserWarning, stacklevel=4)
