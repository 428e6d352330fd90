"""PatchReader: where patches lie, what is outside, pixel sizes, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytokeras.brain import ArrayImage, Section, SectionImage, SectionPlane, write_section_tiff
from cytokeras.errors import UserError
from cytokeras.pipelines import PatchReader

PLANE = SectionPlane([[0, 0.016, 0], [-0.016, 0, 0]], [0, 0, 0], [1, 0, 0], [0, 0, 1])
PIXELS = np.random.default_rng(0).integers(0, 250, (60, 80), dtype=np.uint8)


def section(pixels=PIXELS, pixel_size_um=16.0, name="s0"):
    return Section(name, ArrayImage(pixels, pixel_size_um, background=255), PLANE)


class RecordingImage(ArrayImage):
    """An image that notes which of several images is read when."""

    def __init__(self, name, log):
        super().__init__(PIXELS, 16.0)
        self.name, self.log = name, log

    def read(self, *args, **kwargs):
        self.log.append(self.name)
        return super().read(*args, **kwargs)


@pytest.mark.parametrize("size", [1, 4, 5])
def test_the_pixel_asked_for_is_at_half_the_size(size):
    patch = PatchReader([section()], size).read(0, 30, 40)
    assert patch.shape == (size, size) and patch.dtype == np.uint8
    assert patch[size // 2, size // 2] == PIXELS[30, 40]


def test_an_odd_patch_is_symmetric_about_its_centre():
    patch = PatchReader([section()], 5).read(0, 30, 40)
    np.testing.assert_array_equal(patch, PIXELS[28:33, 38:43])


@settings(max_examples=50, deadline=None)
@given(st.integers(-20, 80), st.integers(-20, 100), st.integers(1, 30))
def test_patches_equal_those_of_the_image_padded_with_background(row, column, size):
    padded = np.pad(PIXELS, 60, constant_values=255)
    top, left = row + 60 - size // 2, column + 60 - size // 2
    patch = PatchReader([section()], size).read(0, row, column)
    np.testing.assert_array_equal(patch, padded[top : top + size, left : left + size])


def test_fractional_centres_go_to_the_nearest_pixel():
    assert PatchReader([section()], 1).read(0, 29.6, 40.4) == PIXELS[30, 40]


def test_sections_are_found_by_key():
    reader = PatchReader({"a": section(), ("b", 1): section(255 - PIXELS, name="s1")}, 3)
    np.testing.assert_array_equal(reader.read(("b", 1), 5, 5), 255 - reader.read("a", 5, 5))


def test_another_pixel_size_is_named_with_section_and_both_values():
    with pytest.raises(UserError, match=r"'s7' has pixels of 20 µm.*expects 16 µm.*pixel_size_um=20"):
        PatchReader([section(), section(pixel_size_um=20.0, name="s7")], 3, pixel_size_um=16.0)


def test_sections_of_two_pixel_sizes_are_refused_without_an_expected_one():
    with pytest.raises(UserError, match="'s1' has pixels of 8 µm, but section 's0' has 16 µm"):
        PatchReader([section(), section(pixel_size_um=8.0, name="s1")], 3)


@pytest.mark.parametrize(("pixel_size_um", "accepted"), [(16.15, True), (16.17, False)])
def test_pixel_sizes_may_differ_by_one_percent(pixel_size_um, accepted):
    if accepted:
        PatchReader([section(pixel_size_um=pixel_size_um)], 3, pixel_size_um=16.0)
    else:
        with pytest.raises(UserError):
            PatchReader([section(pixel_size_um=pixel_size_um)], 3, pixel_size_um=16.0)


@pytest.mark.parametrize("size", [0, -3, 2.5, True])
def test_patch_sizes_that_are_no_positive_whole_number_are_refused(size):
    with pytest.raises(UserError, match="patch_size"):
        PatchReader([section()], size)


def test_many_threads_read_what_one_thread_reads(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (700, 900), dtype=np.uint8)
    write_section_tiff(tmp_path / "s.ome.tif", pixels, 16.0, tile=128)
    on_disk = Section("s", SectionImage.open(tmp_path / "s.ome.tif"), PLANE)
    reader = PatchReader([on_disk], 65)
    rows, columns = np.random.default_rng(2).integers(40, 600, (2, 200))
    with ThreadPoolExecutor(8) as pool:
        patches = list(pool.map(lambda rc: reader.read(0, *rc), zip(rows, columns, strict=True)))
    for patch, r, c in zip(patches, rows, columns, strict=True):
        np.testing.assert_array_equal(patch, pixels[r - 32 : r + 33, c - 32 : c + 33])


def test_read_all_keeps_the_order_asked_for():
    reader = PatchReader([section(), section(255 - PIXELS, name="s1")], 5)
    wanted = [(1, 10, 20), (0, 30, 40), (1, 5, 6), (0, 10, 20)]
    patches = reader.read_all(*zip(*wanted, strict=True), workers=3, progress=False)
    assert patches.shape == (4, 5, 5) and patches.dtype == np.uint8
    for patch, (s, r, c) in zip(patches, wanted, strict=True):
        np.testing.assert_array_equal(patch, reader.read(s, r, c))


def test_read_all_finishes_one_section_before_the_next():
    log = []
    reader = PatchReader([Section(n, RecordingImage(n, log), PLANE) for n in "abc"], 3)
    reader.read_all([2, 0, 1, 0, 2, 1], range(6), range(6), workers=1, progress=False)
    assert log == list("aabbcc")


def test_read_all_shows_progress_unless_silenced(capsys):
    reader = PatchReader([section()], 3)
    reader.read_all([0], [1], [1], progress=False)
    assert capsys.readouterr().err == ""
    reader.read_all([0], [1], [1])
    assert "1/1" in capsys.readouterr().err
