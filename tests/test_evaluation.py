"""Scores against hand-counted examples."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from cytokeras.analysis import Evaluation, evaluate, labels_on_grid
from cytokeras.brain import ArrayImage, ImageLabels, LabelScheme, Section, SectionPlane
from cytokeras.errors import UserError
from cytokeras.inference import OutputGrid, Segmentation

SCHEME = LabelScheme(("background", "white matter", "hOc1", "hOc2"), ((0, 0, 0),) * 4)


def segmentation(labels, pixel_size_um=16.0):
    labels = np.asarray(labels, np.uint8)
    return Segmentation(labels, None, OutputGrid(labels.shape, pixel_size_um, (0.0, 0.0), 1.0), SCHEME.names)


def evaluated(predicted, truth, name=None):
    return evaluate(segmentation(predicted), np.asarray(truth, np.uint8), scheme=SCHEME, name=name)


def section_with(labels):
    plane = SectionPlane([[0, 1, 0], [1, 0, 0]], [0, 0, 0], [1, 0, 0], [0, 0, 1])
    return Section("s7", ArrayImage(np.zeros((64, 64), np.uint8), 2.0), plane, labels)


def test_confusion_has_truth_in_rows():
    assert evaluated([[2, 3, 3]], [[2, 2, 3]]).confusion[2].tolist() == [0, 0, 1, 1]


def test_unannotated_pixels_are_left_out():
    result = evaluated([[2, 3, 0, 1]], [[2, 255, 255, 1]])
    assert result.annotated_count == 2 and result.accuracy == 1.0


def test_dice_is_the_harmonic_mean_of_precision_and_recall():
    # hOc1: 2 of 3 predicted are right (precision 2/3), 2 of 4 are found (recall 1/2): 2 * 2 / 7
    result = evaluated([[2, 2, 3, 3, 2]], [[2, 2, 2, 2, 3]])
    assert result.dice[2] == pytest.approx(4 / 7)


def test_dice_of_a_class_in_neither_is_undefined():
    assert math.isnan(evaluated([[2, 2]], [[2, 2]]).dice[1])


def test_macro_over_areas_leaves_out_the_other_classes():
    # white matter is wrong throughout, hOc1 perfect; hOc2 is predicted once but not annotated, so it is no area here
    result = evaluated([[2, 2, 0, 3]], [[2, 2, 1, 1]])
    assert result.dice_areas == 1.0
    assert result.dice_all == pytest.approx((0 + 1) / 2)


def test_macro_without_annotated_areas_is_undefined():
    assert math.isnan(evaluated([[0, 1]], [[0, 1]]).dice_areas)


def test_distance_error_of_one_pixel_three_away():
    # the last pixel was given hOc1; the nearest true hOc1 is 3 pixels to the left; N = 5
    distance = evaluated([[2, 2, 3, 3, 2]], [[2, 2, 3, 3, 3]]).pixel_distance
    assert distance.mean_px == pytest.approx(3 / 5)
    assert distance.mean_mm == pytest.approx(3 / 5 * 0.016)
    assert distance.yasnoff_percent == pytest.approx(100 * 3 / 5)


def test_combination_equals_the_scores_of_all_pixels_together():
    first = evaluated([[2, 2, 3, 3, 2]], [[2, 2, 3, 3, 3]], "a")
    second = evaluated([[3, 2]], [[2, 2]], "b")  # hOc2 is absent there: the diagonal, 1 px
    both = Evaluation.combine([first, second])
    assert both.sections == ("a", "b") and both.annotated_count == 7
    assert both.accuracy == pytest.approx(5 / 7)
    assert both.pixel_distance.mean_px == pytest.approx((3 + 1) / 7)
    assert both.pixel_distance.yasnoff_percent == pytest.approx(100 * math.sqrt(9 + 1) / 7)
    assert both.pixel_distance.absent_count == 1
    assert both.dice[2] == pytest.approx(2 * 3 / (4 + 4))


def test_nothing_to_combine_is_refused():
    with pytest.raises(UserError, match="at least one"):
        Evaluation.combine([])


def test_labels_are_read_at_the_centres_of_the_cells():
    pixels = np.random.default_rng(0).integers(0, 4, (64, 64)).astype(np.uint8)
    grid = OutputGrid((8, 8), 16.0, (4.0, 4.0), 8.0)
    np.testing.assert_array_equal(labels_on_grid(ImageLabels(pixels), grid), pixels[4::8, 4::8])


def test_labels_between_pixels_are_read_at_the_nearest():
    pixels = np.random.default_rng(0).integers(0, 4, (64, 64)).astype(np.uint8)
    grid = OutputGrid((20, 20), 16.0, (1.1, 1.1), 3.2)
    nearest = [math.floor(1.1 + 3.2 * k + 0.5) for k in range(20)]
    np.testing.assert_array_equal(labels_on_grid(ImageLabels(pixels), grid), pixels[np.ix_(nearest, nearest)])


def test_cells_beyond_the_image_are_not_annotated():
    grid = OutputGrid((2, 2), 16.0, (60.0, 60.0), 8.0)
    labels = labels_on_grid(ImageLabels(np.ones((64, 64), np.uint8)), grid)
    np.testing.assert_array_equal(labels, [[1, 255], [255, 255]])


def test_section_gives_labels_and_name():
    section = section_with(ImageLabels(np.full((64, 64), 2, np.uint8)))
    result = evaluate(segmentation(np.full((64, 64), 2)), section, scheme=SCHEME)
    assert result.sections == ("s7",) and result.accuracy == 1.0


def test_section_without_labels_is_refused():
    with pytest.raises(UserError, match="section 's7': has no labels"):
        evaluate(segmentation(np.zeros((64, 64))), section_with(None), scheme=SCHEME)


def test_section_without_any_annotation_is_refused():
    section = section_with(ImageLabels(np.full((64, 64), 255, np.uint8)))
    with pytest.raises(UserError, match="section 's7': no pixel of the output grid is annotated"):
        evaluate(segmentation(np.zeros((64, 64))), section, scheme=SCHEME)


def test_truth_of_another_shape_is_refused():
    with pytest.raises(UserError, match=r"output grid \(1, 2\); received shape \(1, 3\)"):
        evaluated([[0, 0]], [[0, 0, 0]])


def test_scheme_of_other_classes_is_refused():
    with pytest.raises(UserError, match=r"scheme: its classes .* are not those of the segmentation"):
        evaluate(segmentation([[0, 1]]), np.zeros((1, 2), np.uint8))


def test_table_is_aligned_and_names_occurring_classes_only():
    table = evaluated([[2, 2, 3, 3, 2]], [[2, 2, 3, 3, 3]]).table()
    head = table.split("\n\n")[0].splitlines()
    assert len({len(line) for line in head}) == 1
    assert [line.split()[0] for line in head[2:]] == ["hOc1", "hOc2"]
    assert "0.60 px = 0.010 mm" in table


def test_csv_holds_one_number_a_row(tmp_path):
    evaluated([[2, 2, 3, 3, 2]], [[2, 2, 3, 3, 3]]).to_csv(tmp_path / "e.csv")
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = {(row["measure"], row["class"], row["unit"]): row["value"] for row in csv.DictReader(file)}
    assert float(rows["dice", "hOc1", ""]) == pytest.approx(0.8)
    assert rows["dice", "white matter", ""] == ""
    assert rows["annotated", "hOc2", "px"] == "3"
    assert float(rows["pixel_distance", "", "mm"]) == pytest.approx(0.0096)
