"""The lines in which section planes cut the mid surfaces, as one long ribbon to draw from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytokeras._progress import progress
from cytokeras.errors import UserError
from cytokeras.sampling._selection import HEMISPHERE_NAMES
from cytokeras.surfaces.hemisphere import Hemisphere
from cytokeras.surfaces.mesh import PlaneSection
from cytokeras.surfaces.surface_points import SurfacePoints

if TYPE_CHECKING:
    from cytokeras.brain.brain import Brain

Floats = NDArray[np.float64]

MIN_THICKNESS_MM = 0.5  # thinner "cortex" is the medial wall; not stated in the paper


class Ribbons:
    """All allowed segments of the given sections, addressed by the length along them.

    Only the length of each section's line is kept, not its segments: the ribbon of 3,000 sections would fill
    gigabytes. Segments are cut again when places are drawn from them.
    """

    def __init__(self, brain: Brain, sections: list[int], max_obliqueness_deg: float, *, show: bool) -> None:
        self._brain = brain
        self._hemispheres = {
            index: brain.surfaces[name] for index, name in enumerate(HEMISPHERE_NAMES) if name in brain.surfaces
        }
        if not self._hemispheres:
            raise UserError(f"brain {brain.name!r}: it has no surfaces, from which places would be drawn.")
        self._largest_sine = float(np.sin(np.radians(max_obliqueness_deg)))
        self._parts = [(section, hemisphere) for section in sections for hemisphere in self._hemispheres]
        lengths = [
            float(self._segments(section, hemisphere).lengths_mm.sum())
            for section, hemisphere in progress(self._parts, "cutting surfaces", enabled=show)
        ]
        self._ends = np.cumsum(lengths)

    @property
    def total_mm(self) -> float:
        """Length of all allowed segments together, in mm."""
        return float(self._ends[-1])

    def places(self, along_mm: Floats) -> dict[str, NDArray[np.generic]]:
        """Return the columns of `CortexLocations` at ascending lengths, where allowed."""
        part_of = np.minimum(np.searchsorted(self._ends, along_mm, side="right"), len(self._ends) - 1)
        tables = [self._places_in_part(0, np.empty(0))]
        for part in np.unique(part_of):
            start = self._ends[part - 1] if part else 0.0
            tables.append(self._places_in_part(int(part), along_mm[part_of == part] - start))
        return {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}

    def _places_in_part(self, part: int, along_mm: Floats) -> dict[str, NDArray[np.generic]]:
        index, hemisphere_index = self._parts[part]
        section, hemisphere = self._brain.sections[index], self._hemispheres[hemisphere_index]
        points = _along(self._segments(index, hemisphere_index), along_mm)
        position = points.positions(hemisphere.mid)
        pixel = np.asarray(section.mm_to_pixel(position), np.float64).reshape(-1, 2)
        limits = np.array(section.image.shape[:2]) - 0.5
        inside = np.all((pixel >= -0.5) & (pixel < limits), axis=1)
        kept = inside & (points.interpolate(hemisphere.faces, hemisphere.thickness) >= MIN_THICKNESS_MM)
        points, position, pixel = points[kept], position[kept], pixel[kept]
        return {
            "section": np.full(len(points), index, np.int64),
            "row": pixel[:, 0],
            "column": pixel[:, 1],
            "hemisphere": np.full(len(points), hemisphere_index, np.int64),
            "face": points.faces,
            "barycentric": points.barycentric,
            "position_mm": position,
            "inflated_mm": points.interpolate(hemisphere.faces, hemisphere.inflated_common),
            "obliqueness_deg": np.degrees(np.arcsin(self._sine(index, hemisphere, points.faces))),
            "curvature_per_mm": points.interpolate(hemisphere.faces, hemisphere.mean_curvature),
        }

    def _sine(self, section: int, hemisphere: Hemisphere, faces: NDArray[np.int64]) -> Floats:
        """Sine of the angle between the normals of the faces and the section plane, 0 … 1."""
        normal = np.asarray(self._brain.sections[section].plane.normal, np.float64)
        return np.abs(hemisphere.mid.face_normals[faces] @ (normal / np.linalg.norm(normal))).clip(0, 1)

    def _segments(self, index: int, hemisphere_index: int) -> PlaneSection:
        """Return the segments on which an allowed place can lie."""
        section, hemisphere = self._brain.sections[index], self._hemispheres[hemisphere_index]
        cut = hemisphere.mid.plane_section(section.plane.origin, section.plane.normal)
        # thickness is linear along a segment, so its largest value is at an end
        thickness = hemisphere.thickness[hemisphere.faces[cut.faces]]
        thick = (cut.barycentric @ thickness[..., None]).max(axis=(1, 2)) >= MIN_THICKNESS_MM
        upright = self._sine(index, hemisphere, cut.faces) <= self._largest_sine
        pixels = np.asarray(section.mm_to_pixel(cut.points.reshape(-1, 3)), np.float64).reshape(-1, 2, 2)
        limits = np.array(section.image.shape[:2]) - 0.5
        near = np.all((pixels.max(axis=1) >= -0.5) & (pixels.min(axis=1) < limits), axis=1)
        kept = thick & upright & near
        return PlaneSection(cut.points[kept], cut.faces[kept], cut.barycentric[kept])


def _along(segments: PlaneSection, along_mm: Floats) -> SurfacePoints:
    """Return the points at the given lengths, counted through the segments one after the other."""
    if len(along_mm) == 0:
        return SurfacePoints(np.empty(0, np.int64), np.empty((0, 3)))
    lengths = segments.lengths_mm
    ends = np.cumsum(lengths)
    segment = np.minimum(np.searchsorted(ends, along_mm, side="right"), len(ends) - 1)
    share = ((along_mm - ends[segment]) / lengths[segment] + 1.0).clip(0, 1)[:, None]
    ends_of = segments.barycentric[segment]
    return SurfacePoints(segments.faces[segment], (1 - share) * ends_of[:, 0] + share * ends_of[:, 1])
