"""``cytokeras evaluate`` against counts made by hand."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from _small_brain import SCHEME, SHAPE, hemisphere, plane, section_image
from PIL import Image

from cytokeras.brain import Brain, ImageLabels, Section
from cytokeras.cli import main
from cytokeras.inference import OutputGrid, Segmentation, write_label_tiff


def write_map(path, labels, size_um=16.0, names=SCHEME.names):
    grid = OutputGrid(labels.shape, size_um, (0.0, 0.0), 1.0)
    write_label_tiff(path, Segmentation(labels, None, grid, names))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Sections a and b, half annotated as hOc1 with a stripe of hOc2, c without annotation; maps of a and b."""
    folder = tmp_path_factory.mktemp("evaluate")
    truth = np.full(SHAPE, 255, np.uint8)
    truth[:, 150:] = 2
    truth[:, 250:] = 3
    annotations = {"a": ImageLabels(truth), "b": ImageLabels(truth), "b-2": ImageLabels(truth), "c": None}
    sections = [Section(id, section_image(), plane(y), labels) for y, (id, labels) in enumerate(annotations.items())]
    Brain("half", "test", SCHEME, sections, {"left": hemisphere()}).save(folder / "brain", progress=False)
    (folder / "maps").mkdir()
    right = np.where(truth == 255, 1, truth)  # what is not annotated may be anything
    shifted = right.copy()
    shifted[:, 250:260] = 2  # 10 columns of hOc2 called hOc1: 1 to 10 px from the nearest true hOc1
    write_map(folder / "maps/a-labels.ome.tif", right)
    write_map(folder / "maps/b-labels.ome.tif", shifted)
    return folder


def fails(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("cytokeras: error: ")
    return lines[0]


def test_a_brain_is_scored_by_section_and_area(made, tmp_path, capsys):
    assert main(["evaluate", str(made / "maps"), str(made / "brain"), "--out", str(tmp_path / "scores")]) == 0
    with (tmp_path / "scores/evaluation.csv").open(newline="") as file:
        rows = {(row["section"], row["class"]): row for row in csv.DictReader(file)}
    assert {section for section, _ in rows} == {"a", "b", "all"}
    height = SHAPE[0]
    assert rows["a", "all"]["annotated_px"] == str(150 * height) and float(rows["a", "all"]["dice"]) == 1
    assert float(rows["b", "hOc2"]["dice"]) == pytest.approx(2 * 40 / (50 + 40))
    assert float(rows["b", "hOc2"]["pixel_distance_px"]) == pytest.approx(sum(range(1, 11)) / 50)
    assert float(rows["b", "all"]["pixel_distance_mm"]) == pytest.approx(0.016 * 55 / 150)
    squares = height * sum(n**2 for n in range(1, 11))
    assert float(rows["b", "all"]["pixel_distance_yasnoff_percent"]) == pytest.approx(
        100 * squares**0.5 / (150 * height)
    )
    with (tmp_path / "scores/confusion.csv").open(newline="") as file:
        confusion = {row["true class"]: row for row in csv.DictReader(file)}
    assert confusion["hOc2"] == {
        "true class": "hOc2", "background": "0", "white matter": "0", "hOc1": str(10 * height), "hOc2": str(90 * height)
    }  # fmt: skip
    with Image.open(tmp_path / "scores/evaluation.png") as picture:
        assert picture.width > 500
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("b "))
    assert line.split()[1:4] == ["0.921", "0.921", "0.37"] and line.split()[-2:] == ["0.952", "0.889"]
    assert "missing   b-2  (annotated" in printed


def test_one_label_image_is_that_of_the_section_in_its_name(made, tmp_path, capsys):
    arguments = [str(made / "brain"), "--out", str(tmp_path)]
    shutil.copy(made / "maps/b-labels.ome.tif", tmp_path / "b-2-labels.ome.tif")
    assert main(["evaluate", str(tmp_path / "b-2-labels.ome.tif"), *arguments]) == 0
    assert "\nb-2 " in capsys.readouterr().out
    shutil.copy(made / "maps/b-labels.ome.tif", tmp_path / "mine.tif")
    assert "evaluation.csv: exists already" in fails(capsys, tmp_path / "mine.tif", *arguments)
    arguments.append("--overwrite")
    assert "begins with the id of no section" in fails(capsys, tmp_path / "mine.tif", *arguments)
    assert main(["evaluate", str(tmp_path / "mine.tif"), *arguments, "--section", "a"]) == 0
    assert "\na " in capsys.readouterr().out


def test_what_cannot_be_compared_is_told(made, tmp_path, capsys):
    brain, out = made / "brain", tmp_path / "out"
    assert "no such file or folder" in fails(capsys, tmp_path / "nowhere", brain, "--out", out)
    assert "holds the labels of no annotated section of brain half" in fails(capsys, tmp_path, brain, "--out", out)
    assert "brain.json" in fails(capsys, made / "maps", made / "maps", "--out", out)
    assert "'c': has no annotation" in fails(capsys, made / "maps", brain, "--section", "c", "--out", out)
    assert "no section 'd'" in fails(capsys, made / "maps", brain, "--section", "d", "--out", out)
    write_map(tmp_path / "a-labels.ome.tif", np.zeros(SHAPE, np.uint8), size_um=8.0)
    assert "lies on an image of 8 µm" in fails(capsys, tmp_path, brain, "--out", out)
    write_map(tmp_path / "a-labels.ome.tif", np.zeros((300, 230), np.uint8))
    assert "at least 299 x 229 px; the image of section 'a' has 16 µm and 230 x 300" in fails(
        capsys, tmp_path, brain, "--out", out
    )
    write_map(tmp_path / "a-labels.ome.tif", np.zeros(SHAPE, np.uint8), names=("background", "x", "y", "z"))
    assert "are not those of the segmentation (background, x, y, z)" in fails(capsys, tmp_path, brain, "--out", out)
    (tmp_path / "a-labels.ome.tif").write_text("no image")
    assert "is not a label TIFF" in fails(capsys, tmp_path, brain, "--out", out)
    assert not out.exists()
