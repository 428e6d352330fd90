"""A synthetic brain with exact truth, drawn on demand through the interface of a brain on disk."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np

from cytokeras.brain import Atlas, Brain, Section, SectionPlane
from cytokeras.brain.labels import UNLABELLED, VISUAL_SCHEME
from cytokeras.errors import UserError
from cytokeras.phantom._displacement import displaced, random_flaps
from cytokeras.phantom._section_fields import LATTICE_MM, SectionFields, reach_mm, section_extent, section_fields
from cytokeras.phantom.anatomy import PhantomHemisphere, phantom_hemisphere
from cytokeras.phantom.annotation import partly_annotated
from cytokeras.phantom.cytoarchitecture import DepthProfiles, depth_profiles, texture_layers
from cytokeras.phantom.levels import PhantomLevel, phantom_level
from cytokeras.phantom.phantom_atlas import LARGEST_SEED, phantom_atlas
from cytokeras.phantom.renderer import SectionRenderer
from cytokeras.phantom.staining import StainBatch
from cytokeras.surfaces import Hemisphere, Mesh

SECTION_RANGE_MM = (-100.0, -42.0)
"""Default range of section positions (y, fsaverage space): it holds all 13 areas."""

HELD_OUT_EVERY = 12
"""One in twelve sections is held out (Spitzer et al. 2018, section 3.1)."""

ANNOTATIONS = ("full", "partial", "none")

_FIELDS_KEPT = 3  # one section's fields take up to 100 MB


def section_positions(spacing_mm: float = 1.2) -> np.ndarray:
    """Positions in mm of evenly spaced sections through ``SECTION_RANGE_MM``.

    Raises:
        UserError: The spacing is not between 20 µm and the range's length.
    """
    low, high = SECTION_RANGE_MM
    if not 0.02 <= spacing_mm <= high - low:
        raise UserError(f"The spacing of sections must be 0.02 … {high - low:g} mm. Received: {spacing_mm!r}")
    return np.arange(low, high, spacing_mm)


class PhantomBrain(Brain):
    """A synthetic brain: coronal sections through fsaverage5, cells drawn layer by layer, exact labels.

    Everything about it is synthetic except the folding it starts from and the published layer tables it is drawn
    from. Individuals (seeds) differ in position and size of their areas, in the gradients inside areas, in cells
    and stain, and, above the level "easy", in folding, layers, cutting angle and damage.

    Args:
        seed: The individual, 0 … 999,999.
        pixel_size_um: Width of a pixel in µm, 1 … 20.
        sections_mm: Positions of the sections in mm along y (before the cutting plane is tilted); by default every
            1.2 mm of ``SECTION_RANGE_MM``. Individuals differ in size: positions that miss this one give no section.
        hemispheres: Which hemispheres the sections show.
        level: "easy", "standard" or "hard"; see ``PhantomLevel``.
        annotation: "full": exact labels everywhere; "partial": labels of some areas, and of places in other cortex,
            on some of the training sections, exact ones on the test sections; "none".

    Raises:
        UserError: A value outside these ranges, no section meets the brain, or nilearn is not installed.
    """

    def __init__(
        self,
        seed: int = 0,
        pixel_size_um: float = 8.0,
        sections_mm: Sequence[float] | None = None,
        hemispheres: Sequence[str] = ("left", "right"),
        level: str = "standard",
        annotation: str = "full",
    ) -> None:
        if annotation not in ANNOTATIONS:
            raise UserError(
                f"PhantomBrain: annotation must be one of {ANNOTATIONS}. Received: annotation={annotation!r}"
            )
        if not 0 <= seed < LARGEST_SEED:
            raise UserError(f"PhantomBrain: seed must be 0 … {LARGEST_SEED - 1}. Received: seed={seed!r}")
        if not 1.0 <= pixel_size_um <= 20.0:
            raise UserError(f"PhantomBrain: pixel_size_um must be 1 … 20. Received: pixel_size_um={pixel_size_um!r}")
        positions = section_positions() if sections_mm is None else np.asarray(sections_mm, float)
        self.seed = seed
        self.level = phantom_level(level)
        self._annotation = annotation
        self._hemispheres = {name: phantom_hemisphere(name, seed, self.level) for name in hemispheres}
        self._to_plane = _tilt(np.random.default_rng([seed, 4]), self.level.tilt_deg)
        turned = [_turned(h, self._to_plane) for h in self._hemispheres.values()]
        low, high = reach_mm(turned)
        cut = [(i, float(y)) for i, y in enumerate(positions) if low < y < high]
        if not cut or not np.isfinite(positions).all():
            raise UserError(
                "PhantomBrain: sections_mm must be finite, and some of it inside the brain, which reaches from y = "
                f"{low:.0f} to {high:.0f} mm. Received: sections_mm={positions.tolist()}"
            )
        source = _FieldSource(turned, seed, self.level)
        rng = np.random.default_rng([seed, 5])
        layers = texture_layers(rng, self.level.thickness_spread, self.level.density_spread)
        self._profiles = depth_profiles(layers)
        super().__init__(
            name=f"phantom-{seed}",
            space="fsaverage",
            labels=VISUAL_SCHEME,
            sections=[self._section(i, y, pixel_size_um, source) for i, y in cut],
            surfaces={name: hemisphere.surfaces for name, hemisphere in self._hemispheres.items()},
            atlas=None,
            synthetic=True,
        )

    @cached_property
    def atlas(self) -> Atlas:
        """Probability of each of the 13 areas, 1 mm, from other individuals registered with error."""
        return phantom_atlas(self.seed, self.level.name, tuple(self._hemispheres))

    def _section(self, index: int, y_mm: float, pixel_size_um: float, source: _FieldSource) -> Section:
        low, high = source.extent(y_mm)
        pixel_mm = pixel_size_um / 1000.0
        lattice_height = np.ceil((high[1] - low[1]) / LATTICE_MM).astype(int)
        top = float(low[1] + lattice_height * LATTICE_MM)
        image = PhantomImage(source, self._profiles, y_mm, pixel_size_um, low, high)
        plane = SectionPlane(
            affine=np.array([[0.0, pixel_mm, 0.0], [-pixel_mm, 0.0, 0.0]]),
            origin=np.array([low[0], y_mm, top]) @ self._to_plane,
            axis_u=self._to_plane[0],
            axis_v=self._to_plane[2],
        )
        split = "test" if index % HELD_OUT_EVERY == HELD_OUT_EVERY // 2 else "train"
        labels = None if self._annotation == "none" else PhantomLabels(image)
        section = Section(f"phantom-{self.seed}-{index:04d}", image, plane, labels, split)
        return partly_annotated(section) if self._annotation == "partial" else section


class PhantomImage:
    """The synthetic stained section at one plane; same interface as ``SectionImage``.

    Attributes:
        shape: (rows, columns).
        pixel_size_um: Width of a pixel in µm.
        background: Grey value of empty glass.
        levels: Downsampling factors: only 1, coarser phantoms are drawn coarser.
    """

    levels = (1.0,)

    def __init__(
        self,
        source: _FieldSource,
        profiles: DepthProfiles,
        y_mm: float,
        pixel_size_um: float,
        low: np.ndarray,
        high: np.ndarray,
    ) -> None:
        self._source = source
        self._profiles = profiles
        self._y_mm = y_mm
        self.pixel_size_um = pixel_size_um
        columns, rows = np.floor((high - low) * 1000.0 / pixel_size_um).astype(int) + 1
        self.shape = (int(rows), int(columns))

    @property
    def background(self) -> int:
        """Grey value of empty glass."""
        return self.renderer().background

    def fields(self) -> SectionFields:
        """What lies where in the plane."""
        return self._source.fields(self._y_mm)

    def read(self, row: int, column: int, height: int, width: int, level: int = 0) -> np.ndarray:
        """Draw a window ``(height, width)`` uint8, 0 black … 255 white; outside the image there is glass.

        Raises:
            UserError: A level other than 0.
        """
        if level != 0:
            raise UserError(f"PhantomImage has one level, 0. Received: level={level!r}")
        return self.renderer().render(row, column, height, width)

    def renderer(self) -> SectionRenderer:
        """What draws this section."""
        source = self._source
        seed, batch = _section_seed(source.seed, self._y_mm), StainBatch.at(self._y_mm, source.seed, source.level)
        return SectionRenderer(self.fields(), self._profiles, self.pixel_size_um, seed, source.level, batch)


class PhantomLabels:
    """The exact class at every pixel of a phantom section."""

    def __init__(self, image: PhantomImage) -> None:
        self._image = image

    def read(self, row: float, column: float, height: int, width: int, step: float = 1) -> np.ndarray:
        """Class indices ``(height, width)`` uint8 at pixels (row + step i, column + step j); 255 outside the image."""
        labels = self._image.fields().labels
        result = np.full((height, width), UNLABELLED, np.uint8)
        axes = []
        for start, count, size in zip((row, column), (height, width), self._image.shape, strict=True):
            positions = start + step * np.arange(count)
            axes.append((positions, (positions >= 0) & (positions < size)))
        scale = self._image.pixel_size_um / (1000.0 * LATTICE_MM)
        (rows, row_inside), (columns, column_inside) = axes
        lattice_rows = np.minimum(np.rint(rows[row_inside] * scale).astype(int), labels.shape[0] - 1)
        lattice_columns = np.minimum(np.rint(columns[column_inside] * scale).astype(int), labels.shape[1] - 1)
        result[np.ix_(row_inside, column_inside)] = labels[np.ix_(lattice_rows, lattice_columns)]
        return result


class _FieldSource:
    """Cuts planes through the hemispheres and keeps the last few."""

    def __init__(self, hemispheres: list[PhantomHemisphere], seed: int, level: PhantomLevel) -> None:
        self._hemispheres = hemispheres
        self.seed = seed
        self.level = level
        self.fields = lru_cache(maxsize=_FIELDS_KEPT)(self._cut)

    def extent(self, y_mm: float) -> tuple[np.ndarray, np.ndarray]:
        return section_extent(self._hemispheres, y_mm)

    def _cut(self, y_mm: float) -> SectionFields:
        level = self.level
        fields = section_fields(self._hemispheres, y_mm, border_mm=level.border_mm, columns=level.column_contrast > 0)
        rng = np.random.default_rng([_section_seed(self.seed, y_mm), 2])
        return displaced(fields, random_flaps(rng, fields, level))


def _tilt(rng: np.random.Generator, spread_deg: float) -> np.ndarray:
    """Rotation ``(3, 3)`` from space to (across, position, up) of a tilted stack of sections."""
    about_x, about_z = np.radians(rng.normal(0.0, spread_deg, 2))
    cx, sx, cz, sz = np.cos(about_x), np.sin(about_x), np.cos(about_z), np.sin(about_z)
    return np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]) @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])


def _turned(hemisphere: PhantomHemisphere, rotation: np.ndarray) -> PhantomHemisphere:
    """The hemisphere as the knife sees it: sections are coronal there."""
    if np.array_equal(rotation, np.eye(3)):
        return hemisphere
    surfaces = hemisphere.surfaces
    pial, white = (Mesh(mesh.vertices @ rotation.T, mesh.faces) for mesh in (surfaces.pial, surfaces.white))
    return replace(hemisphere, surfaces=Hemisphere(surfaces.name, pial, white, surfaces.inflated, surfaces.sphere))


def _section_seed(seed: int, y_mm: float) -> int:
    """A section's own seed, from the individual and the position to a micrometre."""
    return zlib.crc32(f"{seed}:{round(1000 * y_mm)}".encode())
