from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cytokeras.errors import UserError
from cytokeras.surfaces import Mesh, SurfacePoints

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
OCTAHEDRON = Mesh(
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]],
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]],
)
vectors = arrays(np.float64, (3,), elements=st.floats(-1, 1, width=32))


def sphere(radius: float = 1.0, subdivisions: int = 3) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions, radius)
    return Mesh(ball.vertices, ball.faces)


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((0, 3)), [[0, 1, 2]], r"vertices must be \(V, 3\)"),
        (np.zeros((3, 2)), [[0, 1, 2]], r"vertices must be \(V, 3\).*\(3, 2\)"),
        ("abc", [[0, 1, 2]], "vertices must be numbers"),
        ([[0, 0, 0], [np.nan, 0, 0], [0, 1, 0]], [[0, 1, 2]], "1 of 3 are not.*vertex 1"),
        (TRIANGLE, np.zeros((0, 3), int), r"faces must be triangles.*\(0, 3\)"),
        (TRIANGLE, [[0, 1, 2, 0]], r"faces must be triangles.*\(1, 4\)"),
        (TRIANGLE, [[0.0, 1.0, 2.0]], "faces must be integers.*float64"),
        (TRIANGLE, [[0, 1, 2], [0, 1, 3]], r"vertices 0 … 2; 1 of 2.*face 1 = \[0, 1, 3\]"),
        (TRIANGLE, [[0, 1, -1]], r"vertices 0 … 2.*face 0 = \[0, 1, -1\]"),
        (TRIANGLE, [[0, 1, 1]], r"three different vertices.*face 0 = \[0, 1, 1\]"),
    ],
)
def test_invalid_mesh_is_refused_with_the_place(vertices, faces, message):
    with pytest.raises(UserError, match=message):
        Mesh(vertices, faces)


def test_arrays_are_copied_and_read_only():
    vertices = TRIANGLE.copy()
    mesh = Mesh(vertices, [[0, 1, 2]])
    vertices[0] = 9
    assert mesh.vertices[0].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        mesh.vertices[0] = 1


def test_area_and_normals_of_a_right_triangle():
    mesh = Mesh(TRIANGLE * 2, [[0, 1, 2]])
    assert mesh.area_mm2 == 2.0
    np.testing.assert_array_equal(mesh.face_normals, [[0, 0, 1]])
    np.testing.assert_array_equal(mesh.vertex_normals, [[0, 0, 1]] * 3)


def test_face_without_area_has_zero_normal():
    mesh = Mesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]])
    np.testing.assert_array_equal(mesh.face_normals, [[0, 0, 0]])


def test_vertex_normals_of_a_sphere_point_outwards():
    mesh = sphere(3.0)
    np.testing.assert_allclose(mesh.vertex_normals, mesh.vertices / 3.0, atol=0.02)


@pytest.mark.parametrize(
    ("mesh", "euler"),
    [
        (OCTAHEDRON, 2),
        (Mesh(TRIANGLE, [[0, 1, 2]]), 1),
        (Mesh(trimesh.creation.torus(3, 1).vertices, trimesh.creation.torus(3, 1).faces), 0),
    ],
)
def test_euler_characteristic(mesh, euler):
    assert mesh.euler_characteristic == euler


def test_edges_of_the_octahedron():
    assert OCTAHEDRON.edges.shape == (12, 2)
    assert [0, 1] not in OCTAHEDRON.edges.tolist()  # opposite corners
    corners = OCTAHEDRON.faces[:, [0, 1]]
    np.testing.assert_array_equal(OCTAHEDRON.edges[OCTAHEDRON.face_edges[:, 0]], np.sort(corners, axis=1))


def test_subdivision_keeps_old_vertices_area_and_orientation():
    fine = OCTAHEDRON.subdivide(2)
    assert len(fine.faces) == 8 * 16
    assert len(fine.vertices) == 66  # (10 n² + 2 for the icosahedron) 4 n² + 2 with n = 4
    np.testing.assert_array_equal(fine.vertices[:6], OCTAHEDRON.vertices)
    assert fine.area_mm2 == pytest.approx(8 * np.sqrt(3) / 2)
    assert fine.euler_characteristic == 2
    assert np.all(np.einsum("fd,fd->f", fine.face_normals, fine.vertices[fine.faces].mean(axis=1)) > 0)


def test_subdivided_values_of_a_linear_function_are_exact():
    values = OCTAHEDRON.vertices @ [1.0, 2.0, 3.0]
    expected = OCTAHEDRON.subdivide(3).vertices @ [1.0, 2.0, 3.0]
    np.testing.assert_allclose(OCTAHEDRON.subdivide_values(values, 3), expected, atol=1e-12)


def test_subdivided_values_must_fit_the_mesh():
    with pytest.raises(UserError, match=r"one row a vertex \(6\)"):
        OCTAHEDRON.subdivide_values(np.zeros(5))


def test_zero_levels_change_nothing_and_negative_ones_are_refused():
    np.testing.assert_array_equal(OCTAHEDRON.subdivide(0).faces, OCTAHEDRON.faces)
    with pytest.raises(UserError, match="levels must be 0 or more"):
        OCTAHEDRON.subdivide(-1)


def test_plane_section_of_a_sphere_is_a_circle():
    section = sphere(3.0, 5).plane_section([0, 0, 1.0], [0, 0, -2.0])
    assert section.lengths_mm.sum() == pytest.approx(2 * np.pi * np.sqrt(8), rel=1e-3)
    np.testing.assert_allclose(section.points[..., 2], 1.0, atol=1e-12)


def test_plane_section_of_a_box_is_its_outline():
    box = trimesh.creation.box((2, 3, 4))
    section = Mesh(box.vertices, box.faces).plane_section([0, 0, 0.3], [0, 0, 1])
    assert section.lengths_mm.sum() == pytest.approx(10.0)


