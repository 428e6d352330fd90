from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from cytokeras.errors import UserError
from cytokeras.surfaces import GeodesicSolver, Mesh, SurfacePoints, _pair_runs
from cytokeras.surfaces._pair_runs import choose_sources
from cytokeras.surfaces._shortest_paths import shortest_paths

BALL = trimesh.creation.icosphere(4)
SPHERE = Mesh(BALL.vertices * 10, BALL.faces)
SPHERE_SOLVER = GeodesicSolver(SPHERE)


def random_points(mesh: Mesh, count: int, seed: int = 0) -> SurfacePoints:
    rng = np.random.default_rng(seed)
    return SurfacePoints(rng.integers(0, len(mesh.faces), count), rng.dirichlet([1, 1, 1], count))


def great_circle(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    return radius * np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1))


def grid(size: int) -> Mesh:
    i, j = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    vertices = np.stack([i, j, 0 * i], axis=-1).reshape(-1, 3)
    corner = (i[:-1, :-1] * size + j[:-1, :-1]).ravel()
    halves = [[corner, corner + size, corner + size + 1], [corner, corner + size + 1, corner + 1]]
    return Mesh(vertices, np.concatenate([np.stack(half, axis=1) for half in halves]))


def test_vertex_distances_on_a_sphere_follow_the_great_circle():
    sources = [0, 100, 2000]
    distances = SPHERE_SOLVER.distances(sources)
    assert distances.dtype == np.float32 and distances.shape == (3, 2562)
    truth = great_circle(SPHERE.vertices[sources][:, None], SPHERE.vertices[None], 10.0)
    far = truth > 1.0
    error = distances[far] / truth[far] - 1
    assert error.min() > -2e-3  # chords of the mesh are a little shorter than arcs
    assert error.mean() < 0.01 and error.max() < 0.03


def test_unfolded_links_beat_the_mesh_edges():
    edges = SPHERE.edges
    lengths = np.linalg.norm(SPHERE.vertices[edges[:, 0]] - SPHERE.vertices[edges[:, 1]], axis=1)
    graph = csr_array((lengths, tuple(edges.T)), shape=(2562, 2562))
    plain = dijkstra(graph, directed=False, indices=[5])
    ours = SPHERE_SOLVER.distances([5])
    truth = great_circle(SPHERE.vertices[[5]], SPHERE.vertices, 10.0)
    assert np.all(ours <= plain + 1e-4)
    assert (ours - truth).mean() < 0.5 * (plain - truth).mean()


def test_pair_distances_between_face_interiors_follow_the_great_circle():
    a, b = random_points(SPHERE, 300, 1), random_points(SPHERE, 300, 2)
    distances = SPHERE_SOLVER.pair_distances(a, b)
    truth = great_circle(a.positions(SPHERE), b.positions(SPHERE), 10.0)
    error = (distances - truth) / truth
    assert error[truth > 2].mean() < 0.03
    assert error.min() > -5e-3


def test_pair_distances_of_vertices_equal_the_rows():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 2562, (2, 40))
    points = [SurfacePoints.at_vertices(SPHERE, each) for each in (a, b)]
    rows = SPHERE_SOLVER.distances(a)
    pairs, through_graph = SPHERE_SOLVER.pair_distances(*points), rows[np.arange(40), b]
    # the ends of pairs keep the links that the graph leaves out because two others replace them within 0.4 %
    assert np.all(pairs <= through_graph * (1 + 1e-6))
    np.testing.assert_allclose(pairs, through_graph, rtol=4e-3)


def test_distances_from_points_start_at_the_corners_of_their_face():
    points = random_points(SPHERE, 20, 4)
    distances = SPHERE_SOLVER.distances(points)
    corners = SPHERE.faces[points.faces]
    straight = np.linalg.norm(SPHERE.vertices[corners] - points.positions(SPHERE)[:, None], axis=2)
    np.testing.assert_allclose(np.take_along_axis(distances, corners, axis=1), straight, rtol=1e-5)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_distances_are_symmetric_and_never_shorter_than_the_straight_line(seed):
    mesh = Mesh(SPHERE.vertices[:162] * [1, 2, 0.3], trimesh.creation.icosphere(2).faces)
    solver = GeodesicSolver(mesh)
    a, b = random_points(mesh, 20, seed), random_points(mesh, 20, seed + 1)
    there, back = solver.pair_distances(a, b), solver.pair_distances(b, a)
    np.testing.assert_allclose(there, back, rtol=1e-9)
    assert np.all(there >= np.linalg.norm(a.positions(mesh) - b.positions(mesh), axis=1) - 1e-9)


