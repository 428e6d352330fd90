"""Golden pairs: they tell when a network gives something else, and a damaged one is refused."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytokeras.cli import main
from cytokeras.errors import UserError
from cytokeras.hub import check_golden_pair
from cytokeras.hub.golden import TOLERANCE, GoldenPair
from cytokeras.hub.preset_files import sha256_of

pytest.importorskip("keras")

from _presets import tiny_unet

from cytokeras.models import SiameseDistanceNet


@pytest.fixture
def folder(hub_net: Any, tmp_path: Path) -> Path:
    return Path(hub_net.save_pretrained(tmp_path / "net", golden=True))


def restate(folder: Path) -> None:
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    metadata["golden_sha256"] = sha256_of(folder / "golden.npz")
    (folder / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")


def test_inputs_have_the_range_and_shape_that_the_network_asks_for() -> None:
    unet = tiny_unet()
    pair = GoldenPair.of(unet)
    image, atlas = pair.inputs["image"], pair.inputs["atlas"]
    assert image.shape == (1, 194, 194, 1) and image.dtype == np.uint8
    assert image.min() < 16 and image.max() > 224
    assert atlas.shape == (1, *unet.atlas_field.shape, 2)
    assert atlas.min() >= 0 and atlas.max() <= 1
    np.testing.assert_array_equal(image, GoldenPair.of(unet).inputs["image"])


def test_file_round_trip_is_exact(hub_net: Any, tmp_path: Path) -> None:
    pair = GoldenPair.of(hub_net)
    pair.write(tmp_path / "golden.npz")
    again = GoldenPair.read(tmp_path / "golden.npz", "golden.npz")
    for one, two in ((pair.inputs, again.inputs), (pair.outputs, again.outputs)):
        assert list(one) == list(two)
        assert all(np.array_equal(one[name], two[name]) for name in one)


def test_sound_preset_passes(folder: Path) -> None:
    difference, tolerance = check_golden_pair(folder)
    assert difference <= tolerance == TOLERANCE


def test_swapped_layers_are_noticed(hub_net: Any) -> None:
    other = SiameseDistanceNet.from_config(hub_net.get_config())
    weights = hub_net.get_weights()
    same = [index for index, weight in enumerate(weights) if weight.shape == (3, 3, 2, 2)]
    weights[same[1]], weights[same[2]] = weights[same[2]], weights[same[1]]
    other.set_weights(weights)
    assert GoldenPair.of(hub_net).difference(other) > 10 * TOLERANCE


def test_other_network_is_refused(hub_net: Any) -> None:
    with pytest.raises(UserError, match="The golden pair has the inputs"):
        GoldenPair.of(hub_net).difference(tiny_unet())


def test_command_has_status_1_where_outputs_differ(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = GoldenPair.read(folder / "golden.npz", "golden.npz")
    pair.outputs["distance"] *= 1.01
    pair.write(folder / "golden.npz")
    restate(folder)
    assert main(["info", str(folder), "--check"]) == 1
    assert "NOT as when it was written" in capsys.readouterr().out


def test_info_says_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "atlas-unet-phantom-16um"]) == 0
    printed = capsys.readouterr().out
    assert "16 µm per pixel" in printed and "hOc5" in printed and "synthetic    yes" in printed


def test_saving_again_without_golden_pair_leaves_no_old_one(hub_net: Any, folder: Path) -> None:
    hub_net.save_pretrained(folder)
    assert not (folder / "golden.npz").exists()
    with pytest.raises(UserError, match="has no golden pair"):
        check_golden_pair(folder)


def test_damaged_pair_is_refused(folder: Path) -> None:
    (folder / "golden.npz").write_bytes(b"PK nothing")
    with pytest.raises(UserError, match=r"golden\.npz: is damaged or was replaced"):
        check_golden_pair(folder)
    restate(folder)
    with pytest.raises(UserError, match=r"golden\.npz: is damaged, no readable archive"):
        check_golden_pair(folder)


def header_only(shape: tuple[int, ...], descr: str) -> bytes:
    """An array file that claims a shape and holds nothing."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": shape})
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("input/patch_a.npy", header_only((10**6, 10**6), "<f4"), "is no array of numbers of a sensible size"),
        ("input/patch_a.npy", header_only((1,), "|O"), "is no array of numbers of a sensible size"),
        ("input/patch_a.npy", b"\x80\x04cos\nsystem\n", "is damaged, no readable archive"),
        ("../../evil.npy", header_only((0,), "<f4"), "is neither an input nor an output"),
    ],
)
def test_hostile_pair_is_refused(folder: Path, name: str, content: bytes, message: str) -> None:
    with zipfile.ZipFile(folder / "golden.npz", "w") as archive:
        archive.writestr(name, content)
    restate(folder)
    with pytest.raises(UserError, match=message):
        check_golden_pair(folder)
    assert not list(folder.parent.parent.glob("*evil*"))
