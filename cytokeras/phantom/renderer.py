"""Draws the cells of a phantom section, any window at any pixel size from 1 to 20 µm.

Every lattice cell of ``SectionFields`` holds 3 x 3 sites, and each site may carry one cell body. Whether it does,
where exactly and how it looks follows from a hash of (individual, section, site), never from a running random
generator: a window needs only its own sites, and overlapping windows agree pixel for pixel.
"""

from __future__ import annotations

import numpy as np

from cytokeras.brain.labels import VISUAL_SCHEME
from cytokeras.phantom._cell_kernels import SITES, VESSEL_BLOCK, draw_cells, draw_vessels
from cytokeras.phantom._damage import random_damage
from cytokeras.phantom._light_kernels import develop, draw_damage
from cytokeras.phantom._section_fields import BACKGROUND, LATTICE_MM, WHITE_MATTER, SectionFields
from cytokeras.phantom.cytoarchitecture import DepthProfiles
from cytokeras.phantom.levels import PhantomLevel
from cytokeras.phantom.staining import Stain, StainBatch

_SITE_MM = LATTICE_MM / SITES
_REACH_MM = 0.06  # half a giant cell and its jitter stay within this distance of the site's lattice point

_GLIA_PER_MM2 = 450.0  # published range 300-600, in all layers and in white matter
_GLIA_UM = 6.0
_CELL_OPTICAL_DENSITY = 0.9  # our choice: a small neuron then shows at grey 100 on glass of 245
_GLIA_OPTICAL_DENSITY = 1.3
_NEUROPIL_OPTICAL_DENSITY = {BACKGROUND: 0.0, WHITE_MATTER: 0.10}  # our choice, BigBrain-like contrast
_CORTEX_NEUROPIL = 0.06
_NOISE_GREY = 2.0
_DENSITY_SWING = (0.22, 0.16, 0.22)  # log density per unit of a gradient: above, in and below layer IV
_LAMINAR_SWING = 0.035  # shift of the layers in the middle of the cortex per unit of the fourth gradient
_SHAPES_BELOW_UM = 6.0  # coarser pixels only receive each cell's area


