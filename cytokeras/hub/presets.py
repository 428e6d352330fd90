"""Presets: models with their weights, built in, in a folder or on the Hugging Face Hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cytokeras._files import new_folder
from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.hub import hub_client
from cytokeras.hub.hub_client import HUB_PREFIX, HubSource
from cytokeras.hub.preset_files import (
    ALL_FILES,
    CARD_FILE,
    CONFIG_FILE,
    METADATA_FILE,
    PRESET_FILES,
    PresetConfig,
    PresetFolder,
    PresetMetadata,
)


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

    def lines(self) -> list[str]:
        """Return all that is known, one fact a line."""
        known = self.metadata.provenance
        data = known.get("data", {})
        low, high = self.config.value_range
        grid = self.config.output_grid
        facts = {
            "preset": self.name,
            "summary": self.summary,
            "class": f"{self.class_name}, {self.parameters:,} trainable weights",
            "input": f"{self.config.arguments.get('input_shape', '')} px, {self.pixel_size_um:g} µm per pixel, "
            f"values {low:g} to {high:g}: {self.config.polarity}",
            "output": ", ".join(f"{name} {value}" for name, value in grid.items()),
            "classes": ", ".join(self.config.classes),
            "licence": known.get("license"),
            "data": data.get("description"),
            "synthetic": {True: "yes: of no use for anatomical results", False: "no"}.get(data.get("synthetic")),
            "trained from": known.get("source_preset"),
            "recipe": known.get("recipe", {}).get("name"),
            "written": f"{known.get('date', '')} by cytokeras {self.metadata.cytokeras_version} with Keras "
            f"{self.metadata.keras_version}",
            "sha-256": self.metadata.weights_sha256,
            "golden pair": "yes" if self.metadata.golden_sha256 else "no",
        }
        scores = [f"{'score':<12} {name}: {value}" for name, value in known.get("scores", {}).items()]
        return [f"{name:<12} {value}" for name, value in facts.items() if value] + scores


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
    return _describe(open_source(source, files, revision, local_files_only, cache_dir, token))


def download_preset(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    local_files_only: bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> Path:
    """Bring all files of a preset onto this machine and check them.

    Args:
        source: As for ``from_pretrained``, like all arguments not named here.
        folder: New folder for a copy; None leaves the files where ``from_pretrained`` finds them (the cache of the
            Hub, or the local folder).

    Returns:
        The folder with the files.

    Raises:
        UserError: The preset cannot be had or is damaged, or ``folder`` exists.
    """
    target = None if folder is None else Path(folder)
    if target is not None and os.path.lexists(target):
        raise UserError(f"{target}: exists already; choose a new folder.")
    preset = open_source(source, ALL_FILES, revision, local_files_only, cache_dir, token)
    preset.read_config()
    metadata = preset.read_metadata()
    preset.read_weights(metadata)
    names = [name for name in PRESET_FILES if name != CARD_FILE or (preset.folder / name).exists()]
    if metadata.golden_sha256 is not None:
        names.append(preset.check_golden(metadata).name)
    if target is None:
        return preset.folder
    with new_folder(target) as partial:
        for name in names:
            shutil.copyfile(preset.file(name), partial / name)
    return target


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


def open_source(
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
