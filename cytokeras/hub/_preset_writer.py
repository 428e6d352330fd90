"""Writing presets: a model with its weights into a folder, and from there to the Hugging Face Hub."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytokeras._files import create_folder
from cytokeras._version import __version__
from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.hub import hub_client
from cytokeras.hub._json_fields import JsonFields, read_json
from cytokeras.hub._weights_file import read_weights
from cytokeras.hub.golden import GoldenPair
from cytokeras.hub.hub_client import HUB_PREFIX, Publication
from cytokeras.hub.model_card import render_model_card
from cytokeras.hub.preset_files import (
    ALL_FILES,
    CARD_FILE,
    CONFIG_FILE,
    GOLDEN_FILE,
    LIBRARY,
    METADATA_FILE,
    PRESET_FILES,
    PROVENANCE_FIELDS,
    WEIGHTS_FILE,
    PresetConfig,
    PresetFolder,
    PresetMetadata,
    check_provenance,
    sha256_of,
)


def save_preset(
    model: Any,
    folder: str | os.PathLike[str],
    metadata: Mapping[str, Any] | None = None,
    card: str | None = None,
    golden: bool = False,
) -> Path:
    """Write a model as a preset folder; see ``PretrainedModel.save_pretrained``."""
    return _write_preset(model, Path(folder), metadata, card, golden, source=None)


def push_preset(
    model: Any,
    repo_id: str,
    *,
    private: bool | None = None,
    tag: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | bool | None = None,
    card: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    golden: bool = False,
) -> Publication:
    """Publish a model on the Hub; see ``PretrainedModel.push_to_hub``."""
    with tempfile.TemporaryDirectory(prefix="cytokeras-push-") as workplace:
        source = f"{HUB_PREFIX}{repo_id}"
        folder = _write_preset(model, Path(workplace) / "preset", metadata, card, golden, source)
        return push_folder(
            folder,
            repo_id,
            replace_card=card is not None,
            private=private,
            tag=tag,
            revision=revision,
            commit_message=commit_message,
            token=token,
        )


def push_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    replace_card: bool = False,
    private: bool | None = None,
    tag: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> Publication:
    """Publish a preset folder on the Hub; nothing is sent before every file of it was checked.

    Args:
        folder: The preset folder; other files in it are not sent.
        replace_card: Replace a model card that the repository already has.
        repo_id, private, tag, revision, commit_message, token: As for ``PretrainedModel.push_to_hub``.

    Raises:
        UserError: The folder is no complete and sound preset, or the Hub refuses.
    """
    preset = PresetFolder(Path(folder), os.fspath(folder))
    preset.read_config()
    metadata = preset.read_metadata()
    preset.read_weights(metadata)
    names = list(PRESET_FILES)
    if metadata.golden_sha256 is not None:
        names.append(preset.check_golden(metadata).name)
    return hub_client.publish(
        [preset.file(name) for name in names],
        repo_id,
        keep_card=not replace_card,
        private=private,
        tag=tag,
        revision=revision,
        commit_message=commit_message,
        token=token,
    )


def _write_preset(
    model: Any,
    folder: Path,
    metadata: Mapping[str, Any] | None,
    card: str | None,
    golden: bool,
    source: str | None,
) -> Path:
    from cytokeras.hub._model_building import build_clone

    # A link to a folder stays a link; what it points to is replaced.
    target = folder.resolve()
    _check_target(target)
    provenance = _checked_provenance(metadata)
    create_folder(target.parent)
    partial = target.with_name(f".{uuid.uuid4().hex[:8]}.partial.{target.name}")
    partial.mkdir()
    try:
        clone = build_clone(model)
        clone.model.save_weights(partial / WEIGHTS_FILE)
        # What is published has been read back: Keras decides how the file looks inside.
        read_weights(partial / WEIGHTS_FILE, clone.variables, WEIGHTS_FILE)
        if golden:
            GoldenPair.of(clone.model).write(partial / GOLDEN_FILE)
        config = _config_of(model, clone.arguments)
        preset_metadata = PresetMetadata(
            cytokeras_version=__version__,
            keras_version=clone.keras_version,
            trainable_parameters=clone.trainable_parameters,
            weights_sha256=sha256_of(partial / WEIGHTS_FILE),
            variables=clone.variables,
            provenance={"date": datetime.datetime.now(datetime.UTC).date().isoformat(), **provenance},
            golden_sha256=sha256_of(partial / GOLDEN_FILE) if golden else None,
        )
        _write_json(partial / CONFIG_FILE, config.to_json())
        _write_json(partial / METADATA_FILE, preset_metadata.to_json())
        _keep_other_files(target, partial)
        if card is None and (target / CARD_FILE).is_file():
            card = (target / CARD_FILE).read_text(encoding="utf-8")
        text = render_model_card(config, preset_metadata, source or folder.name) if card is None else card
        (partial / CARD_FILE).write_text(text, encoding="utf-8")
        _swap(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _config_of(model: Any, arguments: dict[str, Any]) -> PresetConfig:
    field = model.field
    grid = {
        "receptive_field_px": field.receptive_field,
        "stride_px": field.stride,
        "offset_px": field.offset,
        "pixel_size_um": field.output_pixel_size_um,
    }
    return PresetConfig(
        class_name=type(model).__name__,
        arguments=arguments,
        pixel_size_um=float(arguments["pixel_size_um"]),
        classes=tuple(arguments.get("class_names") or ()),
        output_grid=grid,
    )


def _checked_provenance(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(metadata or {})
    for name in given:
        if name not in PROVENANCE_FIELDS:
            known = ", ".join(PROVENANCE_FIELDS)
            raise UserError(
                f"metadata: unknown field {name!r}.{nearest_name_hint(name, PROVENANCE_FIELDS)} Known: {known}."
            )
    try:
        plain = json.loads(json.dumps(given, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UserError(f"metadata: must consist of JSON values ({error}).") from error
    return check_provenance(JsonFields(plain, "metadata"))


def _check_target(target: Path) -> None:
    """Refuse to replace anything but a preset folder or an empty one."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise UserError(f"{target}: exists and is no folder; choose another.")
    if any(target.iterdir()) and not _is_preset(target / CONFIG_FILE):
        raise UserError(f"{target}: exists and is no cytokeras preset, so it is not replaced; choose another.")


def _is_preset(config: Path) -> bool:
    return config.is_file() and read_json(config, str(config)).values.get("library") == LIBRARY


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _keep_other_files(target: Path, partial: Path) -> None:
    """Copy what a user keeps beside the preset (a Git folder, notes), so that it survives the replacement."""
    for entry in target.iterdir() if target.is_dir() else ():
        if entry.name in ALL_FILES:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, partial / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, partial / entry.name, follow_symlinks=False)


def _swap(partial: Path, target: Path) -> None:
    """Put ``partial`` in the place of ``target``; if that fails, ``target`` is as it was."""
    if not target.exists():
        partial.rename(target)
        return
    before = target.with_name(f".{uuid.uuid4().hex[:8]}.replaced.{target.name}")
    target.rename(before)
    try:
        partial.rename(target)
    except OSError:
        before.rename(target)
        raise
    shutil.rmtree(before)
