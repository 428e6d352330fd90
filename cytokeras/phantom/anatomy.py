"""The anatomy of a phantom individual: surfaces, areas and gradients, one value a vertex.

The surfaces are fsaverage5 (Fischl et al. 1999) as shipped by nilearn, smoothed by one Loop subdivision. The
areas are placed by hand where the Julich-Brain maps have them; they are *not* those maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp

from cytokeras.brain.labels import VISUAL_AREAS
from cytokeras.errors import UserError
from cytokeras.phantom._deformation import Deformation
from cytokeras.phantom.cytoarchitecture import OTHER_TEXTURES
from cytokeras.phantom.levels import PhantomLevel
from cytokeras.surfaces import GeodesicSolver, Hemisphere, Mesh

GRADIENTS = ("supragranular density", "granular density", "infragranular density", "laminar shift")
"""Smooth fields over the whole surface, about standard normal, that vary the cytoarchitecture inside areas."""

# Fundus of the calcarine sulcus, from the occipital pole forward; hOc1 and hOc2 are bands around it.
_CALCARINE = (
    (-11.0, -99.0, -3.0),
    (-9.0, -92.0, 0.0),
    (-10.0, -84.0, 4.0),
    (-14.0, -76.0, 7.0),
    (-19.0, -68.0, 7.0),
)
_STRIATE_RADIUS_MM = 12.0
_PRESTRIATE_WIDTH_MM = 8.0

# Seed point (left hemisphere, x mirrored for the right) and radius of the other areas in mm, after the centroids
# and extents described for the Julich-Brain maps; placement by hand.
_SEEDS: dict[str, tuple[tuple[float, float, float], float]] = {
    "hOc3d": ((-19.0, -93.0, 19.0), 16.0),
    "hOc3v": ((-19.0, -79.0, -13.0), 16.0),
    "hOc4d": ((-20.0, -86.0, 30.0), 17.0),
    "hOc4v": ((-29.0, -80.0, -15.0), 16.0),
    "hOc4la": ((-45.0, -78.0, -3.0), 17.0),
    "hOc4lp": ((-34.0, -90.0, 5.0), 18.0),
    "hOc5": ((-46.0, -70.0, 5.0), 12.0),
    "FG1": ((-31.0, -68.0, -14.0), 14.0),
    "FG2": ((-41.0, -66.0, -17.0), 14.0),
    "FG3": ((-29.0, -52.0, -13.0), 16.0),
    "FG4": ((-43.0, -52.0, -19.0), 17.0),
}

_SEED_JITTER_MM = 2.5
_RADIUS_JITTER = 0.12
_COMMON_GRADIENT_SEED = 20180916
"""Part of every gradient is the species', the same for all individuals; the paper's conference began that day."""
_INDIVIDUAL_GRADIENT_SHARE = 0.35
_OTHER_TEXTURE_SEED = 1925  # the same map for all individuals; the atlas of von Economo & Koskinas appeared that year
_OTHER_TEXTURE_MM = 15.0  # over this distance a smooth field changes by about its standard deviation


@dataclass(frozen=True)
class PhantomHemisphere:
    """Surfaces and vertex-wise fields of one hemisphere of an individual.

    Attributes:
        surfaces: Pial, white, inflated and sphere with vertex correspondence.
        territory: ``(V, 12)`` float32 mm; see ``areas_from_territory``.
        striate_mm: Outer limits of hOc1 and hOc2, distance to the calcarine fundus in mm.
        gradients: ``(V, 4)`` float32, about standard normal, in the order of ``GRADIENTS``.
        other: ``(V, K)`` float32, about mm: which texture cortex outside the areas has, the largest wins; K = 1 where
            it is the same everywhere.
    """

    surfaces: Hemisphere
    territory: np.ndarray
    striate_mm: tuple[float, float]
    gradients: np.ndarray
    other: np.ndarray


def phantom_hemisphere(name: str, seed: int, level: PhantomLevel) -> PhantomHemisphere:
    """Build the left or right hemisphere of the individual ``seed``."""
    surfaces = individual_surfaces(name, seed, level)
    territory, striate_mm = phantom_territory(name, seed)
    gradients = _gradients(surfaces.sphere, name, seed)
    other = np.zeros((len(territory), 1), np.float32)
    if level.other_textures:
        places = _unit_sphere(surfaces.sphere, name)
        fields = _smooth_fields(places, np.random.default_rng(_OTHER_TEXTURE_SEED), OTHER_TEXTURES)
        other = (_OTHER_TEXTURE_MM * fields).astype(np.float32)
    return PhantomHemisphere(surfaces, territory, striate_mm, gradients, other)


def individual_surfaces(name: str, seed: int, level: PhantomLevel) -> Hemisphere:
    """The average's surfaces, folded and sized as those of the individual ``seed``; inflated and sphere stay."""
    average = _template(name).surfaces
    if not (level.folding_mm or level.size_spread):
        return average
    deformation = Deformation.random(np.random.default_rng([seed, 3]), level.folding_mm, level.size_spread)
    pial, white = (Mesh(deformation(mesh.vertices), mesh.faces) for mesh in (average.pial, average.white))
    return Hemisphere(name, pial, white, average.inflated, average.sphere)


