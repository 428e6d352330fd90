"""What lies at each point of one plane through a phantom: tissue, depth, area and gradients on a fine lattice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import ndimage

from cytokeras.brain.labels import VISUAL_SCHEME
from cytokeras.phantom.anatomy import GRADIENTS, PhantomHemisphere
from cytokeras.phantom.territories import areas_from_territory, textures_from_territory
from cytokeras.surfaces import Mesh

LATTICE_MM = 0.032
"""Spacing of the lattice: two output cells of the network, a twentieth of a thin layer IV."""

MARGIN_MM = 2.0
"""Empty glass left around the tissue."""

BACKGROUND = VISUAL_SCHEME.index("background")
WHITE_MATTER = VISUAL_SCHEME.index("white matter")
OTHER_CORTEX = VISUAL_SCHEME.index("other cortex")

_PAIRS_AT_ONCE = 400_000

_COLUMN_SPACING = 0.1
"""Of cell columns, in mm on the sphere of radius 100: about 80 µm on the cortex, which is two thirds as large."""
_COLUMN_WAVES = 8
_COLUMN_SEED = 7


@dataclass(frozen=True)
class SectionFields:
    """One coronal plane on a lattice, row 0 at the top (largest z), column 0 at the left (smallest x).

    Attributes:
        y_mm: Position of the plane.
        x_mm: x of lattice column 0.
        z_mm: z of lattice row 0.
        labels: ``(H, W)`` uint8 class index.
        depth: ``(H, W)`` uint8 equal-volume depth, 0 at the pia … 255 at the white matter; 0 outside the cortex.
        gradients: ``(4, H, W)`` int8, the fields of ``GRADIENTS`` times 32.
        texture: ``(H, W)`` uint8, row of the depth profiles; see ``textures_from_territory``.
        neighbour: ``(H, W)`` uint8, the texture beyond the nearest gradual border.
        share: ``(H, W)`` uint8, 0 … 127 of 255 cells are drawn as those of the neighbour.
        columns: ``(H, W)`` int8, -127 … 127: cell-poor to cell-rich columns; ``(0, 0)`` where the level has none.
        moved_angle: ``angle`` where tissue is displaced, moved with it; None: none is.
        tears: ``(N, 7)`` damaged places along displaced tissue; see ``random_damage``.
    """

    y_mm: float
    x_mm: float
    z_mm: float
    labels: np.ndarray
    depth: np.ndarray
    gradients: np.ndarray
    texture: np.ndarray
    neighbour: np.ndarray
    share: np.ndarray
    columns: np.ndarray
    moved_angle: np.ndarray | None = None
    tears: np.ndarray = field(default_factory=lambda: np.zeros((0, 7)))

    @cached_property
    def angle(self) -> np.ndarray:
        """Direction from the pia to the white matter, ``(H, W)`` uint8: 0 down, 64 right, 128 up, 192 left."""
        if self.moved_angle is not None:
            return self.moved_angle
        depth = self.depth.astype(np.float32)
        depth[self.labels == WHITE_MATTER] = 255
        down, right = np.gradient(ndimage.gaussian_filter(depth, 3, mode="nearest", truncate=2))
        return np.rint(np.arctan2(right, down) * (128 / np.pi)).astype(np.int16).astype(np.uint8)

    def lattice(self, angle: np.ndarray) -> tuple[np.ndarray, ...]:
        """The arrays of ``draw_cells``; the angle may be ``(0, 0)`` where cells have no shape."""
        return (
            self.labels,
            self.texture,
            self.neighbour,
            self.share,
            self.depth,
            self.gradients,
            self.columns,
            angle,
        )


def section_fields(
    hemispheres: list[PhantomHemisphere], y_mm: float, *, border_mm: float = 0.0, columns: bool = False
) -> SectionFields:
    """Cut the hemispheres by the coronal plane at ``y_mm``.

    Args:
        hemispheres: What is cut.
        y_mm: Position of the plane.
        border_mm: Half width of gradual borders; 0: all borders are sharp.
        columns: Whether cells form columns.
    """
    cuts = [(hemisphere, _cut_ribbon(hemisphere, y_mm)) for hemisphere in hemispheres]
    low, high = section_extent(hemispheres, y_mm)
    width, height = np.ceil((high - low) / LATTICE_MM).astype(int) + 1
    x_mm, z_mm = low[0], low[1] + (height - 1) * LATTICE_MM
    labels = np.full((height, width), BACKGROUND, np.uint8)
    depth = np.zeros((height, width), np.uint8)
    gradients = np.zeros((len(GRADIENTS), height, width), np.int8)
    texture, neighbour, share = np.zeros((3, height, width), np.uint8)
    columnar = np.zeros((height, width) if columns else (0, 0), np.int8)
    to_lattice = lambda points: (points - (x_mm, z_mm)) / (LATTICE_MM, -LATTICE_MM)  # noqa: E731
    for hemisphere, (triangles, values) in cuts:
        white = _boundary(hemisphere.surfaces.white, y_mm)
        labels[_inside(to_lattice(white), (height, width))] = WHITE_MATTER
        parts = np.cumsum([1, hemisphere.territory.shape[1], len(GRADIENTS), hemisphere.other.shape[1]])
        for rows, cols, weights, triangle in _rasterise(to_lattice(triangles), (height, width)):
            point = np.einsum("nk,nkc->nc", weights, values[triangle])
            volume, territory, fields, other, sphere = np.split(point, parts, axis=1)
            at = (rows, cols)
            labels[at] = areas_from_territory(territory, hemisphere.striate_mm, OTHER_CORTEX)
            texture[at], neighbour[at], share[at] = textures_from_territory(
                territory, hemisphere.striate_mm, other, border_mm
            )
            depth[at] = np.clip(np.rint(255 * volume[:, 0]), 0, 255)
            gradients[:, rows, cols] = np.clip(np.rint(32 * fields.T), -127, 127)
            if columns:
                columnar[at] = np.clip(np.rint(127 * _columnar_wave(sphere) / 2), -127, 127)
    return SectionFields(y_mm, float(x_mm), float(z_mm), labels, depth, gradients, texture, neighbour, share, columnar)


def _columnar_wave(sphere: np.ndarray) -> np.ndarray:
    """A random wave over the sphere of mean 0 and variance 1, constant along each radial line: columns.

    Args:
        sphere: ``(N, 3)`` places on the spherical surface, radius 100.
    """
    rng = np.random.default_rng(_COLUMN_SEED)
    direction = rng.normal(size=(_COLUMN_WAVES, 3))
    direction *= 2 * np.pi / _COLUMN_SPACING / np.linalg.norm(direction, axis=1, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, _COLUMN_WAVES)
    return np.cos(sphere @ direction.T + phase).sum(axis=1) * np.sqrt(2 / _COLUMN_WAVES)


def reach_mm(hemispheres: list[PhantomHemisphere]) -> tuple[float, float]:
    """Where along y the brain begins and ends."""
    y = np.concatenate([hemisphere.surfaces.pial.vertices[:, 1] for hemisphere in hemispheres])
    return float(y.min()), float(y.max())


def section_extent(hemispheres: list[PhantomHemisphere], y_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest (x, z) in mm of the section at ``y_mm``, inside ``reach_mm``, the glass margin included."""
    pial = np.concatenate([_boundary(hemisphere.surfaces.pial, y_mm).reshape(-1, 2) for hemisphere in hemispheres])
    return pial.min(axis=0) - MARGIN_MM, pial.max(axis=0) + MARGIN_MM


