"""Label files and pictures."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from cytokeras.brain import VISUAL_SCHEME, ArrayImage, ImageLabels, LabelScheme
from cytokeras.errors import UserError
from cytokeras.inference import OutputGrid, Segmentation, overlay_png, read_label_tiff, write_label_tiff
from cytokeras.inference._drawing import class_borders, classes_on_thumbnail, colour_overlay, round_length_mm

SCHEME = LabelScheme(("background", "white matter", "hOc1"), ((255, 255, 255), (200, 200, 200), (220, 40, 40)))


@pytest.fixture
def segmentation():
    labels = np.zeros((30, 40), np.uint8)
    labels[5:25, 5:20] = 1
    labels[5:25, 20:35] = 2
    grid = OutputGrid((30, 40), 16.0, (3.5, 3.5), 8.0)
    return Segmentation(labels, None, grid, SCHEME.names, used_atlas=True)


@pytest.fixture
def image():
    return ArrayImage(np.full((240, 320), 180, np.uint8), 2.0, background=180)


def test_label_tiff_comes_back(segmentation, tmp_path):
    write_label_tiff(tmp_path / "a.ome.tif", segmentation)
    read = read_label_tiff(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(read.labels, segmentation.labels)
    assert read.grid == segmentation.grid
    assert read.class_names == SCHEME.names and read.used_atlas is True


def test_label_tiff_states_its_pixel_size_to_other_programs(segmentation, tmp_path):
    write_label_tiff(tmp_path / "a.ome.tif", segmentation)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_ome and file.pages[0].is_tiled
        assert file.pages[0].compression.name == "ADOBE_DEFLATE"
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (16.0, "µm")


def test_label_tiff_keeps_names_that_are_not_ascii(segmentation, tmp_path):
    scheme = LabelScheme(('bäck "ground"', "<&>", "視覚野"), SCHEME.colors)
    write_label_tiff(tmp_path / "ä & b.ome.tif", segmentation, scheme=scheme)
    assert read_label_tiff(tmp_path / "ä & b.ome.tif").class_names == scheme.names
    with tifffile.TiffFile(tmp_path / "ä & b.ome.tif") as file:
        assert tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Name"] == "ä & b.ome.tif"


def test_written_labels_can_serve_as_annotation_of_the_image(segmentation, tmp_path):
    write_label_tiff(tmp_path / "a.ome.tif", segmentation)
    grid = segmentation.grid
    labels = ImageLabels(tmp_path / "a.ome.tif", scale=grid.step_px, offset=grid.origin_px)
    # image pixel 8 k … 8 k + 7 belongs to cell k
    np.testing.assert_array_equal(labels.read(0, 0, 240, 320)[::8, 7::8], segmentation.labels)


def test_a_file_of_others_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "other.tif", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match=r"other.tif: is not a label TIFF written by cytokeras"):
        read_label_tiff(tmp_path / "other.tif")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_label_tiff(tmp_path / "none.tif")


def test_a_missing_folder_is_refused(segmentation, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        write_label_tiff(tmp_path / "none" / "a.ome.tif", segmentation)


def test_nothing_is_left_beside_the_file(segmentation, image, tmp_path):
    write_label_tiff(tmp_path / "a.ome.tif", segmentation)
    overlay_png(image, segmentation, SCHEME, tmp_path / "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ome.tif", "a.png"]


def test_overlay_shows_area_tinted_and_background_bare(segmentation, image, tmp_path):
    overlay_png(image, segmentation, SCHEME, tmp_path / "a.png", max_size=320)
    colors = {color for _, color in Image.open(tmp_path / "a.png").convert("RGB").getcolors(1 << 20)}
    assert (180, 180, 180) in colors
    # 45 % of grey 180 and 55 % of (220, 40, 40)
    assert (202, 103, 103) in colors


def test_overlay_with_truth_is_two_panels_wide(segmentation, image, tmp_path):
    overlay_png(image, segmentation, SCHEME, tmp_path / "one.png", max_size=320)
    overlay_png(image, segmentation, SCHEME, tmp_path / "two.png", max_size=320, truth=segmentation.labels)
    assert Image.open(tmp_path / "two.png").width >= Image.open(tmp_path / "one.png").width + 320


def test_overlay_of_a_large_section_is_bounded(segmentation, image, tmp_path):
    overlay_png(image, segmentation, VISUAL_SCHEME, tmp_path / "a.png", max_size=100)
    assert max(Image.open(tmp_path / "a.png").size) < 300


def test_truth_on_another_grid_is_refused(segmentation, image, tmp_path):
    with pytest.raises(UserError, match=r"annotation: must lie on the output grid \(30, 40\)"):
        overlay_png(image, segmentation, SCHEME, tmp_path / "a.png", truth=np.zeros((3, 4), np.uint8))


def test_a_class_outside_the_scheme_is_refused(segmentation, image, tmp_path):
    segmentation.labels[0, 0] = 9
    with pytest.raises(UserError, match="prediction: holds class 9, but the scheme has 3 classes"):
        overlay_png(image, segmentation, SCHEME, tmp_path / "a.png")


def test_thumbnail_pixels_take_the_nearest_cell():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    grid = OutputGrid((3, 4), 16.0, (3.5, 3.5), 8.0)
    # thumbnail pixels of 4 image pixels: two to a cell in each direction
    classes = classes_on_thumbnail(labels, grid, (6, 8), 4.0)
    np.testing.assert_array_equal(classes, labels.repeat(2, axis=0).repeat(2, axis=1))


def test_thumbnail_beyond_the_map_is_unlabelled():
    grid = OutputGrid((2, 2), 16.0, (0.0, 0.0), 1.0)
    classes = classes_on_thumbnail(np.ones((2, 2), np.uint8), grid, (2, 4), 1.0)
    np.testing.assert_array_equal(classes, [[1, 1, 255, 255]] * 2)


def test_borders_are_one_pixel_wide_and_never_on_background():
    classes = np.array([[0, 1, 1, 2, 2, 0, 255, 255, 1]], np.uint8)
    np.testing.assert_array_equal(class_borders(classes)[0], [0, 1, 0, 1, 1, 0, 0, 0, 1])


def test_unannotated_pixels_stay_grey():
    picture = colour_overlay(np.full((2, 2), 77, np.uint8), np.full((2, 2), 255, np.uint8), SCHEME)
    assert (picture == 77).all()


@pytest.mark.parametrize(("at_most", "expected"), [(10.0, 10.0), (9.9, 5.0), (0.21, 0.2), (19.0, 10.0), (1.0, 1.0)])
def test_scale_bar_has_a_round_length(at_most, expected):
    assert round_length_mm(at_most) == pytest.approx(expected)
