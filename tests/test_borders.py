"""Features along the cortex, and where they change."""

from __future__ import annotations

import csv
import math
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cytokeras.analysis import borders_png, cortical_borders
from cytokeras.analysis.borders import color_of
from cytokeras.brain import ArrayImage, Section, SectionPlane
from cytokeras.errors import UserError
from cytokeras.inference import CorticalEmbedding, embed_cortex
from cytokeras.inference._ribbon import ribbon_lines
from cytokeras.surfaces import Hemisphere, Mesh


def sphere(radius, levels=4):
    """An octahedron, subdivided and blown up."""
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    upper = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4]]
    mesh = Mesh(corners, [*upper, *[[b, a, 5] for a, b, _ in upper]]).subdivide(levels)
    return mesh.with_vertices(radius * mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def brain():
    """One spherical hemisphere, its mid surface of radius 5 mm."""
    left = Hemisphere("left", sphere(6.0), sphere(4.0), sphere(8.0))
    return SimpleNamespace(surfaces={"left": left})


@pytest.fixture(scope="module")
def section():
    """A plane through y = 0; pixel (row, column) of 0.1 mm lies at x = 0.1 column - 8, z = 8 - 0.1 row."""
    plane = SectionPlane([[0, 0.1, -8], [-0.1, 0, 8]], [0, 0, 0], [1, 0, 0], [0, 0, 1])
    pixels = np.tile(np.arange(160, dtype=np.uint8), (160, 1))
    return Section("s", ArrayImage(pixels, 100.0, background=255), plane)


class MeanGreyNet:
    """Stands in for a SiameseDistanceNet: features are the mean grey value and the value at the patch centre."""

    pixel_size_um = 100.0

    def embed(self, patches, batch_size):
        assert patches.shape[1:] == (5, 5)
        return np.stack([patches.mean(axis=(1, 2)), patches[:, 2, 2]], axis=1).astype(np.float32)

    def get_config(self):
        return {"input_shape": [5, 5, 1], "output_scale_mm": 10.0}

    def get_layer(self, name):
        assert name == "coordinate_head"
        kernel, bias = np.array([[1, 0, 2], [0, 1, 0]], np.float32), np.array([0, 0, 3], np.float32)
        return SimpleNamespace(get_weights=lambda: [kernel, bias])


@pytest.fixture(scope="module")
def embedding(brain, section):
    return embed_cortex(MeanGreyNet(), brain, section, step_mm=0.2, batch_size=16, progress=False)


def line_embedding(features, closed=False, line=None):
    """An embedding along a straight line, 0.2 mm a step."""
    features = np.asarray(features, np.float32)
    count = len(features)
    arc = 0.2 * np.arange(count)
    return CorticalEmbedding(
        line=np.zeros(count, int) if line is None else np.asarray(line),
        closed=np.full(count, closed),
        arc_mm=arc,
        hemisphere=np.zeros(count, int),
        row=np.zeros(count),
        column=arc * 10,
        position_mm=np.stack([arc, 0 * arc, 0 * arc], axis=1),
        face=np.zeros(count, int),
        barycentric=np.tile([1.0, 0.0, 0.0], (count, 1)),
        surface_distance_mm=np.zeros(count),
        obliqueness_deg=np.zeros(count),
        curvature_per_mm=np.zeros(count),
        features=features,
        coordinates_mm=np.zeros((count, 3), np.float32),
    )


# --- the ribbon ---


def test_equator_of_a_sphere_is_one_closed_line():
    (line,) = ribbon_lines(sphere(10.0, levels=5), [0, 0, 0], [0, 1, 0], 0.1)
    assert line.closed
    # 2 pi 10 mm = 62.8 mm, a point every 0.1 mm; the polygon is a little shorter
    assert len(line.points) == pytest.approx(200 * math.pi, rel=2e-3)


def test_points_of_a_line_are_equally_spaced_and_in_order():
    mesh = sphere(10.0, levels=5)
    (line,) = ribbon_lines(mesh, [0, 3, 0], [0, 1, 0], 0.25)
    steps = np.linalg.norm(np.diff(line.points.positions(mesh), axis=0), axis=1)
    # a chord across a corner of the polygon is shorter than the way along it
    assert steps.max() <= 0.25 + 1e-9 and steps.min() > 0.25 * 0.95


def test_an_oblique_plane_gives_a_circle_of_the_right_radius():
    mesh = sphere(10.0, levels=5)
    normal = np.array([1.0, 2.0, 2.0]) / 3
    (line,) = ribbon_lines(mesh, 6 * normal, normal, 0.2)
    positions = line.points.positions(mesh)
    np.testing.assert_allclose(np.linalg.norm(positions - 6 * normal, axis=1), 8.0, atol=0.05)
    assert len(line.points) == pytest.approx(2 * math.pi * 8 / 0.2, rel=5e-3)


def test_an_open_mesh_gives_an_open_line():
    quad = Mesh([[0, 0, 0], [4, 0, 0], [4, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    (line,) = ribbon_lines(quad, [0, 0.5, 0], [0, 1, 0], 0.5)
    assert not line.closed
    x = np.sort(line.points.positions(quad)[:, 0])
    np.testing.assert_allclose(x, np.arange(0, 4.01, 0.5), atol=1e-9)


def test_two_spheres_give_two_lines_the_longer_first():
    small, large = sphere(3.0), sphere(5.0)
    both = Mesh(
        np.concatenate([small.vertices, np.add(large.vertices, [20, 0, 0])]),
        np.concatenate([small.faces, large.faces + len(small.vertices)]),
    )
    first, second = ribbon_lines(both, [0, 0, 0], [0, 1, 0], 0.5)
    assert len(first.points) > len(second.points)
    assert first.points.positions(both)[:, 0].min() > 10


def test_a_plane_beside_the_mesh_gives_no_line():
    assert ribbon_lines(sphere(3.0), [0, 9, 0], [0, 1, 0], 0.5) == []


# --- the embedding ---


def test_positions_follow_the_mid_surface(embedding):
    np.testing.assert_allclose(np.linalg.norm(embedding.position_mm, axis=1), 5.0, atol=0.03)
    np.testing.assert_allclose(embedding.column, 10 * embedding.position_mm[:, 0] + 80, atol=1e-9)
    np.testing.assert_allclose(embedding.row, 80 - 10 * embedding.position_mm[:, 2], atol=1e-9)
    assert embedding.closed.all() and len(embedding) == pytest.approx(2 * math.pi * 5 / 0.2, abs=1.5)


def test_features_are_those_of_the_patch_around_each_position(embedding):
    # grey value = column; the patch is symmetric about the nearest pixel
    np.testing.assert_allclose(embedding.features[:, 1], np.rint(embedding.column))
    np.testing.assert_allclose(embedding.features[:, 0], np.rint(embedding.column))


def test_coordinates_are_the_linear_head_times_the_scale(embedding):
    a, b = embedding.features.T
    np.testing.assert_allclose(embedding.coordinates_mm, 10 * np.stack([a, b, 2 * a + 3], axis=1), rtol=1e-6)


def test_a_central_cut_is_perpendicular_and_a_shifted_one_oblique(brain, section, embedding):
    assert embedding.obliqueness_deg.max() < 4
    shifted = SectionPlane(section.plane.affine, [0, 2.5, 0], [1, 0, 0], [0, 0, 1])
    oblique = embed_cortex(MeanGreyNet(), brain, Section("o", section.image, shifted), step_mm=0.5, progress=False)
    # at half the radius the normal is tilted by asin(1/2)
    assert np.median(oblique.obliqueness_deg) == pytest.approx(30, abs=2)


def test_curvature_of_a_sphere_is_one_over_its_radius(embedding):
    assert np.median(embedding.curvature_per_mm) == pytest.approx(1 / 5, rel=0.03)


def test_image_that_shows_half_the_cortex_gives_an_open_line(brain, section):
    half = Section("h", ArrayImage(section.image.array[:80], 100.0, background=255), section.plane)
    embedding = embed_cortex(MeanGreyNet(), brain, half, step_mm=0.2, progress=False)
    assert not embedding.closed.any() and len(np.unique(embedding.line)) == 1
    assert len(embedding) == pytest.approx(math.pi * 5 / 0.2, abs=3)
    # one run from end to end, although the line may have begun in its middle
    gaps = np.linalg.norm(np.diff(embedding.position_mm, axis=0), axis=1)
    assert gaps.max() < 0.4


def test_places_without_cortex_are_left_out(section):
    pial = sphere(6.0)
    white = pial.with_vertices(np.where(pial.vertices[:, :1] > 0, pial.vertices, pial.vertices * 2 / 3))
    brain = SimpleNamespace(surfaces={"right": Hemisphere("right", pial, white, pial)})
    embedding = embed_cortex(MeanGreyNet(), brain, section, progress=False)
    assert embedding.position_mm[:, 0].max() < 0.5 and (embedding.hemisphere == 1).all()


def test_section_that_misses_the_brain_is_refused(brain, section):
    far = SectionPlane(section.plane.affine, [0, 30, 0], [1, 0, 0], [0, 0, 1])
    with pytest.raises(UserError, match="section 'far' meets no cortex"):
        embed_cortex(MeanGreyNet(), brain, Section("far", section.image, far), progress=False)


def test_step_must_be_positive(brain, section):
    with pytest.raises(UserError, match="step_mm must be above 0"):
        embed_cortex(MeanGreyNet(), brain, section, step_mm=0, progress=False)


def test_ribbon_names_its_surface_points(brain, embedding):
    mid = brain.surfaces["left"].mid
    corners = mid.vertices[mid.faces[embedding.face]]
    points = np.einsum("nk,nkd->nd", embedding.barycentric, corners)
    np.testing.assert_allclose(points, embedding.position_mm, atol=1e-9)
    assert not embedding.surface_distance_mm.any()


def test_tissue_is_embedded_on_a_grid_with_its_nearest_surface_points(brain, section):
    pixels = np.full((160, 160), 255, np.uint8)
    pixels[40:120, 60:100] = 100  # 8 x 4 mm of tissue, x = -2 … 2 mm, z = 4 … -4 mm
    image = ArrayImage(pixels, 100.0, background=255)
    table = embed_cortex(
        MeanGreyNet(), brain, Section("t", image, section.plane), places="tissue", step_mm=1.0, progress=False
    )
    assert len(table) == 8 * 4 and (table.features[:, 1] == 100).all()
    np.testing.assert_allclose(np.diff(table.column[:4]), 10)
    # the mid surface is a sphere of 5 mm, a little inside it between its vertices
    radius = np.linalg.norm(table.position_mm, axis=1)
    np.testing.assert_allclose(table.surface_distance_mm, 5 - radius, atol=0.02)
    with pytest.raises(UserError, match="has no tissue in its image"):
        blank = Section("b", ArrayImage(np.full((90, 90), 255, np.uint8), 100.0, background=255), section.plane)
        embed_cortex(MeanGreyNet(), brain, blank, places="tissue", progress=False)
    with pytest.raises(UserError, match="places must be 'ribbon' or 'tissue'"):
        embed_cortex(MeanGreyNet(), brain, section, places="cortex", progress=False)


def test_embedding_csv_has_a_row_a_position(embedding, tmp_path):
    embedding.to_csv(tmp_path / "e.csv")
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(embedding)
    assert float(rows[3]["position_mm_z"]) == embedding.position_mm[3, 2]
    assert float(rows[3]["features_1"]) == embedding.features[3, 1]


# --- borders ---


def test_distance_between_two_areas_is_that_of_their_features():
    features = np.zeros((36, 2))
    features[18:, 0], features[18:, 1] = 3, 4  # squared distance 25
    borders = cortical_borders(line_embedding(features))
    np.testing.assert_allclose(borders.distance, [0, 25, 0], atol=1e-9)
    # halfway between positions 17 and 18
    assert borders.position_mm[1, 0] == pytest.approx(0.2 * 17.5)


def test_blocks_average_away_what_alternates():
    features = np.tile([[1.0], [-1.0]], (36, 1))
    assert cortical_borders(line_embedding(features), block=8).distance.max() == pytest.approx(0, abs=1e-9)


def test_stride_one_peaks_exactly_at_the_border():
    features = np.zeros((60, 1))
    features[31:] = 1
    borders = cortical_borders(line_embedding(features), block=9, stride=1)
    assert len(borders) == 60 - 18 + 1
    assert borders.position_mm[np.argmax(borders.distance), 0] == pytest.approx(0.2 * 30.5)


def test_a_closed_line_is_compared_across_its_seam():
    features = np.zeros((36, 1))
    features[27:] = 2
    borders = cortical_borders(line_embedding(features, closed=True))
    np.testing.assert_allclose(borders.distance, [0, 0, 4, 4], atol=1e-9)


def test_pieces_are_not_compared_with_each_other():
    features = np.zeros((36, 1))
    features[18:] = 5
    borders = cortical_borders(line_embedding(features, line=[0] * 18 + [1] * 18))
    np.testing.assert_allclose(borders.distance, [0, 0], atol=1e-9)
    assert borders.line.tolist() == [0, 1]


def test_too_short_a_ribbon_is_refused():
    with pytest.raises(UserError, match="no piece of ribbon has 18 positions"):
        cortical_borders(line_embedding(np.zeros((17, 1))))


@pytest.mark.parametrize("arguments", [{"block": 0}, {"block": 3, "stride": 0}])
def test_block_and_stride_must_be_positive(arguments):
    with pytest.raises(UserError, match="must be at least 1"):
        cortical_borders(line_embedding(np.zeros((17, 1))), **arguments)


def test_picture_runs_from_blue_to_yellow(section, embedding, tmp_path):
    borders = cortical_borders(embedding, stride=1)
    borders_png(section, borders, tmp_path / "b.png", max_size=160)
    colors = {c for _, c in Image.open(tmp_path / "b.png").convert("RGB").getcolors(1 << 20)}
    assert {(0, 32, 76), (255, 233, 69)} <= colors


def test_colours_are_clipped_to_their_ends():
    assert color_of(np.array([-1.0, 0, 1, 2])).tolist() == [[0, 32, 76]] * 2 + [[255, 233, 69]] * 2