def test_plane_through_vertices_and_edges_counts_each_edge_once():
    section = OCTAHEDRON.plane_section([0, 0, 0], [0, 0, 1])
    assert len(section) == 4
    np.testing.assert_allclose(section.lengths_mm, np.sqrt(2))


def test_plane_that_only_touches_or_misses_gives_nothing():
    assert len(OCTAHEDRON.plane_section([0, 0, 1], [0, 0, 1])) == 0
    assert len(OCTAHEDRON.plane_section([0, 0, 5], [0, 0, 1])) == 0


@given(vectors, vectors.filter(lambda v: np.linalg.norm(v) > 0.1))
@settings(max_examples=60, deadline=None)
def test_plane_section_lies_on_plane_and_mesh_and_closes(origin, normal):
    mesh = sphere(1.0, 2)
    section = mesh.plane_section(origin, normal)
    np.testing.assert_allclose((section.points - origin) @ normal, 0, atol=1e-9)
    for end in range(2):
        points = SurfacePoints(section.faces, section.barycentric[:, end])
        np.testing.assert_allclose(points.positions(mesh), section.points[:, end], atol=1e-12)
    # on a closed surface the line ends nowhere: every end belongs to two segments
    ends = section.points.reshape(-1, 3)
    distances = np.linalg.norm(ends[:, None] - ends[None], axis=2)
    assert np.all((distances < 1e-9).sum(axis=1) >= 2)


@pytest.mark.parametrize(
    ("origin", "normal"), [([0, 0, 0], [0, 0, 0]), ([0, 0, 0], [0, np.nan, 1]), ([0, np.inf, 0], [0, 0, 1])]
)
def test_plane_must_be_finite(origin, normal):
    with pytest.raises(UserError, match="plane_section"):
        OCTAHEDRON.plane_section(origin, normal)


@given(arrays(np.float64, (7, 3), elements=st.floats(-3, 3, width=32)))
@settings(max_examples=60, deadline=None)
def test_closest_point_equals_the_exhaustive_search(points):
    mesh = OCTAHEDRON.subdivide(1)
    found = mesh.closest_point(points).positions(mesh)
    reference = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    _, distance, _ = trimesh.proximity.closest_point_naive(reference, points)
    np.testing.assert_allclose(np.linalg.norm(found - points, axis=1), distance, atol=1e-12)


def test_closest_point_among_faces_of_very_different_size():
    small = sphere(0.01, 2)
    large = [[-100, -100, 0.5], [100, -100, 0.5], [0, 150, 0.5]]
    count = len(small.vertices)
    vertices = np.concatenate([small.vertices, large])
    mesh = Mesh(vertices, np.concatenate([small.faces, [[count, count + 1, count + 2]]]))
    points = mesh.closest_point([[0, 0, 0.4], [0, 0, 0.1], [30, 20, 3]])
    np.testing.assert_allclose(points.positions(mesh)[[0, 2]], [[0, 0, 0.5], [30, 20, 0.5]], atol=1e-12)
    assert np.linalg.norm(points.positions(mesh)[1]) == pytest.approx(0.01, rel=0.05)


def test_closest_point_on_faces_without_area():
    mesh = Mesh([[0, 0, 0], [1, 0, 0], [3, 0, 0]], [[0, 1, 2]])
    np.testing.assert_allclose(mesh.closest_point([[2, 5, 0]]).positions(mesh), [[2, 0, 0]], atol=1e-12)


def test_closest_point_of_the_centre_of_a_sphere_needs_every_face():
    mesh = sphere(2.0, 3)
    distance = np.linalg.norm(mesh.closest_point([[0, 0, 0]]).positions(mesh))
    assert distance == pytest.approx(
        np.abs(np.einsum("fd,fd->f", mesh.face_normals, mesh.vertices[mesh.faces[:, 0]])).min()
    )


def test_closest_point_refuses_nan():
    with pytest.raises(UserError, match="must be finite"):
        OCTAHEDRON.closest_point([[0, 0, np.nan]])


def test_surface_points_interpolate_scalars_and_vectors():
    points = SurfacePoints([0, 0], [[1, 0, 0], [0.5, 0.25, 0.25]])
    np.testing.assert_allclose(points.interpolate([[0, 1, 2]], [4.0, 8.0, 0.0]), [4.0, 4.0])
    np.testing.assert_allclose(points.interpolate([[0, 1, 2]], TRIANGLE)[1], [0.25, 0.25, 0])
    assert len(points[[1]]) == 1


@pytest.mark.parametrize(
    ("faces", "weights", "message"),
    [
        ([0, 1], [[1, 0, 0]], "barycentric"),
        ([0], [[0.5, 0.2, 0.2]], "add up to 1"),
        ([0], [[np.nan, 0, 1]], "add up to 1"),
        ([0], [[1.5, -0.5, 0]], "negative"),
    ],
)
def test_invalid_surface_points_are_refused(faces, weights, message):
    with pytest.raises(UserError, match=message):
        SurfacePoints(faces, weights)


def test_surface_points_of_another_mesh_are_refused():
    with pytest.raises(UserError, match="0 … 7 for this mesh"):
        SurfacePoints([8], [[1, 0, 0]]).positions(OCTAHEDRON)


def test_surface_points_at_vertices():
    points = SurfacePoints.at_vertices(OCTAHEDRON, [5, 0, 3])
    np.testing.assert_array_equal(points.positions(OCTAHEDRON), OCTAHEDRON.vertices[[5, 0, 3]])
    with pytest.raises(UserError, match="vertex 3 belongs to no face"):
        SurfacePoints.at_vertices(Mesh([*TRIANGLE, [5, 5, 5]], [[0, 1, 2]]), [3])
