"""Section planes and sections."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytokeras.brain import ArrayImage, Section, SectionPlane
from cytokeras.errors import UserError

X, Z = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]


def coronal(pixel_mm=0.02, y=-70.0):
    """Column 0 at x = -60, row 0 at z = 50; rows run down."""
    return SectionPlane([[0, pixel_mm, 0], [-pixel_mm, 0, 0]], [-60, y, 50], X, Z)


def image():
    return ArrayImage(np.full((30, 40), 240, np.uint8), 20.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pixels_survive_the_way_to_space_and_back(seed):
    rng = np.random.default_rng(seed)
    u, v = np.linalg.qr(rng.normal(size=(3, 2)))[0].T
    affine = np.concatenate([np.diag(rng.uniform(0.001, 0.1, 2)), rng.uniform(-50, 50, (2, 1))], axis=1)
    plane = SectionPlane(affine, rng.uniform(-80, 80, 3), u, v)
    pixels = rng.uniform(-1000, 9000, (20, 2))
    points = plane.pixel_to_mm(pixels)
    np.testing.assert_allclose(plane.mm_to_pixel(points), pixels, atol=1e-6)
    np.testing.assert_allclose(plane.distance_to_plane_mm(points), 0, atol=1e-9)


def test_pixel_goes_where_the_formula_says():
    np.testing.assert_allclose(coronal().pixel_to_mm([[100, 250]]), [[-55, -70, 48]])


def test_points_beside_the_plane_are_projected_at_a_right_angle():
    np.testing.assert_allclose(coronal().mm_to_pixel([-55, -63.5, 48]), [100, 250])


def test_distance_is_signed_along_the_normal():
    plane = coronal()
    np.testing.assert_allclose(plane.normal, [0, -1, 0])
    assert plane.distance_to_plane_mm([0, -73, 0]) == pytest.approx(3)


def test_shapes_of_any_number_of_points():
    assert coronal().pixel_to_mm(np.zeros((4, 5, 2))).shape == (4, 5, 3)


def test_pixel_size_of_the_affine():
    assert coronal(0.016).pixel_size_um == pytest.approx(16)


def test_axes_rounded_to_three_digits_are_made_orthonormal():
    plane = SectionPlane(np.eye(2, 3), [0, 0, 0], [0.707, 0.707, 0], [-0.707, 0.708, 0])
    np.testing.assert_allclose([plane.axis_u @ plane.axis_u, plane.axis_u @ plane.axis_v], [1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 0], [0, 1]], [0, 0, 0], X, Z), r"affine: must be finite numbers of shape \(2, 3\)"),
        (([[1, 2, 0], [2, 4, 0]], [0, 0, 0], X, Z), "affine: cannot be inverted"),
        ((np.eye(2, 3), [0, 0, float("nan")], X, Z), "origin"),
        ((np.eye(2, 3), [0, 0, 0], [2, 0, 0], Z), "axis_u: must have length 1"),
        ((np.eye(2, 3), [0, 0, 0], X, [0.6, 0, 0.8]), "right angle"),
        ((np.eye(2, 3), [0, 0, 0], X, "up"), "axis_v: must be numbers"),
    ],
)
def test_faulty_planes_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        SectionPlane(*arguments)


def test_section_takes_its_pixel_size_from_the_image():
    assert Section("s1", image(), coronal()).pixel_size_um == 20.0


@pytest.mark.parametrize("id", ["", "a/b", "../x", " s", ".hidden", 3])
def test_ids_that_are_no_file_names_are_refused(id):
    with pytest.raises(UserError, match="section id"):
        Section(id, image(), coronal())


def test_unknown_split_is_refused():
    with pytest.raises(UserError, match="split: must be 'train' or 'test'"):
        Section("s1", image(), coronal(), split="val")
