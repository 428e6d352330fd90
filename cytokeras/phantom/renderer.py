"""Draws the cells of a phantom section, any window at any pixel size from 1 to 20 µm.

Every lattice cell of ``SectionFields`` holds 3 x 3 sites, and each site may carry one cell body. Whether it does,
where exactly and how it looks follows from a hash of (individual, section, site), never from a running random
generator: a window needs only its own sites, and overlapping windows agree pixel for pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cytokeras.brain.labels import VISUAL_SCHEME
from cytokeras.phantom._section_fields import (
    BACKGROUND,
    LATTICE_MM,
    OTHER_CORTEX,
    WHITE_MATTER,
    SectionFields,
)
from cytokeras.phantom.cytoarchitecture import DEPTH_BINS, DepthProfiles, depth_profiles

_SITES = 3  # per lattice cell and direction: 8,800 sites per mm², the densest layer shows 6,200 profiles
_SITE_MM = LATTICE_MM / _SITES
_REACH_MM = 0.06  # half a giant cell and its jitter stay within this distance of the site's lattice point

_GLIA_PER_MM2 = 450.0  # published range 300-600, in all layers and in white matter
_GLIA_UM = 6.0
_CELL_OPTICAL_DENSITY = 0.9  # our choice: a small neuron then shows at grey 100 on glass of 245
_GLIA_OPTICAL_DENSITY = 1.3
_NEUROPIL_OPTICAL_DENSITY = {BACKGROUND: 0.0, WHITE_MATTER: 0.10}  # our choice, BigBrain-like contrast
_CORTEX_NEUROPIL = 0.06
_GLASS_GREY = 245.0
_NOISE_GREY = 2.0
_DENSITY_SWING = (0.22, 0.16, 0.22)  # log density per unit of a gradient: above, in and below layer IV
_LAMINAR_SWING = 0.035  # shift of the layers in the middle of the cortex per unit of the fourth gradient
_SHAPES_BELOW_UM = 6.0  # coarser pixels only receive each cell's area

# Rows of the profile tables: index of the class minus OTHER_CORTEX.
_AREAS = tuple(VISUAL_SCHEME.names[OTHER_CORTEX:])


@dataclass(frozen=True)
class Stain:
    """Stain and light of one section.

    Attributes:
        strength: Factor on all optical densities.
        slope: Relative change of it per mm along (z, x).
        glass: Grey value of empty glass.
    """

    strength: float
    slope: tuple[float, float]
    glass: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Stain:
        """Draw a section's stain; the spreads are our choice."""
        slope = rng.normal(0.0, 0.0012, 2)
        return cls(float(np.exp(rng.normal(0.0, 0.10))), (slope[0], slope[1]), _GLASS_GREY + rng.normal(0.0, 2.0))


