"""Bad meshes, made in memory: each is refused, or its fault is named with its place."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from cytokeras.errors import UserError
from cytokeras.surfaces import GeodesicSolver, Hemisphere, Mesh, SurfacePoints, hemisphere_faults, mesh_faults

BALL = trimesh.creation.icosphere(3, radius=30.0)
VERTICES, FACES = np.array(BALL.vertices), np.array(BALL.faces)


def with_vertex(index: int, value: float) -> np.ndarray:
    changed = VERTICES.copy()
    changed[index, 1] = value
    return changed


def with_face(face: list[int]) -> np.ndarray:
    return np.concatenate([FACES, [face]])


REFUSED = {
    "NaN": (with_vertex(5, np.nan), FACES, "vertex 5"),
    "infinite": (with_vertex(6, np.inf), FACES, "vertex 6"),
    "no vertices": (np.empty((0, 3)), FACES, "V > 0"),
    "no faces": (VERTICES, np.empty((0, 3), int), "F > 0"),
    "flat positions": (VERTICES[:, :2], FACES, r"\(V, 3\)"),
    "quads": (VERTICES, np.arange(8).reshape(2, 4), "triangles"),
    "index too large": (VERTICES, with_face([0, 1, 642]), "face 1280"),
    "index negative": (VERTICES, with_face([0, 1, -1]), "face 1280"),
    "indices from one": (VERTICES, FACES + 1, "vertices 0 … 641"),
    "vertex twice in a face": (VERTICES, with_face([3, 3, 4]), "face 1280"),
    "indices that are no integers": (VERTICES, FACES + 0.5, "integers"),
    "text": ([["a", "b", "c"]], FACES, "numbers"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_worked_with_is_refused(kind):
    vertices, faces, message = REFUSED[kind]
    with pytest.raises(UserError, match=message):
        Mesh(vertices, faces)


def torus() -> Mesh:
    ring = trimesh.creation.torus(30.0, 10.0)
    return Mesh(ring.vertices, ring.faces)


def two_parts(size: float) -> Mesh:
    other = trimesh.creation.icosphere(3, radius=20) if size > 1 else trimesh.creation.icosphere(0, radius=1)
    return Mesh(
        np.concatenate([VERTICES, other.vertices + np.array([100, 0, 0])]),
        np.concatenate([FACES, other.faces + len(VERTICES)]),
    )


FAULTS = {
    "in metres": (Mesh(VERTICES / 1000, FACES), "error", "0.06 mm: positions must be in mm"),
    "in micrometres": (Mesh(VERTICES * 1000, FACES), "error", "6e+04 mm: positions must be in mm"),
    "two large parts": (two_parts(2), "error", "2 parts that do not touch, of 1280, 1280 faces"),
    "debris": (two_parts(0.1), "warning", "2 parts that do not touch, of 1280, 20 faces"),
    "duplicate face": (
        Mesh(VERTICES, with_face(FACES[7].tolist())),
        "warning",
        "1 faces are there twice; the first: face 7",
    ),
    "duplicate face, turned": (
        Mesh(VERTICES, with_face(FACES[9, ::-1].tolist())),
        "warning",
        "1 faces are there twice; the first: face 9",
    ),
    "face without area": (
        Mesh(np.where(np.arange(642)[:, None] == FACES[4, 1], VERTICES[FACES[4, 0]], VERTICES), FACES),
        "warning",
        "faces have no area",
    ),
    "edge of three faces": (
        Mesh(np.concatenate([VERTICES, [[0, 0, 0]]]), with_face([*FACES[0, :2], 642])),
        "warning",
        "1 edges belong to more than two faces",
    ),
    "hole": (Mesh(VERTICES, FACES[1:]), "warning", "3 edges belong to one face only (1 holes)"),
    "two holes": (Mesh(VERTICES, FACES[1:-1]), "warning", "6 edges belong to one face only (2 holes)"),
    "one face turned": (
        Mesh(VERTICES, np.concatenate([FACES[:1, ::-1], FACES[1:]])),
        "warning",
        "3 edges join faces that are wound differently",
    ),
    "all faces turned": (Mesh(VERTICES, FACES[:, ::-1]), "warning", "clockwise seen from outside"),
    "loose vertex": (
        Mesh(np.concatenate([VERTICES, [[1, 2, 3]]]), FACES),
        "warning",
        "1 vertices belong to no face; the first: vertex 642",
    ),
    "handle": (torus(), "warning", "1 handles"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_fault_is_named_with_its_place(kind):
    mesh, severity, message = FAULTS[kind]
    matching = [fault for fault in mesh_faults(mesh) if message in fault.message]
    assert [fault.severity for fault in matching] == [severity]


def test_a_sound_surface_has_no_faults():
    assert mesh_faults(Mesh(VERTICES, FACES)) == []


@pytest.mark.parametrize("kind", FAULTS)
def test_distances_on_a_faulty_mesh_are_true_or_infinite(kind):
    mesh = FAULTS[kind][0]
    rng = np.random.default_rng(0)
    a, b = (SurfacePoints(rng.integers(0, len(mesh.faces), 30), rng.dirichlet([1, 1, 1], 30)) for _ in range(2))
    distance = GeodesicSolver(mesh).pair_distances(a, b)
    straight = np.linalg.norm(a.positions(mesh) - b.positions(mesh), axis=1)
    assert np.all(distance >= straight * (1 - 1e-6))
    span = np.ptp(mesh.vertices, axis=0).max()
    assert np.all(distance[np.isfinite(distance)] <= 2.5 * span)
    reachable = distance[np.isfinite(distance)]
    assert len(reachable) >= (5 if "part" in kind or kind == "debris" else 30)


def hemisphere(name: str = "left", pial: float = 32.0, white: float = 30.0, x_mm: float = -35.0) -> Hemisphere:
    unit = VERTICES / 30.0
    pial_mesh, white_mesh = (Mesh(unit * radius + [x_mm, 0, 0], FACES) for radius in (pial, white))
    return Hemisphere(name, pial_mesh, white_mesh, Mesh(unit * 50, FACES))


@pytest.mark.parametrize(
    ("hemisphere_", "message"),
    [
        (hemisphere("right"), "the right hemisphere lies at x = -67 to -3 mm"),
        (hemisphere("left", x_mm=40.0), "left and right are exchanged"),
        (hemisphere(pial=30.0, white=32.0), "white encloses more than pial"),
        (hemisphere(pial=60.0, white=30.0, x_mm=-70), "30.0 mm apart on average"),
    ],
)
def test_surfaces_that_do_not_belong_together(hemisphere_, message):
    (fault,) = hemisphere_faults(hemisphere_)
    assert fault.severity == "error" and message in fault.message


def test_sound_hemisphere_has_no_faults():
    assert hemisphere_faults(hemisphere()) == []


def test_surfaces_of_another_mesh_do_not_make_a_hemisphere():
    other = trimesh.creation.icosphere(2, radius=30)
    with pytest.raises(UserError, match="must correspond to pial vertex by vertex"):
        Hemisphere("left", Mesh(VERTICES, FACES), Mesh(other.vertices, other.faces), Mesh(VERTICES, FACES))
