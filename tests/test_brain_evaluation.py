"""Scores over the sections of a brain, against hand-counted examples."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from _small_brain import SCHEME, plane, section_image
from PIL import Image

from cytokeras._scores import pixel_distance_by_class, pixel_distance_error
from cytokeras.analysis import evaluate_brain
from cytokeras.brain import Brain, ImageLabels, Section
from cytokeras.errors import UserError
from cytokeras.inference import OutputGrid, Segmentation, write_label_tiff

TRUTHS = {"a": [[2, 2, 3, 3, 3, 255]], "b": [[2, 2, 1, 255, 255, 255]], "c": None, "d": [[2, 2, 2, 2, 2, 2]]}
PREDICTED = {"a": [[2, 2, 3, 3, 2, 0]], "b": [[3, 2, 1, 1, 1, 1]], "c": [[1, 1, 1, 1, 1, 1]]}


@pytest.fixture
def brain():
    sections = [
        Section(id, section_image(), plane(y), None if truth is None else ImageLabels(np.array(truth, np.uint8)))
        for y, (id, truth) in enumerate(TRUTHS.items())
    ]
    return Brain("toy", "test", SCHEME, sections, {})


@pytest.fixture
def folder(tmp_path):
    for id, predicted in PREDICTED.items():
        labels = np.array(predicted, np.uint8)
        grid = OutputGrid(labels.shape, 16.0, (0.0, 0.0), 1.0)
        write_label_tiff(tmp_path / f"{id}-labels.ome.tif", Segmentation(labels, None, grid, SCHEME.names))
    return tmp_path


def test_only_annotated_sections_and_pixels_count(brain, folder):
    result = evaluate_brain(folder, brain)
    assert result.total.sections == ("a", "b") and result.missing == ("d",)
    # rows: true; a: 2 2 | 2 3 3 -> one hOc2 called hOc1; b: one hOc1 called hOc2
    np.testing.assert_array_equal(result.total.confusion, [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 3, 1], [0, 0, 1, 2]])


def test_csv_has_every_section_and_class(brain, folder):
    evaluate_brain(folder, brain).to_csv(folder / "scores.csv")
    with (folder / "scores.csv").open(newline="") as file:
        rows = {(row["section"], row["class"]): row for row in csv.DictReader(file)}
    assert len(rows) == 3 * 5
    assert float(rows["a", "hOc1"]["dice"]) == pytest.approx(2 * 2 / (2 + 3))
    # a: the last hOc2 was given hOc1, whose nearest true pixel is 3 away, over 3 pixels of hOc2
    assert float(rows["a", "hOc2"]["pixel_distance_px"]) == pytest.approx(1.0)
    assert float(rows["a", "hOc2"]["pixel_distance_mm"]) == pytest.approx(0.016)
    assert float(rows["a", "hOc1"]["pixel_distance_px"]) == 0
    # b: hOc2 is absent there, so the diagonal of 6 x 1 pixels, 5, over 2 pixels
    assert float(rows["b", "hOc1"]["pixel_distance_px"]) == pytest.approx(2.5)
    assert rows["b", "hOc1"]["absent_class_px"] == "1"
    # together: 5 over 4 pixels of hOc1, Yasnoff 100 sqrt(25) / 4
    assert float(rows["all", "hOc1"]["pixel_distance_px"]) == pytest.approx(5 / 4)
    assert float(rows["all", "hOc1"]["pixel_distance_yasnoff_percent"]) == pytest.approx(125)
    assert rows["all", "background"]["dice"] == ""


def test_figure_opens(brain, folder):
    result = evaluate_brain(folder, brain)
    result.to_png(folder / "scores.png")
    with Image.open(folder / "scores.png") as picture:
        assert picture.width > 500 and picture.height > 150
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 20
    last = result.table().splitlines()[-3:]
    assert last[0].split() == ["section", "areas", "all", "px", "mm", "Yasnoff", "hOc1", "hOc2"]
    # a: 2 of 2 true and 3 given, 2 of 3 true and 2 given; b: 1 of 2 true and 1 given, none of one given
    assert last[1].split()[-2:] == ["0.800", "0.800"] and last[2].split()[-2:] == ["0.667", "0.000"]


def test_a_folder_without_any_labels_is_refused(brain, tmp_path):
    with pytest.raises(UserError, match="holds the labels of no annotated section of brain toy"):
        evaluate_brain(tmp_path, brain)


def test_errors_of_the_classes_add_up_to_that_of_the_image():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 4, (2, 40, 30), dtype=np.uint8)
    true[:5] = 255
    whole = pixel_distance_error(true, predicted, 16.0)
    parts = pixel_distance_by_class(true, predicted, 16.0, 4)
    counts = [(true == index).sum() for index in range(4)]
    assert np.average([part.mean_px for part in parts], weights=counts) == pytest.approx(whole.mean_px)