def _boundary(mesh: Mesh, y_mm: float) -> np.ndarray:
    """Segments ``(S, 2, 2)`` in (x, z) mm where a surface crosses the plane."""
    section = mesh.plane_section(np.array([0.0, y_mm, 0.0]), np.array([0.0, 1.0, 0.0]))
    return section.points[:, :, [0, 2]]


def _cut_ribbon(hemisphere: PhantomHemisphere, y_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut the prisms between white and pial surface by the plane.

    Returns:
        Triangles ``(T, 3, 2)`` in (x, z) mm, and ``(T, 3, 1 + 12 + 4 + K + 3)`` values at their corners:
        equal-volume depth, territory, gradients, other textures, place on the sphere.
    """
    surfaces = hemisphere.surfaces
    faces = surfaces.pial.faces
    count = len(surfaces.pial.vertices)
    positions = np.concatenate([surfaces.pial.vertices, surfaces.white.vertices])
    crossed = _crosses(positions[np.column_stack([faces, faces + count]), 1] - y_mm)
    # The same diagonals on both sides of a shared wall, so that neighbouring prisms neither overlap nor gap.
    low, mid, high = np.sort(faces[crossed], axis=1).T
    tetrahedra = np.concatenate(
        [
            np.column_stack([low, mid, high, high + count]),
            np.column_stack([low, mid, mid + count, high + count]),
            np.column_stack([low, low + count, mid + count, high + count]),
        ]
    )
    ratio = _white_to_pial_area(hemisphere)
    values = np.column_stack([np.repeat([0.0, 1.0], count), np.tile(ratio, 2)])
    assert surfaces.sphere is not None
    each = [hemisphere.territory, hemisphere.gradients, hemisphere.other, surfaces.sphere.vertices]
    fields = np.tile(np.column_stack(each), (2, 1))
    corners, data = _cut_tetrahedra(positions, np.column_stack([values, fields]), tetrahedra, y_mm)
    # Depth is interpolated as a distance fraction and turned into a volume fraction corner by corner.
    return corners, np.concatenate([equal_volume_depth(data[..., :1], data[..., 1:2]), data[..., 2:]], axis=-1)


def equal_volume_depth(distance_fraction: np.ndarray, white_to_pial_area: np.ndarray) -> np.ndarray:
    """Fraction of a column's volume above a point (Bok 1929; Waehnert et al. 2014).

    Args:
        distance_fraction: 0 at the pia … 1 at the white matter.
        white_to_pial_area: Ratio of the column's ends: above 1 in sulcal fundi, below 1 on gyral crowns.
    """
    rho, ratio = distance_fraction, white_to_pial_area
    return (rho + (ratio - 1) * rho**2 / 2) * 2 / (1 + ratio)


def _white_to_pial_area(hemisphere: PhantomHemisphere) -> np.ndarray:
    """Vertex-wise ratio of surface areas, kept within 1/3 … 3 where fold tips would make it extreme."""
    surfaces = hemisphere.surfaces
    areas = [
        np.bincount(mesh.faces.ravel(), np.repeat(mesh.face_areas, 3), len(mesh.vertices))
        for mesh in (surfaces.white, surfaces.pial)
    ]
    return np.clip(areas[0] / areas[1], 1 / 3, 3.0)


def _crosses(heights: np.ndarray) -> np.ndarray:
    return (heights.min(axis=1) < 0) & (heights.max(axis=1) > 0)


def _cut_tetrahedra(
    positions: np.ndarray, values: np.ndarray, tetrahedra: np.ndarray, y_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Intersect tetrahedra with a coronal plane; each gives one triangle or two."""
    height = positions[:, 1] - y_mm
    height = np.where(height == 0, 1e-9, height)  # a vertex in the plane belongs to one side
    tetrahedra = tetrahedra[_crosses(height[tetrahedra])]
    order = np.argsort(height[tetrahedra] < 0, axis=1, kind="stable")  # corners in front of the plane first
    tetrahedra = np.take_along_axis(tetrahedra, order, axis=1)
    in_front = (height[tetrahedra] > 0).sum(axis=1)
    corner_edges = {
        1: (((0, 1), (0, 2), (0, 3)),),
        2: (((0, 2), (0, 3), (1, 3)), ((0, 2), (1, 3), (1, 2))),
        3: (((0, 3), (1, 3), (2, 3)),),
    }
    data = np.column_stack([positions[:, [0, 2]], values])
    parts = []
    for number, triangles in corner_edges.items():
        chosen = tetrahedra[in_front == number]
        for edges in triangles:
            start, end = chosen[:, [e[0] for e in edges]], chosen[:, [e[1] for e in edges]]
            t = (height[start] / (height[start] - height[end]))[..., None]
            parts.append((1 - t) * data[start] + t * data[end])
    corners = np.concatenate(parts)
    return corners[..., :2], corners[..., 2:]


def _rasterise(triangles: np.ndarray, shape: tuple[int, int]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield ``(rows, columns, weights (N, 3), triangle index)`` of the lattice points inside each triangle."""
    low = np.maximum(np.ceil(triangles.min(axis=1) - 1e-6).astype(int), 0)
    high = np.minimum(np.floor(triangles.max(axis=1) + 1e-6).astype(int), (shape[1] - 1, shape[0] - 1))
    size = np.maximum(high - low + 1, 0)
    pairs = size.prod(axis=1)
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    twice_area = _cross(b - a, c - a)
    usable = np.flatnonzero((pairs > 0) & (np.abs(twice_area) > 1e-9))
    ends = np.cumsum(pairs[usable])
    for chunk in np.split(usable, np.searchsorted(ends, np.arange(_PAIRS_AT_ONCE, ends[-1:].sum(), _PAIRS_AT_ONCE))):
        triangle = np.repeat(chunk, pairs[chunk])
        within = np.arange(len(triangle)) - np.repeat(np.cumsum(pairs[chunk]) - pairs[chunk], pairs[chunk])
        rows = low[triangle, 1] + within // size[triangle, 0]
        columns = low[triangle, 0] + within % size[triangle, 0]
        point = np.column_stack([columns, rows]).astype(float)
        second = _cross(point - a[triangle], (c - a)[triangle]) / twice_area[triangle]
        third = _cross((b - a)[triangle], point - a[triangle]) / twice_area[triangle]
        weights = np.column_stack([1 - second - third, second, third])
        inside = (weights >= -1e-6).all(axis=1)
        yield rows[inside], columns[inside], weights[inside], triangle[inside]


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _inside(segments: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Lattice points inside closed outlines by the even-odd rule, one crossing parity per row."""
    (x0, y0), (x1, y1) = segments[:, 0].T, segments[:, 1].T
    first = np.ceil(np.minimum(y0, y1)).astype(int)
    rows_each = np.maximum(np.ceil(np.maximum(y0, y1)).astype(int) - first, 0)
    segment = np.repeat(np.arange(len(segments)), rows_each)
    row = first[segment] + np.arange(len(segment)) - np.repeat(np.cumsum(rows_each) - rows_each, rows_each)
    t = (row - y0[segment]) / (y1 - y0)[segment]
    column = np.ceil(x0[segment] + t * (x1 - x0)[segment]).astype(int)
    crossings = np.zeros((shape[0], shape[1] + 1), np.int32)
    np.add.at(crossings, (np.clip(row, 0, shape[0] - 1), np.clip(column, 0, shape[1])), 1)
    return (np.cumsum(crossings[:, :-1], axis=1) % 2).astype(bool)