class SectionRenderer:
    """Renders windows of one section.

    Args:
        fields: What lies where in the plane.
        profiles: Depth profiles of the textures that ``fields`` names.
        pixel_size_um: Width of a pixel in µm, 1 … 20. Pixel (0, 0) is centred on lattice point (0, 0).
        seed: Seed of this section's cells, stain and damage.
        level: What the section shows beside cells.
        batch: What it shares with the sections stained together with it.

    Attributes:
        damage: ``(N, 7)`` damaged places, the tears of displaced tissue last; see ``random_damage``.

    Raises:
        ValueError: ``fields`` were cut for a level without columns, or name a texture that has no profile.
    """

    def __init__(
        self,
        fields: SectionFields,
        profiles: DepthProfiles,
        pixel_size_um: float,
        seed: int,
        level: PhantomLevel,
        batch: StainBatch = StainBatch(),  # noqa: B008  (frozen)
    ) -> None:
        if level.column_contrast and fields.columns.shape != fields.labels.shape:
            raise ValueError(f"Level {level.name!r} draws cell columns, and these fields hold none.")
        if fields.texture.max() >= len(profiles.compartment):
            raise ValueError(
                f"Fields name texture {fields.texture.max()}, and there are {len(profiles.compartment)} profiles."
            )
        self._fields = fields
        self._pixel_mm = pixel_size_um / 1000.0
        self._seed = np.uint64(seed)
        self._level = level
        self._stain = Stain.random(np.random.default_rng(seed), level, batch)
        random = random_damage(np.random.default_rng([seed, 1]), fields, level)
        self.damage = np.concatenate([random, fields.tears])
        self._tables = _tables(profiles, level)
        neuropil = np.full(len(VISUAL_SCHEME), _CORTEX_NEUROPIL)
        neuropil[list(_NEUROPIL_OPTICAL_DENSITY)] = list(_NEUROPIL_OPTICAL_DENSITY.values())
        self._neuropil = neuropil * batch.neuropil

    @property
    def background(self) -> int:
        """Grey value of empty glass."""
        return round(self._stain.glass)

    def render(self, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Return the window ``(height, width)`` uint8; it may reach over the section's edge."""
        fields, pixel_mm = self._fields, self._pixel_mm
        cells = np.zeros((height, width), np.int32)
        lumens = np.zeros((height, width) if self._level.vessels_per_mm2 else (0, 0), np.int32)
        window = self._lattice_window(row, column, height, width)
        if (fields.labels[window[0] : window[2], window[1] : window[3]] != BACKGROUND).any():
            place = (row, column, pixel_mm, _SITE_MM)
            angle = fields.angle if 1000 * pixel_mm < _SHAPES_BELOW_UM or lumens.size else np.zeros((0, 0), np.uint8)
            draw_cells(cells, place, self._seed, window, fields.lattice(angle), self._tables, _look(self._level))
            if lumens.size:
                chance = self._level.vessels_per_mm2 * (VESSEL_BLOCK * LATTICE_MM) ** 2
                draw_vessels(lumens, place, self._seed ^ np.uint64(0xB100D), window, fields.labels, angle, chance)
        rows_mm = np.arange(row, row + height) * pixel_mm - fields.labels.shape[0] * LATTICE_MM / 2
        columns_mm = np.arange(column, column + width) * pixel_mm - fields.labels.shape[1] * LATTICE_MM / 2
        grey = np.empty((height, width), np.uint8)
        develop(
            grey,
            (cells, lumens),
            (row, column, LATTICE_MM / pixel_mm),
            self._seed,
            fields.labels,
            self._neuropil,
            (self._stain.glass, _NOISE_GREY * np.sqrt(12.0), self._stain.contrast, _CELL_OPTICAL_DENSITY),
            self._stain.factors(rows_mm, columns_mm),
            self._damage_of(row, column, height, width),
        )
        return grey

    def _lattice_window(self, row: int, column: int, height: int, width: int) -> tuple[int, int, int, int]:
        start = np.array([row, column]) * self._pixel_mm - _REACH_MM
        stop = np.array([row + height, column + width]) * self._pixel_mm + _REACH_MM
        shape = self._fields.labels.shape
        first = np.clip(np.floor(start / LATTICE_MM).astype(int), 0, shape)
        last = np.clip(np.ceil(stop / LATTICE_MM).astype(int) + 1, first, shape)
        return int(first[0]), int(first[1]), int(last[0]), int(last[1])

    def _damage_of(self, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Damage of a window as ``draw_damage`` leaves it; ``(3, 0, 0)`` where there is none."""
        low = np.array([row, column]) * self._pixel_mm
        high = low + np.array([height, width]) * self._pixel_mm
        ends, reach = self.damage[:, 1:5].reshape(-1, 2, 2), 2 * self.damage[:, 5:6] + self._pixel_mm
        near = ((ends.max(axis=1) + reach >= low) & (ends.min(axis=1) - reach <= high)).all(axis=1)
        if not near.any():
            return np.zeros((3, 0, 0), np.float32)
        damage = np.zeros((3, height, width), np.float32)
        damage[1] = 1
        draw_damage(damage, (row, column, self._pixel_mm), self.damage[near])
        return damage


def _tables(profiles: DepthProfiles, level: PhantomLevel) -> tuple[np.ndarray, ...]:
    """The tables of ``draw_cells``."""
    gradient = np.arange(-128, 128) / 32
    swing = np.exp(level.gradient_factor * np.reshape(_DENSITY_SWING, (3, 1)) * gradient)
    return (
        (profiles.profiles_per_mm2 * _SITE_MM**2).astype(np.float32),
        profiles.height_um,
        profiles.width_um,
        profiles.giant_share,
        profiles.giant_height_um,
        profiles.giant_width_um,
        (level.taper * profiles.taper).astype(np.float32),
        profiles.compartment,
        swing.astype(np.float32),
    )


def _look(level: PhantomLevel) -> tuple[np.float32, ...]:
    """The numbers of ``draw_cells``, in its order."""
    values = (
        _LAMINAR_SWING,
        _GLIA_PER_MM2 * _SITE_MM**2,
        _GLIA_UM,
        _CELL_OPTICAL_DENSITY,
        _GLIA_OPTICAL_DENSITY,
        level.column_contrast,
        level.defocus_um,
        _SHAPES_BELOW_UM,
    )
    return tuple(np.float32(value) for value in values)
