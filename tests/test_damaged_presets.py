"""Preset folders that were damaged or tampered with: each is refused with the place of the damage."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.hub.preset_files import PRESET_FILES, WEIGHTS_FILE

pytest.importorskip("keras")

from _presets import NAMES

from cytokeras.models.atlas_unet import AtlasUNet


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def restate_sha256(folder: Path) -> None:
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    edit_json(folder / "metadata.json", lambda value: value.update(weights_sha256=digest))


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap_variables(metadata: dict[str, Any]) -> None:
    variables = metadata["variables"]
    variables[1], variables[2] = variables[2], variables[1]


def rename_class(config: dict[str, Any]) -> None:
    config["class_name"] = "GreatUNet"


DAMAGED_JSON: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("config.json", lambda v: v.pop("class_name"), "config.json, field class_name: is missing"),
    ("config.json", rename_class, "holds a GreatUNet, not a AtlasUNet"),
    ("config.json", lambda v: v.update(library="transformers"), "field library: must be 'cytokeras'"),
    ("config.json", lambda v: v.pop("library"), "field library.*no cytokeras preset"),
    ("config.json", lambda v: v.update(format_version=2), "field format_version: 2 is newer than 1"),
    (
        "config.json",
        lambda v: v.update(format_version="1"),
        "format_version: must be an integer, received a text",
    ),
    ("config.json", lambda v: v["input"].pop("polarity"), "field input, field polarity: is missing"),
    ("config.json", lambda v: v["input"].update(pixel_size_um=2), "2.0 differs from 16.0 in field arguments"),
    ("config.json", lambda v: v["input"].update(value_range=[0]), "value_range: must be two numbers"),
    ("config.json", lambda v: v["arguments"].update(width=3), "arguments.width: is no argument of AtlasUNet"),
    (
        "config.json",
        lambda v: v["arguments"].update(num_classes=7),
        "field arguments: AtlasUNet cannot be built",
    ),
    ("metadata.json", lambda v: v.pop("weights_sha256"), "metadata.json, field weights_sha256: is missing"),
    (
        "metadata.json",
        lambda v: v.update(format_version=9),
        "metadata.json, field format_version: 9 is newer",
    ),
    (
        "metadata.json",
        lambda v: v["variables"][3].pop("shape"),
        r"field variables\[3\], field shape: is missing",
    ),
    ("metadata.json", lambda v: v["variables"].pop(), "the preset has 179 variables and the model 180"),
    ("metadata.json", swap_variables, r"variable 1 is \S+/beta \(2,\) in the preset and \S+/gamma \(2,\)"),
]


@pytest.mark.parametrize(("name", "change", "message"), DAMAGED_JSON)
def test_damaged_json_is_named_by_field(
    preset_folder: Path, name: str, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_json(preset_folder / name, change)
    with pytest.raises(UserError, match=message):
        AtlasUNet.from_pretrained(preset_folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": NaN}', "\udcff"])
def test_file_that_is_no_json_object_is_refused(preset_folder: Path, text: str) -> None:
    (preset_folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"config\.json: (is damaged|must hold a JSON object)"):
        AtlasUNet.from_pretrained(preset_folder)


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_missing_file_is_named(preset_folder: Path, name: str) -> None:
    (preset_folder / name).unlink()
    with pytest.raises(UserError, match=f"has no file {name}"):
        AtlasUNet.from_pretrained(preset_folder)


def test_flipped_byte_is_found(preset_folder: Path) -> None:
    flip_byte(preset_folder / WEIGHTS_FILE)
    with pytest.raises(UserError, match=r"model\.weights\.h5: is damaged or was replaced: its SHA-256 is"):
        AtlasUNet.from_pretrained(preset_folder)


def test_truncated_weights_with_a_matching_check_sum_are_refused(preset_folder: Path) -> None:
    content = (preset_folder / WEIGHTS_FILE).read_bytes()
    (preset_folder / WEIGHTS_FILE).write_bytes(content[: len(content) // 2])
    restate_sha256(preset_folder)
    with pytest.raises(UserError, match=r"model\.weights\.h5: is damaged, no readable HDF5 file"):
        AtlasUNet.from_pretrained(preset_folder)


def test_nan_in_the_weights_is_refused(preset_folder: Path) -> None:
    with h5py.File(preset_folder / WEIGHTS_FILE, "r+") as file:
        file["layers/conv2d/vars/0"][0, 0, 0, 0] = np.nan
    restate_sha256(preset_folder)
    with pytest.raises(UserError, match="layers/conv2d/vars/0 holds NaN or infinite values"):
        AtlasUNet.from_pretrained(preset_folder)


@pytest.mark.parametrize("link", [h5py.ExternalLink("/etc/hostname", "/"), h5py.SoftLink("/layers")])
def test_links_inside_the_weights_are_refused(preset_folder: Path, link: object) -> None:
    with h5py.File(preset_folder / WEIGHTS_FILE, "r+") as file:
        file["layers/other"] = link
    restate_sha256(preset_folder)
    with pytest.raises(UserError, match="layers/other is a link to another place"):
        AtlasUNet.from_pretrained(preset_folder)


def test_array_outside_the_weights_file_is_refused(preset_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(8))
    with h5py.File(preset_folder / WEIGHTS_FILE, "r+") as file:
        outside = [(str(tmp_path / "secret"), 0, 8)]
        file.create_dataset("other", shape=(2,), dtype="f4", external=outside)
    restate_sha256(preset_folder)
    with pytest.raises(UserError, match="other is not stored as a plain array"):
        AtlasUNet.from_pretrained(preset_folder)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_link_out_of_the_folder_is_refused(preset_folder: Path, tmp_path: Path, name: str) -> None:
    (preset_folder / name).rename(tmp_path / "elsewhere")
    (preset_folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"{name}: is a link that leaves the folder"):
        AtlasUNet.from_pretrained(preset_folder)


def test_links_of_the_hub_cache_into_its_blobs_are_followed(saved_unet: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "0123", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(saved_unet, blobs)
    for name in PRESET_FILES:
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    assert AtlasUNet.from_pretrained(snapshot).class_names == NAMES
