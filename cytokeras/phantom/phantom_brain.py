"""A synthetic brain with exact truth, drawn on demand through the interface of a brain on disk."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
from scipy import ndimage

from cytokeras.brain import Atlas, Brain, Section, SectionPlane
from cytokeras.brain.labels import UNLABELLED, VISUAL_AREAS, VISUAL_SCHEME
from cytokeras.errors import UserError
from cytokeras.phantom._section_fields import (
    BACKGROUND,
    LATTICE_MM,
    OTHER_CORTEX,
    SectionFields,
    section_extent,
    section_fields,
)
from cytokeras.phantom.anatomy import (
    PhantomHemisphere,
    areas_from_territory,
    phantom_hemisphere,
    phantom_territory,
)
from cytokeras.phantom.renderer import SectionRenderer
from cytokeras.surfaces import Hemisphere

SECTION_RANGE_MM = (-100.0, -42.0)
"""Default range of section positions (y, fsaverage space): it holds all 13 areas."""

HELD_OUT_EVERY = 12
"""One in twelve sections is held out (Spitzer et al. 2018, section 3.1)."""

_ATLAS_INDIVIDUALS = 10  # as many brains as a Julich-Brain map averages
_ATLAS_SEED = 1_000_000  # no individual of a user has a seed as large
_ATLAS_SHIFT_MM = 2.0  # error of bringing one brain to the common space, our choice
_ATLAS_BLUR_MM = 1.0
_ATLAS_STEPS = 5  # depths at which the ribbon is filled with surface points
_FIELDS_KEPT = 3  # one section's fields take up to 100 MB


class PhantomBrain(Brain):
    """A synthetic brain: coronal sections through fsaverage5, cells drawn layer by layer, exact labels.

    Everything about it is synthetic except the folding of the surfaces and the published layer tables it is drawn
    from. Individuals (seeds) differ in position and size of their areas, in the gradients inside areas, in cells
    and stain; they share one folding.

    Args:
        seed: The individual, 0 … 999,999.
        pixel_size_um: Width of a pixel in µm, 1 … 20.
        sections_mm: Positions y of the coronal sections in mm; by default every 1.2 mm of ``SECTION_RANGE_MM``.
        hemispheres: Which hemispheres the sections show.

    Raises:
        UserError: A value outside these ranges, a section that misses the brain, or nilearn is not installed.
    """

    def __init__(
        self,
        seed: int = 0,
        pixel_size_um: float = 8.0,
        sections_mm: Sequence[float] | None = None,
        hemispheres: Sequence[str] = ("left", "right"),
    ) -> None:
        if not 0 <= seed < _ATLAS_SEED:
            raise UserError(f"PhantomBrain: seed must be 0 … {_ATLAS_SEED - 1}. Received: seed={seed!r}")
        if not 1.0 <= pixel_size_um <= 20.0:
            raise UserError(f"PhantomBrain: pixel_size_um must be 1 … 20. Received: pixel_size_um={pixel_size_um!r}")
        positions = np.arange(*SECTION_RANGE_MM, 1.2) if sections_mm is None else np.asarray(sections_mm, float)
        self.seed = seed
        self._hemispheres = {name: phantom_hemisphere(name, seed) for name in hemispheres}
        source = _FieldSource(list(self._hemispheres.values()))
        super().__init__(
            name=f"phantom-{seed}",
            space="fsaverage",
            labels=VISUAL_SCHEME,
            sections=[self._section(i, float(y), pixel_size_um, source) for i, y in enumerate(positions)],
            surfaces={name: hemisphere.surfaces for name, hemisphere in self._hemispheres.items()},
            atlas=None,
            synthetic=True,
        )

    @cached_property
    def atlas(self) -> Atlas:
        """Probability of each of the 13 areas, 1 mm, from other individuals registered with error."""
        return phantom_atlas(tuple(self._hemispheres))

    def _section(self, index: int, y_mm: float, pixel_size_um: float, source: _FieldSource) -> Section:
        low, high = source.extent(y_mm)
        pixel_mm = pixel_size_um / 1000.0
        lattice_height = np.ceil((high[1] - low[1]) / LATTICE_MM).astype(int)
        top = float(low[1] + lattice_height * LATTICE_MM)
        image = PhantomImage(source, y_mm, pixel_size_um, _section_seed(self.seed, y_mm), low, high)
        plane = SectionPlane(
            affine=np.array([[0.0, pixel_mm, 0.0], [-pixel_mm, 0.0, 0.0]]),
            origin=np.array([low[0], y_mm, top]),
            axis_u=np.array([1.0, 0.0, 0.0]),
            axis_v=np.array([0.0, 0.0, 1.0]),
        )
        split = "test" if index % HELD_OUT_EVERY == HELD_OUT_EVERY // 2 else "train"
        return Section(f"phantom-{self.seed}-{index:04d}", image, plane, PhantomLabels(image), split)


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
        y_mm: float,
        pixel_size_um: float,
        seed: int,
        low: np.ndarray,
        high: np.ndarray,
    ) -> None:
        self._source = source
        self._y_mm = y_mm
        self._seed = seed
        self.pixel_size_um = pixel_size_um
        columns, rows = np.floor((high - low) * 1000.0 / pixel_size_um).astype(int) + 1
        self.shape = (int(rows), int(columns))

    @property
    def background(self) -> int:
        """Grey value of empty glass."""
        return self._renderer().background

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
        return self._renderer().render(row, column, height, width)

    def _renderer(self) -> SectionRenderer:
        return SectionRenderer(self.fields(), self.pixel_size_um, self._seed)


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

    def __init__(self, hemispheres: list[PhantomHemisphere]) -> None:
        self._hemispheres = hemispheres
        self.fields = lru_cache(maxsize=_FIELDS_KEPT)(self._cut)

    def extent(self, y_mm: float) -> tuple[np.ndarray, np.ndarray]:
        return section_extent(self._hemispheres, y_mm)

    def _cut(self, y_mm: float) -> SectionFields:
        return section_fields(self._hemispheres, y_mm)


def phantom_atlas(hemispheres: Sequence[str] = ("left", "right")) -> Atlas:
    """The probabilistic atlas of the phantom: area maps of ten other individuals, shifted, averaged, blurred.

    Returns:
        Synthetic probabilities, 1 mm voxels, 13 volumes in class order.
    """
    return _phantom_atlas(tuple(hemispheres))


@lru_cache(maxsize=2)
def _phantom_atlas(names: tuple[str, ...]) -> Atlas:
    surfaces = {name: phantom_hemisphere(name, _ATLAS_SEED).surfaces for name in names}
    points = np.concatenate([hemisphere.pial.vertices for hemisphere in surfaces.values()])
    points = points[points[:, 1] < SECTION_RANGE_MM[1] + 20.0]
    low = np.floor(points.min(axis=0)) - 4
    shape = tuple((np.ceil(points.max(axis=0)) + 4 - low).astype(int) + 1)
    area_sum = np.zeros((len(VISUAL_AREAS), *shape), np.float32)
    for individual in range(_ATLAS_INDIVIDUALS):
        rng = np.random.default_rng([_ATLAS_SEED, individual])
        tissue = np.zeros(shape, np.float32)
        areas = np.zeros_like(area_sum)
        for name, hemisphere in surfaces.items():
            labels = areas_from_territory(*phantom_territory(name, _ATLAS_SEED + individual), OTHER_CORTEX)
            _add_ribbon(tissue, areas, hemisphere, labels, low - rng.normal(0.0, _ATLAS_SHIFT_MM, 3))
        area_sum += areas / np.maximum(tissue, 1)
    blurred = ndimage.gaussian_filter(area_sum / _ATLAS_INDIVIDUALS, (0, *[_ATLAS_BLUR_MM] * 3))
    affine = np.eye(4)
    affine[:3, 3] = low
    return Atlas(np.ascontiguousarray(np.moveaxis(blurred, 0, -1)), affine, VISUAL_AREAS)


def _add_ribbon(
    tissue: np.ndarray, areas: np.ndarray, surfaces: Hemisphere, labels: np.ndarray, origin: np.ndarray
) -> None:
    """Count the ribbon's sample points, all and per area, in the 1 mm voxels they fall into."""
    corner = labels[surfaces.faces]
    label = np.where(corner[:, 1] == corner[:, 2], corner[:, 1], corner[:, 0])  # the majority of the corners
    for depth in (np.arange(_ATLAS_STEPS) + 0.5) / _ATLAS_STEPS:
        vertices = (1 - depth) * surfaces.pial.vertices + depth * surfaces.white.vertices
        voxel = np.rint(vertices[surfaces.faces].mean(axis=1) - origin).astype(int)
        inside = ((voxel >= 0) & (voxel < tissue.shape)).all(axis=1)
        x, y, z = voxel[inside].T
        np.add.at(tissue, (x, y, z), 1)
        visual = label[inside] > OTHER_CORTEX
        np.add.at(areas, (label[inside][visual] - OTHER_CORTEX - 1, x[visual], y[visual], z[visual]), 1)


def _section_seed(seed: int, y_mm: float) -> int:
    """A section's own seed, from the individual and the position to a micrometre."""
    return zlib.crc32(f"{seed}:{round(1000 * y_mm)}".encode())


assert BACKGROUND == 0, "arrays of labels start as glass"
