"""Sections that lie outside the atlas or the surfaces of their brain are told, once and clearly."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
import pytest
from _small_brain import SCHEME, SHAPE, hemisphere, network, section_image, small_brain

from cytokeras.brain import ArrayImage, Atlas, Brain, Section, SectionPlane
from cytokeras.cli import main
from cytokeras.errors import UserError
from cytokeras.inference import segment_brain, segment_section
from cytokeras.inference._tissue_finder import tissue_points


@pytest.fixture(scope="module")
def unet():
    return network()


def moved(x_mm, image=None):
    """A section whose pixel (row, column) lies at x = x_mm + 0.016 column, y = 2, z = 0.016 row."""
    plane = SectionPlane([[0, 0.016, x_mm], [0.016, 0, 0]], [0, 2, 0], [1, 0, 0], [0, 0, 1])
    return Section("s1", image or section_image(), plane)


ATLAS = Atlas(np.full((4, 4, 4, 2), 0.5, np.float32), np.eye(4), ("hOc1", "hOc2"))  # covers -1 to 4 mm


def segment(unet, section):
    return segment_section(unet, section, atlas=ATLAS, window=274, progress=False)


def test_the_atlas_covers_what_it_gives_values_for():
    points = np.array([[-1.01, 2, 2], [-0.99, 2, 2], [3.99, 0, 3], [4.01, 0, 3]])
    assert ATLAS.covers(points).tolist() == [False, True, True, False]
    assert (ATLAS.sample(points)[:, 0] > 0).tolist() == [False, True, True, False]


def test_tissue_outside_the_atlas_is_refused(unet):
    with pytest.raises(UserError, match=r"not cover the tissue of section 's1' \(x 500.2 to 50\d.\d, y 2.0 to 2.0"):
        segment(unet, moved(500))
    # the tissue lies at 3.4 to 4.6 mm from the first column: only glass reaches into the atlas
    pixels = np.full(SHAPE, 245, np.uint8)
    pixels[:, 212:290] = 100
    glass_inside = moved(0.8, ArrayImage(pixels, 16.0, background=245))
    assert ATLAS.covers(glass_inside.pixel_to_mm([0, 0]))
    with pytest.raises(UserError, match=r"does not cover the tissue of section 's1' \(x 4\.\d"):
        segment(unet, glass_inside)


def test_a_small_overlap_is_told_once_and_a_large_one_not(unet):
    with pytest.warns(UserWarning, match=r"section 's1': only 1\d% of its tissue .* lies within the atlas") as told:
        result = segment(unet, moved(3.4))  # 0.6 of 4.8 mm
    assert len(told) == 1 and result.used_atlas
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segment(unet, moved(2.0))


def test_an_image_of_glass_has_no_place_to_check(unet):
    glass = ArrayImage(np.full(SHAPE, 245, np.uint8), 16.0, background=245)
    assert not segment(unet, moved(500, glass)).labels.any()


def test_tissue_is_found_at_the_coarsest_level_that_shows_it():
    pixels = np.full((400, 600), 245, np.uint8)
    pixels[100:200, 300:450] = 100

    class Pyramid(ArrayImage):
        levels = (1.0, 3.0, 6.0)
        asked: ClassVar[set] = set()

        def read(self, row, column, height, width, level=0):
            self.asked.add((level, height, width))
            step = int(self.levels[level])
            return ArrayImage(pixels[::step, ::step], 16.0 * step, 245).read(row, column, height, width)

    image = Pyramid(pixels, 16.0, background=245)
    image.levels = Pyramid.levels
    places = tissue_points(image, 20)  # every 20 rows and 30 columns, from 10 and 15 on
    assert image.asked == {(1, 1, 1)}
    expected = [[row, column] for row in range(110, 200, 20) for column in range(315, 450, 30)]
    np.testing.assert_array_equal(places, expected)


def brain_with_a_section_beside_it():
    """The ball of radius 1.7 mm around the origin; sections s1 and s2 miss it."""
    whole = small_brain()
    sections = [whole.sections[0], *(Section(f"s{n}", section_image(), plane_of(x)) for n, x in ((1, 5), (2, 50)))]
    return Brain("ball", "test", SCHEME, sections, {"left": hemisphere()})


def plane_of(x_mm):
    return SectionPlane([[0, 0.016, x_mm], [0.016, 0, 0]], [0, 0, 0], [1, 0, 0], [0, 0, 1])


def test_sections_beside_the_brain_are_named_and_segmented(tmp_path):
    with pytest.warns(UserWarning, match=r"brain ball: sections s1, s2 meet no surface inside the image") as told:
        result = segment_brain(network(0), brain_with_a_section_beside_it(), tmp_path, outlines=False, progress=False)
    assert len(told) == 1 and sorted(result.computed) == ["s0", "s1", "s2"]


def test_the_command_tells_in_one_line(tmp_path, capsys):
    brain_with_a_section_beside_it().save(tmp_path / "brain", progress=False)
    network(0).save_pretrained(tmp_path / "network")
    arguments = ["--preset", str(tmp_path / "network"), "--out", str(tmp_path / "out"), "--quiet", "--section", "s2"]
    assert main(["segment", str(tmp_path / "brain"), *arguments]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cytokeras: warning: brain ball: section s2 meets no surface inside the image")
