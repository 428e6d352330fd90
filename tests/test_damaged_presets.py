"""Preset folders that were damaged or tampered with: each is refused with the place of the damage."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
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
from cytokeras.models.siamese_distance_net import SiameseDistanceNet


@pytest.fixture
def siamese_folder(hub_preset: dict[str, bytes], tmp_path: Path) -> Path:
    """A preset that is quicker to build, to damage its weights."""
    folder = tmp_path / "siamese"
    folder.mkdir()
    for name, content in hub_preset.items():
        (folder / name).write_bytes(content)
    return folder


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


LAMBDA = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "evil"}}
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
    ("config.json", lambda v: v.update(class_name="SiameseDistanceNet"), "holds a SiameseDistanceNet, not a"),
    ("config.json", lambda v: v.update(class_name="os.system"), "this version of cytokeras has no such model"),
    ("config.json", lambda v: v.update(class_name="../../evil"), "this version of cytokeras has no such model"),
    ("config.json", lambda v: v.update(auto_map={"Model": "evil.py"}), "field auto_map: is unknown"),
    ("config.json", lambda v: v.update(weights="../../x.h5"), "field weights: is unknown"),
    (
        "config.json",
        lambda v: v["input"].update(preprocessing="evil.run"),
        "field input, field preprocessing: is unknown",
    ),
    ("config.json", lambda v: v["arguments"].update(name="a/b"), "field arguments: AtlasUNet cannot be built"),
    ("config.json", lambda v: v["arguments"].update(widths=LAMBDA), "field arguments: AtlasUNet cannot be built"),
    ("config.json", lambda v: v["arguments"].update(weight_decay=LAMBDA), "AtlasUNet cannot be built"),
    (
        "config.json",
        lambda v: v["arguments"].update(atlas_channels=3),
        r"field variables: .*\(5, 5, 2, 2\) in the preset",
    ),
    ("metadata.json", lambda v: v.update(weights_sha256="0" * 64), "its SHA-256 is"),
    ("metadata.json", lambda v: v.update(weights_url="https://evil"), "field weights_url: is unknown"),
    (
        "metadata.json",
        lambda v: v["variables"][0].update(path="../../etc/passwd"),
        "field variables: variable 0 is ../",
    ),
    ("metadata.json", lambda v: v["variables"][0].update(shape=[10**9] * 3), "field variables: variable 0 is"),
    ("metadata.json", lambda v: v["variables"][0].update(shape=[-1]), r"field variables\[0\], field shape: must be"),
    ("metadata.json", lambda v: v["variables"][0].update(dtype="object"), "metadata.json lists .* object"),
    ("metadata.json", lambda v: v["variables"][0].update(sha256="0" * 64), "does not hold the values"),
    ("metadata.json", lambda v: v["variables"][0].pop("sha256"), r"field variables\[0\], field sha256: is missing"),
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


def edit_weights(folder: Path, change: Callable[[h5py.File], object]) -> None:
    """Change the weights and restate their SHA-256, as somebody would who means harm."""
    with h5py.File(folder / WEIGHTS_FILE, "r+") as file:
        change(file)
    restate_sha256(folder)


ENCODER = "layers/functional/layers"
CONV, OTHER_CONV = f"{ENCODER}/conv2d_2/vars", f"{ENCODER}/conv2d_4/vars"  # 3 x 3 x 2 x 2 both


def swap_values(file: h5py.File) -> None:
    first, second = file[CONV]["0"][()], file[OTHER_CONV]["0"][()]
    file[CONV]["0"][...], file[OTHER_CONV]["0"][...] = second, first


def swap_names(file: h5py.File) -> None:
    first, second = file[CONV].attrs["name"], file[OTHER_CONV].attrs["name"]
    file[CONV].attrs["name"], file[OTHER_CONV].attrs["name"] = second, first


def rename_layer(file: h5py.File) -> None:
    file[CONV].attrs["name"] = "somebody_else"


def replace_array(value: object = None, **settings: Any) -> Callable[[h5py.File], object]:
    """Put another data set in the place of a kernel of 3 x 3 x 2 x 2."""

    def change(file: h5py.File) -> None:
        del file[f"{CONV}/0"]
        file.create_dataset(f"{CONV}/0", data=value, **settings)

    return change


def put_nan(file: h5py.File) -> None:
    file[f"{CONV}/0"][0, 0, 0, 0] = np.nan


def make_circle(file: h5py.File) -> None:
    file["layers/circle"] = file["layers"]


def nudge(file: h5py.File) -> None:
    file[CONV]["0"][0, 0, 0, 0] += 1e-3


KERNEL = np.ones((3, 3, 2, 2), np.float32)
GIGANTIC = (10**6, 10**6, 10**3)
DAMAGED_WEIGHTS: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "swapped values": (swap_values, "does not hold the values that metadata.json states for .*; arrays were"),
    "swapped names": (swap_names, "does not hold the values that metadata.json states for"),
    "one value changed": (nudge, f"{CONV}/0 does not hold the values"),
    "renamed layer": (rename_layer, r"has no array for \S+/kernel \(3, 3, 2, 2\), which metadata.json lists"),
    "nameless layer": (lambda file: file[CONV].attrs.pop("name"), r"has no array for \S+/kernel"),
    "missing array": (lambda file: file.pop(f"{CONV}/0"), r"has no array for \S+/kernel"),
    "array too many": (
        lambda file: file.create_dataset("layers/other/0", data=KERNEL),
        "holds layers/other/0, which belongs to no variable",
    ),
    "NaN": (put_nan, f"{CONV}/0 holds NaN or infinite values"),
    "other shape": (replace_array(KERNEL[..., :1]), r"\(3, 3, 2, 1\) float32; metadata.json lists .* \(3, 3, 2, 2\)"),
    "other type": (replace_array(KERNEL.astype("f8")), r"\(3, 3, 2, 2\) float64; metadata.json lists"),
    "big endian": (replace_array(KERNEL.astype(">f4")), "metadata.json lists"),
    "gigantic, never written": (replace_array(shape=GIGANTIC, dtype="f4"), r"is \(1000000, 1000000, 1000\) float32"),
    "never written": (replace_array(shape=(3, 3, 2, 2), dtype="f4"), "not stored as a plain array of numbers"),
    "compressed": (replace_array(KERNEL, compression="gzip"), "not stored as a plain array of numbers"),
    "texts": (replace_array([b"import os"]), "not stored as a plain array of numbers"),
    "bytes of any kind": (replace_array(np.void(b"\x80\x04.")), "not stored as a plain array of numbers"),
    "circle of groups": (make_circle, "nested too deeply"),
    "link to a file": (
        lambda file: file.update({"layers/other": h5py.ExternalLink("/etc/hostname", "/")}),
        "layers/other is a link to another place",
    ),
    "link in the file": (
        lambda file: file.update({"layers/other": h5py.SoftLink("/layers")}),
        "layers/other is a link to another place",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED_WEIGHTS)
def test_hostile_weights_with_a_matching_check_sum_are_refused(siamese_folder: Path, kind: str) -> None:
    change, message = DAMAGED_WEIGHTS[kind]
    edit_weights(siamese_folder, change)
    with pytest.raises(UserError, match=rf"siamese/model\.weights\.h5: .*{message}"):
        SiameseDistanceNet.from_pretrained(siamese_folder)


def test_array_outside_the_weights_file_is_refused(siamese_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(8))
    outside = [(str(tmp_path / "secret"), 0, 8)]
    edit_weights(siamese_folder, lambda file: file.create_dataset("other", shape=(2,), dtype="f4", external=outside))
    with pytest.raises(UserError, match="other is not stored as a plain array"):
        SiameseDistanceNet.from_pretrained(siamese_folder)


def test_gigantic_network_is_refused_before_memory_is_taken(preset_folder: Path) -> None:
    # One kernel of it would have 360 TB.
    edit_json(preset_folder / "config.json", lambda v: v["arguments"].update(widths=[2, 2] + [10_000_000] * 4))
    with pytest.raises(UserError, match=r"field variables: variable \d+ is .*\(3, 3, 2, 2\) in the preset"):
        AtlasUNet.from_pretrained(preset_folder)


def test_gigantic_json_is_not_read(preset_folder: Path) -> None:
    with (preset_folder / "config.json").open("a") as file:
        file.truncate(2**30)
    with pytest.raises(UserError, match=r"config\.json: is 1073741824 bytes large; at most"):
        AtlasUNet.from_pretrained(preset_folder)


def test_json_nested_without_end_is_refused(preset_folder: Path) -> None:
    (preset_folder / "config.json").write_text('{"a":' * 200_000, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.json: is damaged, no valid JSON"):
        AtlasUNet.from_pretrained(preset_folder)


def test_pointer_of_git_lfs_is_explained(preset_folder: Path) -> None:
    (preset_folder / WEIGHTS_FILE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(UserError, match="it is a Git LFS pointer, fetch the file with `git lfs pull`"):
        AtlasUNet.from_pretrained(preset_folder)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_pipe_in_the_place_of_a_file_is_refused(preset_folder: Path, name: str) -> None:
    (preset_folder / name).unlink()
    os.mkfifo(preset_folder / name)
    with pytest.raises(UserError, match=f"{name}: is no regular file"):
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


WATCHED_LOAD = """
import os, sys
from cytokeras.models import SiameseDistanceNet
SiameseDistanceNet.from_pretrained(sys.argv[2])  # whatever is imported or run once
folder, seen = os.path.realpath(sys.argv[1]), []
def watch(event, arguments):
    if event in ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.fork", "ctypes.dlopen"):
        seen.append(event)
    if event in ("import", "exec", "compile", "open") and folder in str(arguments):
        seen.append(f"{event} {os.path.basename(str(arguments[0]))}")
sys.addaudithook(watch)
SiameseDistanceNet.from_pretrained(folder)
print(sorted(set(seen)))
"""


def test_no_code_of_a_preset_is_run(siamese_folder: Path, tmp_path: Path) -> None:
    for name in ("__init__.py", "modeling.py", "conftest.py", "sitecustomize.py", "config.py", "keras.py"):
        (siamese_folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    (siamese_folder / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", WATCHED_LOAD, str(siamese_folder), "siamese-phantom-16um"]
    found = subprocess.run(
        command, check=True, env=environment, capture_output=True, text=True, cwd=siamese_folder.parent
    )
    # h5py opens the weights itself, below Python.
    assert found.stdout.strip() == "['open config.json', 'open metadata.json', 'open model.weights.h5']"
    assert not (tmp_path / "ran").exists()
