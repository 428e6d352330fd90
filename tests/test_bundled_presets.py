"""The weights that come with the package: they load, they say what they are, they travel in the wheel."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cytokeras.hub import check_golden_pair, list_presets
from cytokeras.hub.preset_files import ALL_FILES

ROOT = Path(__file__).parent.parent
PRESETS = {preset.name: preset for preset in list_presets()}


def test_there_is_one_of_each_network():
    assert {preset.class_name for preset in PRESETS.values()} == {"AtlasUNet", "SiameseDistanceNet"}


@pytest.mark.parametrize("name", PRESETS)
def test_preset_says_that_its_data_were_synthetic(name):
    assert PRESETS[name].metadata.provenance["data"]["synthetic"] is True
    card = (ROOT / "weights" / name / "README.md").read_text()
    assert "synthetic" in card.lower()
    assert "phantom" in name


@pytest.mark.parametrize("name", PRESETS)
def test_preset_gives_what_it_gave_when_it_was_written(name):
    # test_backends.py asks the same on the other backends.
    difference, tolerance = check_golden_pair(name)
    assert difference <= tolerance <= 1e-4


def test_siamese_preset_is_well_below_the_best_constant_guess():
    scores = PRESETS["siamese-phantom-16um"].metadata.provenance["scores"]
    error, guess = (scores[f"err_dist {of} (mm)"] for of in ("on held-out sections", "of the best constant guess"))
    assert error < 0.75 * guess
    place, fixed = (
        scores[f"coordinate error {of} (mm)"] for of in ("on held-out sections", "of the best constant guess")
    )
    assert place < 0.5 * fixed


def test_siamese_preset_tells_patches_apart():
    from cytokeras.models import SiameseDistanceNet

    net = SiameseDistanceNet.from_pretrained("siamese-phantom-16um")
    rows = np.linspace(60, 250, 132)[:, None]
    patches = np.stack([np.broadcast_to(rows, (132, 132)), np.full((132, 132), 200.0)]).astype(np.uint8)
    features = net.embed(patches)
    assert features.shape == (2, 32)
    assert np.abs(features[0] - features[1]).max() > 1e-3


def test_unet_preset_calls_glass_background():
    from cytokeras.models import AtlasUNet

    unet = AtlasUNet.from_pretrained("atlas-unet-phantom-16um")
    rows, columns, _ = unet.get_config()["input_shape"]
    glass = np.full((1, rows, columns, 1), 245, np.uint8)
    probabilities = np.asarray(unet.without_atlas()({"image": glass}))
    assert (probabilities.argmax(axis=-1) == unet.class_names.index("background")).mean() > 0.95


@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="building a wheel needs setuptools")
def test_wheel_contains_the_weights(tmp_path):
    source = tmp_path / "source"
    unwanted = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "cytokeras-demo", "__pycache__")
    shutil.copytree(ROOT, source, ignore=unwanted)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    subprocess.run([*map(str, command), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for preset in PRESETS:
        for file in ALL_FILES:
            assert f"cytokeras/_weights/{preset}/{file}" in names