def phantom_territory(name: str, seed: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Where the areas of one hemisphere of the individual ``seed`` lie.

    Returns:
        ``territory`` and ``striate_mm`` of ``PhantomHemisphere``.
    """
    template = _template(name)
    rng = np.random.default_rng([seed, name == "right"])
    jitter = rng.normal(0.0, _SEED_JITTER_MM, (1 + len(_SEEDS), 3))
    scale = np.exp(rng.normal(0.0, _RADIUS_JITTER, 2 + len(_SEEDS)))
    fundus = np.asarray(_CALCARINE) + 0.5 * jitter[0]
    seeds = np.asarray([point for point, _ in _SEEDS.values()]) + jitter[1:]
    vertices = _nearest_vertices(template.coarse_mid, np.concatenate([fundus, seeds]), name)
    distances = template.solver.distances(vertices)
    from_fundus = distances[: len(fundus)].min(axis=0)
    radii = np.asarray([radius for _, radius in _SEEDS.values()]) * scale[2:]
    territory = np.column_stack([from_fundus, radii - distances[len(fundus) :].T])
    striate = _STRIATE_RADIUS_MM * scale[0]
    return (template.refine @ territory).astype(np.float32), (striate, striate + _PRESTRIATE_WIDTH_MM * scale[1])


@dataclass(frozen=True)
class _Template:
    """The average hemisphere that all individuals start from.

    Attributes:
        surfaces: The subdivided surfaces.
        coarse_mid: The mid surface before subdivision; distances on it are as good and four times as fast.
        solver: Distances along ``coarse_mid``.
        refine: ``(V, V coarse)`` matrix from values at its vertices to values at those of ``surfaces``.
    """

    surfaces: Hemisphere
    coarse_mid: Mesh
    solver: GeodesicSolver
    refine: sp.csr_matrix


@lru_cache(maxsize=2)
def _template(name: str) -> _Template:
    """Read and subdivide one hemisphere of fsaverage5, once a process."""
    try:
        from nilearn.datasets import load_fsaverage
    except ImportError as error:
        raise UserError(
            "The phantom is drawn on the fsaverage5 surfaces that nilearn ships, and nilearn is not installed: "
            "pip install 'cytokeras[demo]'."
        ) from error
    average = load_fsaverage("fsaverage5")
    files = {"pial": "pial", "white": "white_matter", "inflated": "inflated", "sphere": "sphere"}
    points = {kind: np.asarray(average[key].parts[name].coordinates, float) for kind, key in files.items()}
    faces = np.asarray(average["pial"].parts[name].faces)
    refine, fine_faces = _loop_subdivision(len(points["pial"]), faces)
    surfaces = {kind: Mesh(refine @ coarse, fine_faces) for kind, coarse in points.items()}
    coarse_mid = Mesh((points["pial"] + points["white"]) / 2, faces)
    return _Template(Hemisphere(name, **surfaces), coarse_mid, GeodesicSolver(coarse_mid), refine)


def _loop_subdivision(vertices: int, faces: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    """One step of Loop's scheme (Loop 1987) on a closed mesh, as a matrix that refines any vertex data.

    One matrix for all surfaces keeps their vertices in correspondence, which subdividing each alone would not.
    """
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    opposite = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
    edges, edge_of_side = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
    edge_of_side = edge_of_side.ravel()
    rows = np.arange(len(edges))
    odd = sp.coo_matrix(
        (
            np.concatenate([np.full(2 * len(edges), 3 / 8), np.full(len(opposite), 1 / 8)]),
            (
                np.concatenate([rows, rows, edge_of_side]),
                np.concatenate([edges[:, 0], edges[:, 1], opposite]),
            ),
        ),
        shape=(len(edges), vertices),
    )
    both = np.concatenate([edges, edges[:, ::-1]])
    neighbours = sp.coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(vertices, vertices)).tocsr()
    valence = np.asarray(neighbours.sum(axis=1)).ravel()
    beta = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / valence) / 4) ** 2) / valence
    even = sp.diags(1 - valence * beta) + sp.diags(beta) @ neighbours
    ab, bc, ca = (edge_of_side.reshape(3, -1) + vertices).tolist()
    a, b, c = faces.T
    fine = np.concatenate([np.column_stack(t) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    return sp.vstack([even, odd]).tocsr(), fine.astype(np.int32)


def _nearest_vertices(mesh: Mesh, points: np.ndarray, hemisphere: str) -> list[int]:
    mirrored = points * ((-1.0 if hemisphere == "right" else 1.0), 1.0, 1.0)
    squared = ((mesh.vertices[:, None] - mirrored[None]) ** 2).sum(axis=-1)
    return squared.argmin(axis=0).tolist()


def _gradients(sphere: Mesh | None, hemisphere: str, seed: int) -> np.ndarray:
    """Random smooth functions on the sphere: the species' plus the individual's own, standardised."""
    points = _unit_sphere(sphere, hemisphere)
    share = _INDIVIDUAL_GRADIENT_SHARE
    own_seed = np.random.default_rng([seed, 2, hemisphere == "right"])
    fields = np.sqrt(1 - share**2) * _smooth_fields(points, np.random.default_rng(_COMMON_GRADIENT_SEED))
    return (fields + share * _smooth_fields(points, own_seed)).astype(np.float32)


def _unit_sphere(sphere: Mesh | None, hemisphere: str) -> np.ndarray:
    """Places on the unit sphere, those of the right hemisphere mirrored."""
    assert sphere is not None
    points = sphere.vertices * ((-1.0 if hemisphere == "right" else 1.0), 1.0, 1.0)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _smooth_fields(
    points: np.ndarray, rng: np.random.Generator, count: int = len(GRADIENTS), waves: int = 12
) -> np.ndarray:
    """Sums of plane waves with one to two periods over the sphere, ``(points, count)``, mean 0 and variance 1."""
    fields = np.empty((len(points), count))
    for column in range(fields.shape[1]):
        direction = rng.normal(size=(waves, 3))
        direction *= rng.uniform(2.5, 5.0, (waves, 1)) / np.linalg.norm(direction, axis=1, keepdims=True)
        phase = rng.uniform(0.0, 2 * np.pi, waves)
        fields[:, column] = np.cos(points @ direction.T + phase).sum(axis=1)
    return (fields - fields.mean(axis=0)) / fields.std(axis=0)


assert tuple(VISUAL_AREAS[2:]) == tuple(_SEEDS), "territory columns follow the class order"
