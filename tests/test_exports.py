"""Presets in other formats: each is read by the program it is for and gives the same numbers."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _presets import randomise, tiny_unet

from cytokeras.cli import main
from cytokeras.errors import UserError
from cytokeras.hub import export_preset
from cytokeras.hub.golden import GoldenPair
from cytokeras.hub.preset_files import PresetFolder

keras = pytest.importorskip("keras")

from cytokeras.models import SiameseDistanceNet  # noqa: E402


@pytest.fixture(scope="module")
def models(hub_net: Any) -> dict[str, Any]:
    unet = randomise(tiny_unet())
    return {"unet": unet, "siamese": hub_net}


@pytest.fixture(scope="module")
def folders(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("exports")
    return {
        "unet": models["unet"].save_pretrained(root / "unet", metadata={"license": "Apache-2.0"}, golden=True),
        "siamese": models["siamese"].save_pretrained(root / "siamese"),
    }


def assert_golden(pair: GoldenPair, outputs: dict[str, np.ndarray]) -> None:
    assert set(outputs) == set(pair.outputs)
    for name, golden in pair.outputs.items():
        np.testing.assert_allclose(outputs[name], golden, rtol=1e-4, atol=1e-5 * np.abs(golden).max())


@pytest.mark.parametrize("kind", ["unet", "siamese"])
def test_keras_file(models: dict[str, Any], folders: dict[str, Path], kind: str, tmp_path: Path) -> None:
    path = export_preset(folders[kind], tmp_path / "net.keras", "keras")
    loaded = keras.saving.load_model(path)
    assert type(loaded) is type(models[kind])
    assert GoldenPair.of(models[kind]).difference(loaded) < 1e-6


def test_savedmodel(models: dict[str, Any], folders: dict[str, Path], tmp_path: Path) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    path = export_preset(folders["siamese"], tmp_path / "net.zip", "savedmodel")
    zipfile.ZipFile(path).extractall(tmp_path / "net")
    pair = GoldenPair.of(models["siamese"])
    inputs = {name: array.astype(np.float32) for name, array in pair.inputs.items()}
    loaded = tensorflow.saved_model.load(str(tmp_path / "net"))
    outputs = loaded.serve(inputs)
    assert_golden(pair, {name: value.numpy() for name, value in outputs.items()})


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_onnx(models: dict[str, Any], folders: dict[str, Path], tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    session = runtime.InferenceSession(export_preset(folders["siamese"], tmp_path / "net.onnx", "onnx"))
    pair = GoldenPair.of(models["siamese"])
    twice = {name: array.astype(np.float32).repeat(2, axis=0) for name, array in pair.inputs.items()}
    names = [item.name for item in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, twice), strict=True))
    assert all(value.shape[0] == 2 for value in outputs.values())
    assert_golden(pair, {name: value[1:] for name, value in outputs.items()})


@pytest.mark.filterwarnings("ignore")
def test_bioimageio_package_passes_the_library_of_bioimageio(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    core = pytest.importorskip("bioimageio.core")
    for name in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(name)
    path = tmp_path / "net.zip"
    command = ["export", str(folders["unet"]), "--format", "bioimageio", "--out", str(path), "--author", "A. Author"]
    assert main(command) == 0
    assert str(path) in capsys.readouterr().out
    # Runs the ONNX weights on the test inputs and compares with the test outputs.
    summary = core.test_model(path, weight_format="onnx")
    assert summary.status == "passed", summary.display()
    description = core.load_model_description(path)
    assert [author.name for author in description.authors] == ["A. Author"]
    (image, *_) = (tensor for tensor in description.inputs if tensor.id != "atlas")
    assert [axis.scale for axis in image.axes if axis.type == "space"] == [16.0, 16.0]
    assert [str(name) for name in description.outputs[0].axes[-1].channel_names][-1] == "hOc1"


@pytest.mark.parametrize(
    ("output", "shape", "text", "unit", "axes"),
    [
        ("distance", (1,), "Distance along", "mm", ["batch"]),
        ("coordinates_b", (1, 3), "Place on", "mm", ["batch", "channel"]),
        ("curvature_a", (1,), "in 1/mm", "arbitrary unit", ["batch"]),
        ("contrast", (1, 2, 32), "Features of both", "arbitrary unit", ["batch", "patch", "channel"]),
    ],
)
def test_bioimageio_describes_every_output_of_a_siamese_network(
    folders: dict[str, Path], tmp_path: Path, output: str, shape: tuple[int, ...], text: str, unit: str, axes: list[str]
) -> None:
    for name in ("bioimageio.spec", "onnx"):
        pytest.importorskip(name)
    from cytokeras.hub._bioimageio import _Describer

    preset = PresetFolder(folders["siamese"], "siamese")
    np.save(tmp_path / f"{output}.npy", np.zeros(shape, np.float32))
    describer = _Describer(tmp_path, preset.read_config(), preset.read_metadata(), "siamese")
    described = describer.output(output, np.zeros(shape, np.float32))
    assert text in described.description
    assert described.data.unit == unit
    assert [axis.id for axis in described.axes] == axes


# === Errors ===


def test_bioimageio_needs_authors(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="asks for the authors of the weights"):
        export_preset(folders["siamese"], tmp_path / "net.zip", "bioimageio")


def test_unknown_format(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Unknown format 'onyx'. Did you mean 'onnx'"):
        export_preset(folders["siamese"], tmp_path / "net.onnx", "onyx")


def test_suffix_of_another_format(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the format onnx is written to a file \*\.onnx"):
        export_preset(folders["siamese"], tmp_path / "net.zip", "onnx")


def test_existing_file_is_not_replaced(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "net.keras").write_text("mine")
    with pytest.raises(UserError, match=r"net\.keras: exists already"):
        export_preset(folders["siamese"], tmp_path / "net.keras", "keras")


def test_missing_package_names_the_extra(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("No module named 'tf2onnx'")

    monkeypatch.setattr(SiameseDistanceNet, "export", fail)
    with pytest.raises(UserError, match=r"tf2onnx.*pip install 'cytokeras\[export\]'"):
        export_preset(folders["siamese"], tmp_path / "net.onnx", "onnx")
    assert not list(tmp_path.iterdir())
