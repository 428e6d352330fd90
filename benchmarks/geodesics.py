"""Distances along a cortical surface: accuracy and speed against other solvers, and the table of the paper's scale.

    python benchmarks/geodesics.py [--large FOLDER] [--pairs 200000]

``--large`` names a folder with ``pia_lh.gii`` (152,893 vertices; the individual S1 of pycortex). Needs nilearn,
pygeodesic and potpourri3d (``pip install nilearn pygeodesic potpourri3d``).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import nilearn
import numpy as np
import potpourri3d
import pygeodesic.geodesic
import trimesh
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from cytokeras.sampling._degree_graph import power_law_degrees, random_simple_graph
from cytokeras.surfaces import GeodesicSolver, Mesh, SurfacePoints, _link_graph, _unfolding

FSAVERAGE5 = Path(nilearn.__file__).parent / "datasets" / "data" / "fsaverage5" / "pial_left.gii.gz"
EXPONENT = 2.48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=Path, help="folder with pia_lh.gii")
    parser.add_argument("--pairs", type=int, default=200_000, help="patches and pairs of the large run (%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    compare("fsaverage5 pial, against the exact solver", Mesh.read(FSAVERAGE5), sources=8)
    compare_on_sphere()
    compare_settings(Mesh.read(FSAVERAGE5), sources=6)
    if arguments.large is None or not (arguments.large / "pia_lh.gii").exists():
        print(f"\nskipped: the large surface; {arguments.large or '--large'} holds no pia_lh.gii")
        return
    large = Mesh.read(arguments.large / "pia_lh.gii")
    compare("pycortex S1 pial, against the exact solver", large, sources=3)
    many_pairs(large, arguments.pairs, arguments.workers)


def compare(title: str, mesh: Mesh, sources: int) -> None:
    """Print errors against the exact distances and times relative to Dijkstra on the edges."""
    chosen = np.linspace(0, len(mesh.vertices) - 1, sources).astype(int)
    exact = pygeodesic.geodesic.PyGeodesicAlgorithmExact(mesh.vertices, mesh.faces)
    started = time.perf_counter()
    truth = np.stack([exact.geodesicDistances(np.array([source]), None)[0] for source in chosen])
    seconds_exact = (time.perf_counter() - started) / sources
    print_table(title, mesh, chosen, truth, ("exact (MMP, pygeodesic)", seconds_exact))


def compare_on_sphere() -> None:
    """The same against the great circle, on a sphere of parallels and meridians with 19,602 vertices."""
    ball = trimesh.creation.uv_sphere(radius=50.0, count=[101, 101])
    mesh = Mesh(ball.vertices, ball.faces)
    chosen = np.linspace(0, len(mesh.vertices) - 1, 8).astype(int)
    unit = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    truth = 50.0 * np.arccos(np.clip(unit[chosen] @ unit.T, -1, 1))
    print_table("sphere, against the great circle", mesh, chosen, truth, None)


def print_table(title: str, mesh: Mesh, chosen: np.ndarray, truth: np.ndarray, exact: tuple | None) -> None:
    edges = mesh.edges
    lengths = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
    graph = csr_array((lengths, tuple(edges.T)), shape=(len(mesh.vertices),) * 2)
    solver = GeodesicSolver(mesh)
    solver.distances(chosen[:1])  # compiles
    heat = potpourri3d.MeshHeatMethodDistanceSolver(mesh.vertices, np.asarray(mesh.faces))
    rows = [
        ("Dijkstra on the edges (scipy)", *timed(lambda: dijkstra(graph, directed=False, indices=chosen), chosen)),
        ("cytokeras", *timed(lambda: solver.distances(chosen), chosen)),
        (
            "heat method (potpourri3d)",
            *timed(lambda: np.stack([heat.compute_distance(source) for source in chosen]), chosen),
        ),
    ]
    if exact:
        rows.append((exact[0], truth, exact[1]))
    print(f"\n{title}: {len(mesh.vertices):,} vertices, {len(chosen)} sources")
    print(f"{'':<32}{'mean error':>12}{'99th perc.':>12}{'lowest':>10}{'s/source':>12}{'time ratio':>12}")
    plain = rows[0][2]
    far = truth > 1e-3  # the great circle is rounded near its source
    for name, distances, seconds in rows:
        error = distances[far] / truth[far] - 1
        print(
            f"{name:<32}{abs(error).mean():>12.2%}{np.percentile(abs(error), 99):>12.2%}{error.min():>10.2%}"
            f"{seconds:>12.4f}{seconds / plain:>12.2f}"
        )


def compare_settings(mesh: Mesh, sources: int) -> None:
    """Print what the length of the strips and the links left out do to error and size of the graph."""
    chosen = np.linspace(0, len(mesh.vertices) - 1, sources).astype(int)
    exact = pygeodesic.geodesic.PyGeodesicAlgorithmExact(mesh.vertices, mesh.faces)
    truth = np.stack([exact.geodesicDistances(np.array([source]), None)[0] for source in chosen])
    far = truth > 1e-3
    kept = _unfolding.STRIP, _link_graph._NEEDLESS
    print(f"\nsettings on fsaverage5 pial, {sources} sources")
    print(f"{'strip':>8}{'left out':>12}{'links/vertex':>14}{'mean error':>12}{'99th perc.':>12}")
    for strip, needless in ((1, 0.0), (2, 0.0), (3, 0.0), (4, 0.0), kept):
        _unfolding.STRIP, _link_graph._NEEDLESS = strip, needless
        solver = GeodesicSolver(mesh)
        error = solver.distances(chosen)[far] / truth[far] - 1
        links = len(solver._graph.indices) / len(mesh.vertices)
        print(f"{strip:>8}{needless:>12.1%}{links:>14.1f}{error.mean():>12.2%}{np.percentile(error, 99):>12.2%}")
    _unfolding.STRIP, _link_graph._NEEDLESS = kept


def timed(run: Callable[[], np.ndarray], chosen: np.ndarray) -> tuple[np.ndarray, float]:
    """Result and processor seconds a source (of all threads), the best of three."""
    best = np.inf
    for _ in range(3):
        started = time.process_time()
        result = run()
        best = min(best, time.process_time() - started)
    return result, best / len(chosen)


def many_pairs(mesh: Mesh, count: int, workers: int) -> None:
    """``count`` patches and pairs with degrees after the power law, as in the paper."""
    rng = np.random.default_rng(0)
    share = mesh.face_areas / mesh.face_areas.sum()
    points = SurfacePoints(rng.choice(len(mesh.faces), count, p=share), rng.dirichlet([1, 1, 1], count))
    pairs = random_simple_graph(power_law_degrees(count, 2 * count, EXPONENT, rng), rng)
    started = time.perf_counter()
    solver = GeodesicSolver(mesh)
    built = time.perf_counter() - started
    distance = solver.pair_distances(points[pairs[:, 0]], points[pairs[:, 1]], workers=workers, progress=True)
    minutes = (time.perf_counter() - started) / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\n{count:,} pairs of {count:,} patches on {len(mesh.vertices):,} vertices, {workers} threads: "
        f"{minutes:.1f} min (solver {built:.0f} s), peak {peak:.2f} GiB, mean distance {distance.mean():.1f} mm"
    )


if __name__ == "__main__":
    main()
