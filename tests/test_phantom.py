"""The phantom: geometry against analytic shapes, counts against the published ones, windows against each other."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

pytest.importorskip("nilearn", reason="the phantom is drawn on the fsaverage5 surfaces that nilearn ships")

from cytokeras.brain.labels import VISUAL_AREAS, VISUAL_SCHEME
from cytokeras.errors import UserError
from cytokeras.phantom import LEVELS, PhantomBrain, phantom_atlas
from cytokeras.phantom._section_fields import (
    BACKGROUND,
    LATTICE_MM,
    OTHER_CORTEX,
    WHITE_MATTER,
    equal_volume_depth,
    section_fields,
)
from cytokeras.phantom.anatomy import PhantomHemisphere, _loop_subdivision, phantom_hemisphere
from cytokeras.phantom.cytoarchitecture import AREA_LAYERS, depth_profiles, profiles_per_mm2, texture_layers
from cytokeras.phantom.phantom_brain import SECTION_RANGE_MM
from cytokeras.phantom.renderer import SectionRenderer
from cytokeras.phantom.staining import StainBatch
from cytokeras.phantom.territories import areas_from_territory
from cytokeras.sampling import sample_cortex
from cytokeras.surfaces import Hemisphere, Mesh

OCCIPITAL_MM = -80.0


@pytest.fixture(scope="module")
def brain():
    return PhantomBrain(seed=3, pixel_size_um=16.0, sections_mm=[OCCIPITAL_MM], hemispheres=["left"], level="easy")


@pytest.fixture(scope="module")
def fields(brain):
    return brain.sections[0].image.fields()


@cache
def fields_of_level(level):
    brain = PhantomBrain(seed=3, pixel_size_um=16.0, sections_mm=[OCCIPITAL_MM], hemispheres=["left"], level=level)
    return brain.sections[0].image.fields()


def renderer(fields, pixel_size_um, seed, level="easy"):
    batch = StainBatch.at(OCCIPITAL_MM, 3, LEVELS[level])
    return SectionRenderer(fields, depth_profiles(texture_layers()), pixel_size_um, seed, LEVELS[level], batch)


def test_abercrombie_count_of_the_literature():
    assert profiles_per_mm2(150_000.0, 8.0) == pytest.approx(4200.0)


@pytest.mark.parametrize(
    ("area", "total_mm"),
    [("hOc1", 1.70), ("hOc2", 1.67), ("hOc4lp", 2.26), ("hOc5", 2.35), ("FG4", 2.36), ("other cortex", 2.11)],
)
def test_cortex_is_as_thick_as_measured_in_bigbrain(area, total_mm):
    assert sum(layer.thickness_mm for layer in AREA_LAYERS[area]) == pytest.approx(total_mm, abs=0.005)


def test_striate_layer_four_has_its_pale_stripe():
    profile = depth_profiles([AREA_LAYERS["hOc1"]]).profiles_per_mm2[0]
    ends = np.cumsum([layer.thickness_mm for layer in AREA_LAYERS["hOc1"]]) / 1.70
    iv_a, iv_b, iv_c = (profile[int(256 * (ends[i - 1] + ends[i]) / 2)] for i in (3, 4, 5))
    assert iv_b == pytest.approx(profiles_per_mm2(60_000.0, 5.0), rel=0.05)
    assert iv_c == pytest.approx(profiles_per_mm2(220_000.0, 8.0), rel=0.05)
    assert iv_b < iv_a < iv_c


def test_equal_volume_depth_of_a_spherical_shell():
    """Between spheres of 30 and 28 mm the volume above radius r is known exactly."""
    outer, inner = 30.0, 28.0
    radius = np.linspace(inner, outer, 9)
    exact = (outer**3 - radius**3) / (outer**3 - inner**3)
    assert equal_volume_depth((outer - radius) / (outer - inner), (inner / outer) ** 2) == pytest.approx(
        exact, abs=1e-3
    )


def icosahedron() -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    mesh = trimesh.creation.icosahedron()
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def test_loop_subdivision_reproduces_affine_positions_and_counts():
    vertices, faces = icosahedron()
    operator, fine = _loop_subdivision(len(vertices), faces)
    assert operator.shape == (12 + 30, 12)
    assert len(fine) == 4 * 20
    assert np.asarray(operator.sum(axis=1)).ravel() == pytest.approx(1.0)
    assert Mesh(operator @ vertices, fine).euler_characteristic == 2


def test_fields_of_concentric_spheres_match_the_formula():
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=5, radius=1.0)
    unit, faces = np.asarray(sphere.vertices), np.asarray(sphere.faces)
    surfaces = Hemisphere("left", *(Mesh(r * unit, faces) for r in (10.0, 8.0, 10.0, 1.0)))
    territory = np.full((len(unit), 12), -1.0, np.float32)
    territory[:, 0] = 50.0  # far from hOc1 and hOc2: all other cortex
    shell = PhantomHemisphere(
        surfaces, territory, (10.0, 20.0), np.zeros((len(unit), 4), np.float32), np.zeros((len(unit), 1))
    )
    fields = section_fields([shell], 3.0)
    rows, columns = np.indices(fields.labels.shape)
    x, z = fields.x_mm + LATTICE_MM * columns, fields.z_mm - LATTICE_MM * rows
    radius = np.sqrt(x**2 + 3.0**2 + z**2)
    sure = (np.abs(radius - 10.0) > 0.1) & (np.abs(radius - 8.0) > 0.1)  # the faces are flat, the sphere is not
    expected = np.select([radius > 10.0, radius < 8.0], [BACKGROUND, WHITE_MATTER], OTHER_CORTEX)
    assert (fields.labels == expected)[sure].all()
    ribbon = sure & (expected == OTHER_CORTEX)
    exact = (10.0**3 - radius**3) / (10.0**3 - 8.0**3)
    assert np.abs(fields.depth / 255 - exact)[ribbon].max() < 0.03


@settings(max_examples=15, deadline=None)
@given(
    level=st.sampled_from(sorted(LEVELS)),
    pixel_um=st.sampled_from([2.0, 4.0, 8.0, 16.0, 20.0]),
    shift=st.tuples(st.integers(-40, 40), st.integers(-40, 40)),
    place=st.integers(0, 10_000),
)
def test_overlapping_windows_agree_pixel_for_pixel(level, pixel_um, shift, place):
    fields = fields_of_level(level)
    cortex = np.argwhere(fields.labels >= OTHER_CORTEX)
    row, column = (cortex[place * 37 % len(cortex)] * LATTICE_MM * 1000 / pixel_um).astype(int)
    drawn = renderer(fields, pixel_um, 11, level)
    first = drawn.render(row, column, 80, 90)
    second = drawn.render(row + shift[0], column + shift[1], 80, 90)
    dr, dc = shift
    a = first[max(dr, 0) : 80 + min(dr, 0), max(dc, 0) : 90 + min(dc, 0)]
    b = second[max(-dr, 0) : 80 + min(-dr, 0), max(-dc, 0) : 90 + min(-dc, 0)]
    assert (a == b).all()


def test_fields_without_columns_are_refused_by_a_level_that_has_them(fields):
    with pytest.raises(ValueError, match="'standard' draws cell columns"):
        renderer(fields, 8.0, 11, "standard")


def test_glia_of_white_matter_are_as_many_as_published(fields):
    """300-600 per mm² in white matter; counted as dark blobs at 1 µm/px."""
    inside = ndimage.binary_erosion(fields.labels == WHITE_MATTER, iterations=30)
    row, column = (np.argwhere(inside)[1000] * LATTICE_MM * 1000).astype(int)
    grey = renderer(fields, 1.0, 5).render(row - 500, column - 500, 1000, 1000)
    _, count = ndimage.label(grey < 170)
    assert 300 <= count <= 600


def test_mean_staining_follows_the_cell_counts(fields):
    """Pixels of any size see the same optical density, because cells keep their area."""
    cortex = np.argwhere(ndimage.binary_erosion(fields.labels >= OTHER_CORTEX, iterations=15))
    centre = cortex[len(cortex) // 2] * LATTICE_MM * 1000
    means = []
    for pixel_um in (2.0, 16.0):
        row, column = (centre / pixel_um).astype(int) - int(200 / pixel_um)
        size = int(400 / pixel_um)
        grey = renderer(fields, pixel_um, 5).render(row, column, size, size)
        means.append(-np.log(grey / 245.0).mean())
    assert means[0] == pytest.approx(means[1], rel=0.1)


def test_same_seed_same_pixels_other_seed_other_pixels(brain):
    again = PhantomBrain(seed=3, pixel_size_um=16.0, sections_mm=[OCCIPITAL_MM], hemispheres=["left"], level="easy")
    other = PhantomBrain(seed=4, pixel_size_um=16.0, sections_mm=[OCCIPITAL_MM], hemispheres=["left"], level="easy")
    window = (900, 900, 200, 200)
    first = brain.sections[0].image.read(*window)
    assert (again.sections[0].image.read(*window) == first).all()
    assert (other.sections[0].image.read(*window) != first).any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_every_area_is_somewhere_in_the_default_range(side):
    hemisphere = phantom_hemisphere(side, 0, LEVELS["easy"])
    y = hemisphere.surfaces.pial.vertices[:, 1]
    inside = (y > SECTION_RANGE_MM[0]) & (y < SECTION_RANGE_MM[1])
    areas = areas_from_territory(hemisphere.territory[inside], hemisphere.striate_mm, OTHER_CORTEX)
    assert set(areas.tolist()) == set(range(OTHER_CORTEX, len(VISUAL_SCHEME)))


def test_centre_of_the_cortex_is_labelled_cortex(brain):
    locations = sample_cortex(brain, 300, seed=0, split=None)
    image, labels = brain.sections[0].image, brain.sections[0].labels
    found = [labels.read(round(r), round(c), 1, 1)[0, 0] for r, c in zip(locations.row, locations.column, strict=True)]
    assert np.mean(np.asarray(found) >= OTHER_CORTEX) > 0.99
    assert (locations.row < image.shape[0]).all()


def test_labels_outside_the_image_are_unlabelled(brain):
    labels = brain.sections[0].labels
    assert (labels.read(-5, -5, 4, 4) == 255).all()
    assert labels.read(0, 0, 3, 4, step=8).shape == (3, 4)


def test_section_plane_is_coronal_and_keeps_the_pixel_size(brain):
    section = brain.sections[0]
    points = section.pixel_to_mm(np.array([[0, 0], [0, 1000], [1000, 0]]))
    assert points[:, 1] == pytest.approx(OCCIPITAL_MM)
    assert points[1] - points[0] == pytest.approx([16.0, 0.0, 0.0])
    assert points[2] - points[0] == pytest.approx([0.0, 0.0, -16.0])


def test_atlas_is_a_probability_and_peaks_near_the_areas(brain):
    atlas = phantom_atlas(3, "easy", ("left",))
    assert atlas.names == VISUAL_AREAS
    total = atlas.probabilities.sum(axis=-1)
    assert total.min() >= 0
    assert total.max() <= 1 + 1e-5
    section = brain.sections[0]
    true = section.labels.read(0, 0, section.image.shape[0] // 8, section.image.shape[1] // 8, step=8)
    places = np.argwhere(true > OTHER_CORTEX)
    prior = atlas.sample(section.pixel_to_mm(places * 8))
    guess = prior.argmax(axis=-1) + OTHER_CORTEX + 1
    accuracy = (guess == true[tuple(places.T)]).mean()
    assert 0.4 < accuracy < 0.98  # informative, yet not the truth


@pytest.mark.parametrize(
    "arguments", [{"seed": -1}, {"pixel_size_um": 0.5}, {"pixel_size_um": 40.0}, {"sections_mm": [500.0]}]
)
def test_impossible_phantoms_are_refused(arguments):
    with pytest.raises(UserError):
        PhantomBrain(**arguments)
