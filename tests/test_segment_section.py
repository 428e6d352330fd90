"""A section in windows gives what one pass over the whole section gives."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cytokeras.brain import ArrayImage, Atlas, Section, SectionImage, SectionPlane, write_section_tiff
from cytokeras.errors import UserError
from cytokeras.inference import plan_windows, read_label_tiff, segment_section
from cytokeras.models import AtlasUNet

CLASSES = ("background", "white matter", "a", "b")
SHAPE = (230, 300)


@pytest.fixture(scope="module")
def unet():
    """A tiny network at 16 µm with random weights, large enough for every cell to depend on its surroundings."""
    keras.utils.set_random_seed(3)
    model = AtlasUNet(4, (194, 194, 1), 2, pixel_size_um=16.0, widths=(2,) * 6, class_names=CLASSES)
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if "gamma" in weight.path:
            weight.assign(rng.uniform(0.8, 2.0, weight.shape))
        elif "beta" in weight.path:
            weight.assign(rng.normal(0.3, 0.3, weight.shape))
    return model


@pytest.fixture(scope="module")
def texture_only(unet):
    return AtlasUNet(4, (194, 194, 1), 0, pixel_size_um=16.0, widths=(2,) * 6)


def smooth_noise(shape, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 230, (shape[0] // 10 + 1, shape[1] // 10 + 1))
    return np.kron(coarse, np.ones((10, 10), int))[: shape[0], : shape[1]].astype(np.uint8)


@pytest.fixture(scope="module")
def image():
    return ArrayImage(smooth_noise(SHAPE), 16.0, background=255)


@pytest.fixture(scope="module")
def atlas():
    volume = np.random.default_rng(1).random((7, 5, 7, 2)).astype(np.float32) / 2
    return Atlas(volume, np.diag([1.0, 1.0, 1.0, 1.0]), ("a", "b"))


@pytest.fixture(scope="module")
def section(image):
    # pixel (row, column) lies at x = 0.016 column, y = 2, z = 0.016 row
    plane = SectionPlane([[0, 0.016, 0], [0.016, 0, 0]], [0, 2, 0], [1, 0, 0], [0, 0, 1])
    return Section("s1", image, plane)


@pytest.fixture(scope="module")
def result(unet, image):
    return segment_section(unet, image, probabilities=True, progress=False)


@pytest.fixture(scope="module")
def expected(unet, image):
    return one_pass(unet, image)


def one_pass(unet, image, atlas=None, section=None):
    """Probabilities of the whole section from a single window, put together here by hand."""
    size = unet.field.valid_size(max(SHAPE) + int(unet.field.receptive_field))
    first = -int(unet.field.offset)  # cell (0, 0) is centred on pixel (0, 0)
    net = unet.with_input_shape((size, size, 1))
    inputs = {"image": image.read(first, first, size, size)[None, ..., None]}
    if atlas is None:
        net = net.without_atlas()
    else:
        place = first + net.atlas_field.positions()
        pixels = np.stack(np.meshgrid(place, place, indexing="ij"), axis=-1)
        inputs["atlas"] = atlas.sample(section.pixel_to_mm(pixels))[None]
    return np.asarray(net.predict_on_batch(inputs))[0, : SHAPE[0], : SHAPE[1]]


def test_the_network_of_these_tests_tells_cells_apart(expected):
    assert expected.std(axis=(0, 1)).min() > 0.01


def test_one_window_equals_one_pass(result, expected):
    assert result.windows_computed == 1
    np.testing.assert_allclose(result.probabilities, expected.astype(np.float16), atol=1e-4, rtol=1e-3)


def test_windows_equal_one_pass(unet, image, expected):
    result = segment_section(unet, image, probabilities=True, window=274, progress=False)
    assert result.windows_computed == len(plan_windows(unet.field, SHAPE, 274)) == 12
    # float16 keeps three digits
    np.testing.assert_allclose(result.probabilities, expected.astype(np.float16), atol=1e-4, rtol=1e-3)


def test_a_model_without_atlas_branch_in_windows(texture_only, image):
    narrow = segment_section(texture_only, image, probabilities=True, window=274, progress=False)
    wide = segment_section(texture_only, image, probabilities=True, window=514, progress=False)
    assert wide.windows_computed == 1 < narrow.windows_computed
    np.testing.assert_allclose(narrow.probabilities, wide.probabilities, atol=1e-4, rtol=1e-3)


def test_windows_with_atlas_equal_one_pass_with_atlas(unet, section, atlas, expected):
    result = segment_section(unet, section, atlas=atlas, probabilities=True, window=274, progress=False)
    with_atlas = one_pass(unet, section.image, atlas, section)
    assert result.used_atlas
    np.testing.assert_allclose(result.probabilities, with_atlas.astype(np.float16), atol=1e-4, rtol=1e-3)
    assert np.abs(with_atlas - expected).max() > 0.01


def test_labels_are_the_most_probable_classes(result, expected):
    assert (result.labels == expected.argmax(axis=-1)).mean() > 0.9999
    assert result.labels.dtype == np.uint8


def test_grid_of_an_image_at_network_resolution(result):
    grid = result.grid
    assert (grid.shape, grid.pixel_size_um, grid.origin_px, grid.step_px) == (SHAPE, 16.0, (0.0, 0.0), 1.0)


def test_finer_image_is_reduced_by_area(unet, image, result):
    fine = ArrayImage(image.array.repeat(2, axis=0).repeat(2, axis=1), 8.0, background=255)
    of_fine = segment_section(unet, fine, progress=False)
    np.testing.assert_array_equal(of_fine.labels, result.labels)
    # a cell covers 2 x 2 pixels, so the first is centred between pixels 0 and 1
    assert of_fine.grid.origin_px == (0.5, 0.5) and of_fine.grid.step_px == 2.0
    assert of_fine.probabilities is None


def test_atlas_is_sampled_at_the_same_places_whatever_the_pixel_size(unet, image, atlas):
    fine = ArrayImage(image.array.repeat(2, axis=0).repeat(2, axis=1), 8.0, background=255)
    # pixel 2 k + 0.5 of the fine image is pixel k of the coarse one
    plane = SectionPlane([[0, 0.008, -0.004], [0.008, 0, -0.004]], [0, 2, 0], [1, 0, 0], [0, 0, 1])
    coarse_plane = SectionPlane([[0, 0.016, 0], [0.016, 0, 0]], [0, 2, 0], [1, 0, 0], [0, 0, 1])
    of_fine = segment_section(unet, Section("f", fine, plane), atlas=atlas, probabilities=True, progress=False)
    of_coarse = segment_section(
        unet, Section("c", image, coarse_plane), atlas=atlas, probabilities=True, progress=False
    )
    np.testing.assert_allclose(of_fine.probabilities, of_coarse.probabilities, atol=1e-3)


def test_an_array_needs_a_pixel_size(unet):
    with pytest.raises(UserError, match="pixel_size_um: an array does not tell"):
        segment_section(unet, np.zeros(SHAPE, np.uint8), progress=False)


def test_array_and_file_give_equal_labels(unet, image, result, tmp_path):
    write_section_tiff(tmp_path / "s.ome.tif", image)
    of_array = segment_section(unet, image.array, pixel_size_um=16.0, progress=False).labels
    of_file = segment_section(unet, tmp_path / "s.ome.tif", progress=False).labels
    background = SectionImage.open(tmp_path / "s.ome.tif").background  # guessed, as that of an array is
    given = ArrayImage(image.array, 16.0, background=background)
    np.testing.assert_array_equal(of_file, segment_section(unet, given, progress=False).labels)
    np.testing.assert_array_equal(of_array, of_file)


def test_without_a_plane_the_texture_alone_decides(unet, image, atlas):
    assert segment_section(unet, image, atlas=atlas, progress=False).used_atlas is False


def test_without_an_atlas_the_texture_alone_decides(unet, section, result):
    of_section = segment_section(unet, section, progress=False)
    assert of_section.used_atlas is False
    np.testing.assert_array_equal(of_section.labels, result.labels)


def test_image_with_its_section_uses_the_atlas(unet, image, atlas, section):
    assert segment_section(unet, image, section=section, atlas=atlas, progress=False).used_atlas


def test_windows_of_empty_glass_are_skipped(unet):
    pixels = np.random.default_rng(0).normal(245, 2, (250, 700)).astype(np.uint8)
    pixels[40:200, 600:690] = 120
    image = ArrayImage(pixels, 16.0, background=245)
    result = segment_section(unet, image, probabilities=True, window=258, progress=False)
    # 68 cells a window, 64 of them stepped over: tissue in 600 … 690 touches the columns that begin at 576 (and
    # the last one at 640) only.
    assert 0 < result.windows_computed < result.windows_skipped
    empty = result.labels[:, :512]
    assert (empty == 0).all()
    assert (result.probabilities[:, :512] == [1, 0, 0, 0]).all()


def test_no_window_with_tissue_is_skipped(unet):
    pixels = np.full((250, 400), 245, np.uint8)
    pixels[::30, ::30] = 200  # specks of one pixel are no tissue …
    pixels[100:108, 300:308] = 200  # … a piece of 0.13 mm is
    result = segment_section(unet, ArrayImage(pixels, 16.0, background=245), window=258, progress=False)
    assert 1 <= result.windows_computed <= 4


def test_glass_is_background_whatever_the_network_says(unet):
    pixels = np.full((300, 300), 245, np.uint8)
    pixels[100:200, 100:200] = 120
    pixels[140:160, 140:160] = 245  # a hole of 0.32 mm
    image = ArrayImage(pixels, 16.0, background=245)
    result = segment_section(unet, image, probabilities=True, progress=False)
    by_network = segment_section(unet, ArrayImage(pixels, 16.0, background=0), progress=False)
    rows, columns = np.ix_(result.grid.rows_px, result.grid.columns_px)
    inside = (abs(rows - 149.5) < 52) & (abs(columns - 149.5) < 52)  # a cell next to tissue is not empty
    glass = ~inside | (abs(rows - 149.5) < 8) & (abs(columns - 149.5) < 8)
    assert by_network.labels[glass].any()  # the untrained network calls it something else
    assert not result.labels[glass].any()
    assert (result.probabilities[glass] == [1, 0, 0, 0]).all()
    tissue = (abs(rows - 149.5) < 48) & (abs(columns - 149.5) < 48) & (abs(rows - 149.5) > 12)
    assert result.labels[tissue].any()


def test_image_smaller_than_a_patch_is_refused_with_sizes(unet):
    with pytest.raises(UserError, match=r"100 x 500 px at 16 µm \(1.60 x 8.00 mm\).*194 x 194 px \(3.10 mm"):
        segment_section(unet, np.zeros((100, 500), np.uint8), pixel_size_um=16.0, progress=False)


def test_atlas_with_other_areas_is_refused(unet, section):
    atlas = Atlas(np.zeros((2, 2, 2, 3), np.float32), np.eye(4), ("a", "b", "c"))
    with pytest.raises(UserError, match="has 3 areas, the model's atlas branch takes 2"):
        segment_section(unet, section, atlas=atlas, progress=False)


def test_atlas_in_another_order_is_refused(unet, section, atlas):
    swapped = Atlas(atlas.probabilities, atlas.affine, ("b", "a"))
    with pytest.raises(UserError, match=r"order of the model's classes \(a, b\)"):
        segment_section(unet, section, atlas=swapped, progress=False)


def test_another_model_is_refused(image):
    with pytest.raises(UserError, match="must be an AtlasUNet"):
        segment_section(keras.Sequential(), image, progress=False)


def test_labels_are_written_where_asked(unet, image, tmp_path):
    result = segment_section(unet, image, output=tmp_path / "labels.ome.tif", progress=False)
    written = read_label_tiff(tmp_path / "labels.ome.tif")
    np.testing.assert_array_equal(written.labels, result.labels)
    assert written.grid == result.grid and written.class_names == CLASSES and written.used_atlas is False