class SectionRenderer:
    """Renders windows of one section.

    Args:
        fields: What lies where in the plane.
        pixel_size_um: Width of a pixel in µm, 1 … 20. Pixel (0, 0) is centred on lattice point (0, 0).
        seed: Seed of this section's cells and stain.
    """

    def __init__(self, fields: SectionFields, pixel_size_um: float, seed: int) -> None:
        self._fields = fields
        self._pixel_mm = pixel_size_um / 1000.0
        self._seed = np.uint64(seed)
        self._profiles = depth_profiles(_AREAS)
        self._stain = Stain.random(np.random.default_rng(seed))

    @property
    def background(self) -> int:
        """Grey value of empty glass."""
        return round(self._stain.glass)

    def render(self, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Return the window ``(height, width)`` uint8; it may reach over the section's edge."""
        first, last = self._lattice_window(row, column, height, width)
        density = self._neuropil(row, column, height, width)
        labels = self._fields.labels[first[0] : last[0], first[1] : last[1]]
        if (labels != BACKGROUND).any():
            drawing = _Drawing(density.shape)
            for cells in self._cells(first, last):
                cells.draw(drawing, row, column, self._pixel_mm)
            density += drawing.finish()
        rows, columns = np.arange(row, row + height), np.arange(column, column + width)
        centre = np.multiply(self._fields.labels.shape, LATTICE_MM / 2)
        vertical = self._stain.slope[0] * (rows * self._pixel_mm - centre[0])
        across = self._stain.slope[1] * (columns * self._pixel_mm - centre[1])
        density *= self._stain.strength * (1 + vertical[:, None] + across[None])
        noise = _uniform(_hash(self._seed ^ np.uint64(0x5EED), rows[:, None], columns[None]), 0) - 0.5
        grey = self._stain.glass * np.exp(-density) + noise * (_NOISE_GREY * np.sqrt(12.0))
        return np.clip(np.rint(grey), 0, 255).astype(np.uint8)

    def _lattice_window(self, row: int, column: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        start = np.array([row, column]) * self._pixel_mm - _REACH_MM
        stop = np.array([row + height, column + width]) * self._pixel_mm + _REACH_MM
        shape = self._fields.labels.shape
        first = np.clip(np.floor(start / LATTICE_MM).astype(int), 0, shape)
        return first, np.clip(np.ceil(stop / LATTICE_MM).astype(int) + 1, first, shape)

    def _neuropil(self, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Optical density without cells, interpolated linearly between lattice points."""
        table = np.full(len(VISUAL_SCHEME), _CORTEX_NEUROPIL)
        for index, value in _NEUROPIL_OPTICAL_DENSITY.items():
            table[index] = value
        rows = np.arange(row, row + height) * (self._pixel_mm / LATTICE_MM)
        columns = np.arange(column, column + width) * (self._pixel_mm / LATTICE_MM)
        shape = self._fields.labels.shape
        low_row, low_column = (int(np.floor(axis[0])) for axis in (rows, columns))
        lattice_rows = np.arange(low_row, int(np.floor(rows[-1])) + 2)
        lattice_columns = np.arange(low_column, int(np.floor(columns[-1])) + 2)
        patch = self._fields.labels[np.ix_(lattice_rows.clip(0, shape[0] - 1), lattice_columns.clip(0, shape[1] - 1))]
        density = table[patch]  # the section's rim is glass, so clipping repeats glass
        i, s = _split(rows - low_row)
        j, t = _split(columns - low_column)
        along_rows = density[i] * (1 - s)[:, None] + density[i + 1] * s[:, None]
        return along_rows[:, j] * (1 - t) + along_rows[:, j + 1] * t

    def _cells(self, first: np.ndarray, last: np.ndarray) -> Iterator[_CellBodies]:
        """Yield the cell bodies of the lattice window, one batch for each of the nine sites of a lattice cell."""
        window = (slice(first[0], last[0]), slice(first[1], last[1]))
        labels = self._fields.labels[window]
        rows, columns = np.nonzero(labels != BACKGROUND)
        cortex = labels[rows, columns] >= OTHER_CORTEX
        table_row = np.where(cortex, labels[rows, columns], OTHER_CORTEX) - OTHER_CORTEX
        gradients = self._fields.gradients[(slice(None), *window)][:, rows, columns].astype(np.float32) / 32
        depth = self._fields.depth[window][rows, columns].astype(np.float32) / 255
        shifted = depth + _LAMINAR_SWING * 4 * depth * (1 - depth) * gradients[3]
        table_bin = np.clip((shifted * DEPTH_BINS).astype(int), 0, DEPTH_BINS - 1)
        at = (table_row, table_bin)
        swing = np.choose(self._profiles.compartment[at], gradients[:3] * np.reshape(_DENSITY_SWING, (3, 1)))
        per_site = np.float32(_SITE_MM**2)
        neurons = np.where(cortex, self._profiles.profiles_per_mm2[at] * np.exp(swing), 0) * per_site
        presence = neurons + np.float32(_GLIA_PER_MM2 * per_site)
        radial = self._radial(first, last)
        rows, columns = rows + first[0], columns + first[1]
        for site_row in range(_SITES):
            for site_column in range(_SITES):
                i, j = _SITES * rows + site_row, _SITES * columns + site_column
                key = _hash(self._seed, i, j)
                draw = _uniform(key, 0)
                here = np.flatnonzero(draw < presence)
                yield _CellBodies.random(
                    _hash(key[here], i[here], j[here]),
                    centres_mm=(np.column_stack([i[here], j[here]]) - (_SITES - 1) / 2) * _SITE_MM,
                    neuron=draw[here] < neurons[here],
                    profiles=self._profiles,
                    at=(table_row[here], table_bin[here]),
                    radial=radial[:, rows[here] - first[0], columns[here] - first[1]],
                )

    def _radial(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Unit vectors (row, column) ``(2, H, W)`` from the pia to the white matter; down where there is no depth."""
        # Wider than the filter reaches, so that neighbouring windows see the same smoothed depth.
        begin = np.maximum(first - 8, 0)
        window = tuple(slice(b, e + 8) for b, e in zip(begin, last, strict=True))
        depth = self._fields.depth[window].astype(np.float32)
        depth[self._fields.labels[window] == WHITE_MATTER] = 255
        vectors = np.stack(np.gradient(ndimage.gaussian_filter(depth, 3, mode="nearest", truncate=2)))
        inner = tuple(slice(f - b, e - b) for f, b, e in zip(first, begin, last, strict=True))
        vectors = vectors[(slice(None), *inner)]
        length = np.hypot(*vectors)
        return np.where(length > 0, vectors / np.maximum(length, 1e-6), np.array([1.0, 0.0])[:, None, None])


@dataclass(frozen=True)
class _CellBodies:
    """Ellipses in the section: centres (row, column) mm, axes in µm, optical density, direction of the long axis."""

    centres_mm: np.ndarray
    height_um: np.ndarray
    width_um: np.ndarray
    optical_density: np.ndarray
    direction: np.ndarray

    @classmethod
    def random(
        cls,
        key: np.ndarray,
        *,
        centres_mm: np.ndarray,
        neuron: np.ndarray,
        profiles: DepthProfiles,
        at: tuple[np.ndarray, np.ndarray],
        radial: np.ndarray,
    ) -> _CellBodies:
        jitter = np.column_stack([_uniform(key, 0), _uniform(key, 1)]) - 0.5
        size = np.exp(0.25 * (2 * _uniform(key, 2) - 1))
        kind = _uniform(key, 3)
        giant = neuron & (kind < profiles.giant_share[at])
        height = np.select([giant, neuron], [profiles.giant_height_um[at], profiles.height_um[at]], _GLIA_UM) * size
        width = np.select([giant, neuron], [profiles.giant_width_um[at], profiles.width_um[at]], _GLIA_UM) * size
        density = np.where(neuron, _CELL_OPTICAL_DENSITY, _GLIA_OPTICAL_DENSITY) * (0.8 + 0.4 * kind)
        return cls(centres_mm + jitter * _SITE_MM, height, width, density, radial)

    def draw(self, drawing: _Drawing, row: int, column: int, pixel_mm: float) -> None:
        """Add the cells' optical density to a window whose first pixel is (row, column)."""
        position = self.centres_mm / pixel_mm - (row, column)
        pixel_um = 1000 * pixel_mm
        if pixel_um >= _SHAPES_BELOW_UM:
            amount = self.optical_density * (np.pi / 4 * self.height_um * self.width_um / pixel_um**2)
            whole, part = _split(position)
            for dr in (0, 1):
                for dc in (0, 1):
                    weight = np.abs(1 - dr - part[:, 0]) * np.abs(1 - dc - part[:, 1])
                    drawing.add(whole + np.array([dr, dc]), amount * weight)
            return
        nearest = np.rint(position).astype(int)
        half_height, half_width = self.height_um / (2 * pixel_um), self.width_um / (2 * pixel_um)
        reach = np.ceil(np.maximum(half_height, half_width) + 0.5).astype(int)
        for radius in np.unique(reach):
            some = np.flatnonzero(reach == radius)
            for dr in range(-radius, radius + 1):
                for dc in range(-radius, radius + 1):
                    offset = (nearest[some] + (dr, dc) - position[some]).T
                    along = (offset * self.direction[:, some]).sum(axis=0)
                    across = offset[0] * self.direction[1, some] - offset[1] * self.direction[0, some]
                    distance = np.hypot(along / half_height[some], across / half_width[some])
                    # Signed distance to the rim in pixels gives an edge that is anti-aliased over one pixel.
                    scale = np.sqrt(half_height[some] * half_width[some])
                    covered = np.clip(0.5 + (1 - distance) * scale, 0, 1)
                    drawing.add(nearest[some] + np.array([dr, dc]), self.optical_density[some] * covered)


class _Drawing:
    """Sums what falls on each pixel of a window.

    All amounts are summed in one pass, in order of sites, which is the same in every window: sums agree to the
    last bit.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._pixels: list[np.ndarray] = []
        self._amounts: list[np.ndarray] = []

    def add(self, positions: np.ndarray, amounts: np.ndarray) -> None:
        rows, columns = positions.T
        inside = (rows >= 0) & (rows < self._shape[0]) & (columns >= 0) & (columns < self._shape[1])
        self._pixels.append(rows[inside] * self._shape[1] + columns[inside])
        self._amounts.append(amounts[inside])

    def finish(self) -> np.ndarray:
        size = int(np.prod(self._shape))
        pixels, amounts = np.concatenate(self._pixels), np.concatenate(self._amounts)
        return np.bincount(pixels, amounts, size).reshape(self._shape)


def _split(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    whole = np.floor(values).astype(int)
    return whole, values - whole


def _hash(key: np.ndarray | np.uint64, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """SplitMix64 finaliser (Steele, Lea & Flood 2014) of a key and two integers, as uint64."""
    with np.errstate(over="ignore"):
        z = (
            key
            + i.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            + j.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _uniform(key: np.ndarray, part: int) -> np.ndarray:
    """One of four uniform numbers in [0, 1) held by a 64-bit hash."""
    return ((key >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.float32) / np.float32(65536)
