from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import trimesh
from scipy import special

from cytokeras.errors import UserError
from cytokeras.surfaces import Hemisphere, Mesh
from cytokeras.surfaces._curvature import mean_curvature

BALL = trimesh.creation.icosphere(4)
UNIT = Mesh(BALL.vertices, BALL.faces)


def scaled(radius: float, shift_x: float = 0.0) -> Mesh:
    return UNIT.with_vertices(UNIT.vertices * radius + [shift_x, 0, 0])


def test_mid_surface_and_thickness_of_concentric_spheres():
    hemisphere = Hemisphere("left", scaled(11), scaled(8), scaled(20))
    np.testing.assert_allclose(np.linalg.norm(hemisphere.mid.vertices, axis=1), 9.5)
    np.testing.assert_allclose(hemisphere.thickness, 3.0)


@pytest.mark.parametrize("radius", [1.0, 5.0, 40.0])
def test_mean_curvature_of_a_sphere_is_one_over_its_radius(radius):
    hemisphere = Hemisphere("left", scaled(radius * 1.1), scaled(radius * 0.9), scaled(radius))
    np.testing.assert_allclose(hemisphere.mean_curvature, 1 / radius, rtol=1e-3)


def test_mean_curvature_is_negative_where_the_surface_is_a_cavity():
    hemisphere = Hemisphere("left", scaled(0.9), scaled(1.1), scaled(1.0))
    np.testing.assert_allclose(hemisphere.mean_curvature, -1.0, rtol=1e-3)


def test_mean_curvature_does_not_depend_on_the_order_of_corners():
    flipped = [Mesh(UNIT.vertices * radius, UNIT.faces[:, ::-1]) for radius in (1.1, 0.9, 1.0)]
    np.testing.assert_allclose(Hemisphere("left", *flipped).mean_curvature, 1.0, rtol=1e-3)


def test_mean_curvature_of_a_cylinder_and_its_rim():
    angle, height = np.meshgrid(np.arange(48) * (2 * np.pi / 48), np.arange(9) * 0.3, indexing="ij")
    ring = np.stack([np.cos(angle), np.sin(angle), height], axis=-1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(48), np.arange(8), indexing="ij")
    a, b = (i * 9 + j).ravel(), ((i + 1) % 48 * 9 + j).ravel()
    faces = np.concatenate([np.stack([a, b, b + 1], 1), np.stack([a, b + 1, a + 1], 1)])
    tube = Mesh(ring * [2, 2, 1], faces)
    outer, inner = (tube.with_vertices(ring * [r, r, 1]) for r in (2.1, 1.9))
    curvature = Hemisphere("left", outer, inner, tube).mean_curvature.reshape(48, 9)
    np.testing.assert_allclose(curvature[:, 1:-1], 0.25, rtol=5e-3)  # (1/r + 0) / 2
    assert np.isnan(curvature[:, [0, -1]]).all()


def noisy_ball(radius: float, noise_mm: float, seed: int = 0) -> Hemisphere:
    """A sphere whose vertices are moved to and fro along the normal, as those of a surface found in an image are."""
    shift = np.random.default_rng(seed).normal(0, noise_mm, (len(UNIT.vertices), 1))
    return Hemisphere("left", *(UNIT.with_vertices(UNIT.vertices * (radius + each + shift)) for each in (1, -1, 1)))


def test_mean_curvature_is_robust_to_noise_of_the_vertices():
    # Vertices of this ball are 0.7 mm apart, as those of an individual's cortex; 0.02 mm of noise.
    noisy = noisy_ball(10.0, 0.02)
    raw = mean_curvature(noisy.mid, 0.0)
    assert np.std(raw) > 0.05  # half of the curvature itself
    assert np.std(noisy.mean_curvature) < 0.2 * np.std(raw)
    assert np.mean(noisy.mean_curvature) == pytest.approx(0.1, rel=0.02)
    assert np.abs(noisy.mean_curvature - 0.1).max() < 0.05


@pytest.mark.parametrize("degree", [2, 4, 6])
def test_mean_curvature_of_waves_on_a_sphere_is_that_of_theory_under_a_gaussian_of_2_mm(degree):
    # r (1 + e Y) has to first order the mean curvature 1/r + e Y (l - 1)(l + 2) / (2 r), of which diffusion over the
    # time t leaves exp(-t l (l + 1) / r²); a Gaussian of that width has the variance 2 t.
    radius, height = 6.0, 1e-3
    wave = special.eval_legendre(degree, UNIT.vertices[:, 2])
    waved = (radius * (1 + height * wave))[:, None] * UNIT.vertices
    hemisphere = Hemisphere("left", *(UNIT.with_vertices(waved * each) for each in (1.01, 0.99, 1.0)))
    excess = hemisphere.mean_curvature - 1 / radius
    amplitude = (excess @ wave) / (wave @ wave)
    time = (2.0 / np.sqrt(8 * np.log(2))) ** 2 / 2
    expected = height * (degree - 1) * (degree + 2) / (2 * radius) * np.exp(-time * degree * (degree + 1) / radius**2)
    assert amplitude == pytest.approx(expected, rel=0.03)


def test_common_frame_mirrors_the_right_hemisphere():
    left = Hemisphere("left", scaled(11), scaled(8), scaled(20, -25))
    mirrored = UNIT.vertices * [-20, 20, 20] + [25, 0, 0]
    faces = UNIT.faces[:, ::-1]
    right = Hemisphere("right", Mesh(UNIT.vertices * 11, faces), Mesh(UNIT.vertices * 8, faces), Mesh(mirrored, faces))
    np.testing.assert_allclose(right.inflated_common, left.inflated_common, atol=1e-9)


@pytest.mark.parametrize("shift", [-60.0, 0.0, 35.0])
def test_common_frame_does_not_depend_on_where_the_inflated_surface_lies_in_x(shift):
    hemisphere = Hemisphere("right", scaled(11), scaled(8), scaled(20, shift))
    x = hemisphere.inflated_common[:, 0]
    assert x.min() == pytest.approx(-20) and x.max() == pytest.approx(20)


def test_common_frame_of_fsaverage5_brings_both_medial_walls_to_one_side():
    nilearn = pytest.importorskip("nilearn", reason="nilearn, which ships fsaverage5, is not installed")
    folder = Path(nilearn.__file__).parent / "datasets" / "data" / "fsaverage5"
    for side in ("left", "right"):
        meshes = [Mesh.read(folder / f"{name}_{side}.gii.gz") for name in ("pial", "white", "infl")]
        hemisphere = Hemisphere(side, *meshes)
        medial = hemisphere.thickness < 0.1
        assert medial.sum() > 300
        assert hemisphere.inflated_common[medial, 0].mean() > 10  # medial of a left hemisphere: to the right
        convexity = -nibabel.load(folder / f"curv_{side}.gii.gz").darrays[0].data  # positive in sulci there
        assert np.corrcoef(hemisphere.mean_curvature[~medial], convexity[~medial])[0, 1] > 0.8


def test_another_name_is_refused():
    with pytest.raises(UserError, match=r"'left' or 'right'.*'lh'"):
        Hemisphere("lh", UNIT, UNIT, UNIT)


def test_surfaces_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"white must correspond to pial.*2562 vertices.*10242 vertices"):
        Hemisphere("left", UNIT, UNIT.subdivide(1), UNIT)


def test_surfaces_with_other_faces_are_refused():
    other = Mesh(UNIT.vertices, np.roll(UNIT.faces, 1, axis=0))
    with pytest.raises(UserError, match="Hemisphere 'right': sphere must have the faces of pial"):
        Hemisphere("right", UNIT, UNIT, UNIT, other)