def test_vertex_distances_fulfil_the_triangle_inequality():
    distances = SPHERE_SOLVER.distances([7, 900])
    assert np.all(distances[0] <= distances[0, 900] + distances[1] + 1e-4)


def test_pairs_in_one_face_and_in_neighbouring_faces_are_exact():
    mesh = grid(4)
    a = SurfacePoints([0, 0, 0], [[0.6, 0.2, 0.2], [0.2, 0.5, 0.3], [0.2, 0.5, 0.3]])
    b = SurfacePoints([0, 9, 0], [[0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.2, 0.5, 0.3]])
    straight = np.linalg.norm(a.positions(mesh) - b.positions(mesh), axis=1)
    np.testing.assert_allclose(GeodesicSolver(mesh).pair_distances(a, b), straight, atol=1e-12)


def test_neighbouring_faces_are_folded_flat():
    # two right triangles that share the side from (0,0,0) to (0,2,0) and stand at a right angle
    mesh = Mesh([[0, 0, 0], [0, 2, 0], [2, 0, 0], [0, 0, 2]], [[0, 2, 1], [0, 1, 3]])
    a = mesh.closest_point([[0.5, 0.5, 0]])
    b = mesh.closest_point([[0, 1.0, 0.5]])
    assert GeodesicSolver(mesh).pair_distances(a, b)[0] == pytest.approx(np.hypot(1.0, 0.5))
    assert GeodesicSolver(mesh).distances([2])[0, 3] == pytest.approx(4.0)  # through the corner: not straight


def test_link_exists_only_where_the_line_stays_inside():
    inside = Mesh([[0, 0, 0], [2, 0, 0], [1, 1, 0], [1, -1, 0]], [[0, 1, 2], [1, 0, 3]])
    assert GeodesicSolver(inside).distances([2])[0, 3] == pytest.approx(2.0)
    outside = Mesh([[0, 0, 0], [2, 0, 0], [5, 1, 0], [5, -1, 0]], [[0, 1, 2], [1, 0, 3]])
    assert GeodesicSolver(outside).distances([2])[0, 3] == pytest.approx(2 * np.sqrt(10))


def test_links_cross_strips_of_up_to_five_faces():
    # on a flat grid of right triangles (2, 1) lies beyond three sides and (3, 1) beyond five
    distances = GeodesicSolver(grid(6)).distances([7])[0].reshape(6, 6)
    assert distances[3, 2] == pytest.approx(np.sqrt(5))
    i, j = np.meshgrid(np.arange(6), np.arange(6), indexing="ij")
    flat = np.hypot(i - 1, j - 1)
    assert np.all(distances >= flat - 1e-5)
    np.testing.assert_allclose(distances, flat, rtol=0.03, atol=1e-5)


@pytest.mark.parametrize("landmarks", [0, 3])
def test_search_finds_the_shortest_paths_of_its_graph(landmarks):
    graph = SPHERE_SOLVER._graph
    matrix = csr_array((graph.lengths.astype(float), graph.indices, graph.indptr), shape=(graph.count,) * 2)
    truth = dijkstra(matrix, indices=[10, 20, *range(landmarks)])
    marks = truth[2:].T.astype(np.float32).copy() if landmarks else np.empty((graph.count, 0), np.float32)
    source = np.array([10, 20], np.int32), np.array([1.0, 0.25])
    goals = np.array([[5, 0], [2000, 2001]], np.int32), np.array([[0.5, np.inf], [0.5, 0.125]])
    goals = tuple(each[:1] for each in goals) if landmarks else goals
    goal_marks = (marks[goals[0][0]] + goals[1][0, :, None]).min(axis=0).astype(np.float32)
    reached, distances = np.empty(len(goals[0])), np.empty(graph.count)
    shortest_paths(graph.arrays, source, goals, marks, goal_marks, distances, reached)
    from_source = np.minimum(truth[0] + 1.0, truth[1] + 0.25)
    np.testing.assert_allclose(reached, (from_source[goals[0]] + goals[1]).min(axis=1), rtol=1e-5)
    assert np.all(distances >= from_source - 1e-5)
    if landmarks:
        assert np.isinf(distances).mean() > 0.2  # it was drawn to its target


