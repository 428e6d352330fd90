"""The probabilistic atlas against scipy and nibabel."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from cytokeras.brain import Atlas
from cytokeras.errors import UserError


def oblique_affine():
    affine = np.eye(4)
    affine[:3, :3] = [[0.0, -1.5, 0.1], [1.2, 0.0, 0.0], [0.0, 0.2, 2.0]]
    affine[:3, 3] = [-30, -90, 11]
    return affine


def atlas(seed=0):
    values = np.random.default_rng(seed).random((9, 11, 7, 3), np.float32)
    return Atlas(values, oblique_affine(), ("hOc1", "hOc2", "FG1"))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_interpolation_equals_scipy(seed):
    brain_atlas = atlas()
    voxels = np.random.default_rng(seed).uniform(-2.5, 13, (200, 3))
    points = voxels @ oblique_affine()[:3, :3].T + oblique_affine()[:3, 3]
    expected = [
        map_coordinates(volume, voxels.T, np.float64, order=1, mode="grid-constant")
        for volume in np.moveaxis(brain_atlas.probabilities, -1, 0)
    ]
    np.testing.assert_allclose(brain_atlas.sample(points), np.stack(expected, axis=1), atol=2e-6)


def test_voxel_centres_give_the_voxels():
    brain_atlas = atlas()
    voxels = np.stack(np.meshgrid(*map(np.arange, (9, 11, 7)), indexing="ij"), axis=-1)
    points = voxels @ oblique_affine()[:3, :3].T + oblique_affine()[:3, 3]
    sampled = brain_atlas.sample(points)
    assert sampled.dtype == np.float32
    np.testing.assert_allclose(sampled, brain_atlas.probabilities, atol=1e-6)


def test_far_away_and_undefined_places_are_zero():
    assert not atlas().sample([[1e6, 0, 0], [np.nan, -80, 15]]).any()


def test_many_points_in_parts_equal_few():
    points = np.random.default_rng(0).uniform((-45, -92, 10), (-30, -80, 25), ((1 << 18) + 5, 3))
    brain_atlas = atlas()
    np.testing.assert_array_equal(brain_atlas.sample(points)[-9:], brain_atlas.sample(points[-9:]))


@pytest.mark.parametrize("name", ["atlas.nii", "atlas.nii.gz"])
def test_file_round_trip(tmp_path, name):
    atlas().write(tmp_path / name)
    again = Atlas.read(tmp_path / name, ["hOc1", "hOc2", "FG1"])
    np.testing.assert_array_equal(again.probabilities, atlas().probabilities)
    np.testing.assert_allclose(again.affine, oblique_affine(), atol=1e-5)
    assert nibabel.load(tmp_path / name).header.get_xyzt_units()[0] == "mm"


def test_percentages_become_probabilities(tmp_path):
    values = np.zeros((3, 3, 3, 2), np.uint8)
    values[1, 1, 1] = 25, 100
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "fsl.nii.gz")
    sampled = Atlas.read(tmp_path / "fsl.nii.gz", ["a", "b"]).sample([1, 1, 1])
    np.testing.assert_allclose(sampled, [0.25, 1.0])


@pytest.mark.parametrize(
    ("values", "affine", "names", "message"),
    [
        (np.zeros((2, 2, 2)), np.eye(4), ["a"], "must be"),
        (np.full((2, 2, 2, 1), 1.5), np.eye(4), ["a"], "0 to 1; received 1.5 to 1.5"),
        (np.full((2, 2, 2, 1), np.nan), np.eye(4), ["a"], "0 to 1"),
        (np.zeros((2, 2, 2, 2)), np.eye(4), ["a"], "2 volumes but 1 names"),
        (np.zeros((2, 2, 2, 2)), np.eye(4), ["a", "a"], "must differ"),
        (np.zeros((2, 2, 2, 1)), np.zeros((4, 4)), ["a"], "cannot be inverted"),
    ],
)
def test_faulty_atlases_are_refused(values, affine, names, message):
    with pytest.raises(UserError, match=message):
        Atlas(values, affine, names)


def test_faulty_files_are_named(tmp_path):
    (tmp_path / "no.nii.gz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"no\.nii\.gz: cannot be read as NIfTI"):
        Atlas.read(tmp_path / "no.nii.gz", ["a"])
    with pytest.raises(UserError, match="no such file"):
        Atlas.read(tmp_path / "missing.nii", ["a"])


def test_other_units_are_refused(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2, 1), np.float32), np.eye(4))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "um.nii")
    with pytest.raises(UserError, match="in micron; must be in mm"):
        Atlas.read(tmp_path / "um.nii", ["a"])