def test_landmarks_leave_the_distances_as_they_are(monkeypatch):
    a, b = random_points(SPHERE, 300, 7), random_points(SPHERE, 300, 8)
    plain = SPHERE_SOLVER.pair_distances(a, b)
    monkeypatch.setattr(_pair_runs, "_SOURCES_WORTH_LANDMARKS", 1)
    np.testing.assert_allclose(SPHERE_SOLVER.pair_distances(a, b), plain, rtol=1e-5)


def test_parts_that_do_not_touch_are_infinitely_far():
    count = len(SPHERE.vertices)
    mesh = Mesh(
        np.concatenate([SPHERE.vertices, SPHERE.vertices + 50]),
        np.concatenate([SPHERE.faces, SPHERE.faces + count]),
    )
    a = random_points(SPHERE, 5)
    b = SurfacePoints(a.faces + len(SPHERE.faces), a.barycentric)
    solver = GeodesicSolver(mesh)
    assert np.all(np.isinf(solver.pair_distances(a, b)))
    assert np.all(np.isinf(solver.distances([0])[0, count:]))


def test_side_of_three_faces_is_crossed_between_all_of_them():
    fins = [[1, 1, 0], [1, -0.5, 0.8], [1, -0.5, -0.8]]
    mesh = Mesh([[0, 0, 0], [2, 0, 0], *fins], [[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    heights = np.hypot([1, -0.5, -0.5], [0, 0.8, -0.8])
    distances = GeodesicSolver(mesh).distances([2, 3, 4])[:, 2:]
    np.testing.assert_allclose(distances, (heights[:, None] + heights) * (1 - np.eye(3)), rtol=1e-6)


def test_workers_give_the_same_numbers():
    mesh = grid(12)
    a, b = random_points(mesh, 30, 5), random_points(mesh, 30, 6)
    solver = GeodesicSolver(mesh)
    np.testing.assert_array_equal(solver.pair_distances(a, b, workers=2), solver.pair_distances(a, b))


def test_no_pairs_and_no_sources():
    none = SurfacePoints(np.empty(0, int), np.empty((0, 3)))
    assert SPHERE_SOLVER.pair_distances(none, none).shape == (0,)
    assert SPHERE_SOLVER.distances([]).shape == (0, 2562)


def test_star_of_pairs_needs_one_source():
    first, second = np.array([3, 0, 3, 2]), np.array([1, 3, 4, 3])
    np.testing.assert_array_equal(choose_sources(first, second, 5), [True, False, True, False])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40))
def test_every_pair_has_a_source_and_no_more_sources_than_pairs(pairs):
    first, second = np.array(pairs).T
    chosen = np.where(choose_sources(first, second, 10), first, second)
    assert len(np.unique(chosen)) <= min(len(pairs), 10)
    # within the graph no source is idle: each serves at least one pair of its own
    assert set(chosen) <= set(first) | set(second)


@pytest.mark.parametrize("sources", [[-1], [2562], [0.5], [[0, 1]]])
def test_invalid_sources_are_refused(sources):
    with pytest.raises(UserError, match="distances"):
        SPHERE_SOLVER.distances(sources)


def test_invalid_pairs_are_refused():
    points = random_points(SPHERE, 3)
    with pytest.raises(UserError, match=r"same length. Received: 3 and 2"):
        SPHERE_SOLVER.pair_distances(points, points[:2])
    with pytest.raises(UserError, match="workers must be 1 or more"):
        SPHERE_SOLVER.pair_distances(points, points, workers=0)


def test_error_on_fsaverage5_against_the_exact_distance():
    nilearn = pytest.importorskip("nilearn", reason="nilearn, which ships fsaverage5, is not installed")
    exact = pytest.importorskip("pygeodesic.geodesic", reason="pygeodesic, the exact solver, is not installed")
    folder = Path(nilearn.__file__).parent / "datasets" / "data" / "fsaverage5"
    mesh = Mesh.read(folder / "pial_left.gii.gz")
    sources = [0, 1000, 5000, 9000]
    oracle = exact.PyGeodesicAlgorithmExact(mesh.vertices, mesh.faces)
    truth = np.array([oracle.geodesicDistances(np.array([each]), None)[0] for each in sources])
    distances = GeodesicSolver(mesh).distances(sources)
    far = truth > 1e-6
    error = distances[far] / truth[far] - 1
    assert error.min() > -1e-5
    assert 0 < error.mean() < 0.01  # edges alone: about 0.11
    assert np.percentile(error, 99) < 0.03
