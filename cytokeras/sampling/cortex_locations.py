"""Places in the centre of the cortex, on the sections of a brain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cytokeras.errors import UserError
from cytokeras.sampling._ribbon import Ribbons
from cytokeras.sampling._selection import select_sections
from cytokeras.sampling._table import read_table, write_table
from cytokeras.surfaces.surface_points import SurfacePoints

if TYPE_CHECKING:
    from cytokeras.brain.brain import Brain

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# columns of the CSV file, in order; a name ending in a position or axis is one column of an (N, 3) array
_COLUMNS: dict[str, tuple[str, ...]] = {
    "section": ("section",),
    "row": ("row_px",),
    "column": ("column_px",),
    "hemisphere": ("hemisphere",),
    "face": ("face",),
    "barycentric": ("barycentric_0", "barycentric_1", "barycentric_2"),
    "position_mm": ("position_x_mm", "position_y_mm", "position_z_mm"),
    "inflated_mm": ("inflated_x_mm", "inflated_y_mm", "inflated_z_mm"),
    "obliqueness_deg": ("obliqueness_deg",),
    "curvature_per_mm": ("curvature_per_mm",),
}
_INTEGERS = ("section", "hemisphere", "face")
_ROUNDS = 50  # each draws what is still missing; only absurdly small images reject that often


@dataclass(frozen=True, eq=False)
class CortexLocations:
    """A table of places in the centre of the cortex; each may become the centre of a patch.

    Args:
        section: (N,) int64, index into ``brain.sections``.
        row: (N,) float64, image row in pixels of the section (pixel centres are integers).
        column: (N,) float64, image column in pixels.
        hemisphere: (N,) int64, 0 left, 1 right.
        face: (N,) int64, face of the hemisphere's surfaces.
        barycentric: (N, 3) float64, weights in that face.
        position_mm: (N, 3) float64, place on the mid surface, (x, y, z) mm.
        inflated_mm: (N, 3) float64, place on the inflated surface in the frame shared by both hemispheres
            (right mirrored, see `Hemisphere.inflated_common`): the target of eq. 2 of Spitzer et al. 2018.
        obliqueness_deg: (N,) float64, angle between surface normal and section plane; 0: the section cuts the
            surface at a right angle, 90: it runs along the surface.
        curvature_per_mm: (N,) float64, mean curvature of the mid surface, positive on gyral crowns (see
            `Hemisphere.mean_curvature`); NaN at the rim of an open surface.

    Raises:
        UserError: Columns of different length, or a hemisphere other than 0 and 1.
    """

    section: Ints
    row: Floats
    column: Floats
    hemisphere: Ints
    face: Ints
    barycentric: Floats
    position_mm: Floats
    inflated_mm: Floats
    obliqueness_deg: Floats
    curvature_per_mm: Floats

    def __post_init__(self) -> None:
        count = len(self.section)
        for field in fields(self):
            dtype = np.int64 if field.name in _INTEGERS else np.float64
            array = np.asarray(getattr(self, field.name), dtype)
            shape = (count, 3) if len(_COLUMNS[field.name]) == 3 else (count,)
            if array.shape != shape:
                raise UserError(f"CortexLocations: {field.name} must have shape {shape}. Received: {array.shape}")
            object.__setattr__(self, field.name, array)
        if np.any((self.hemisphere != 0) & (self.hemisphere != 1)):
            raise UserError("CortexLocations: hemisphere must be 0 (left) or 1 (right).")

    def __len__(self) -> int:
        return len(self.section)

    def __getitem__(self, index: slice | Sequence[int] | NDArray[np.generic]) -> CortexLocations:
        """Return the rows at ``index`` (a slice, an index array or a mask)."""
        return CortexLocations(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @property
    def surface_points(self) -> SurfacePoints:
        """The places on the surfaces of their hemispheres."""
        return SurfacePoints(self.face, self.barycentric)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line a place; column names carry the unit, and `from_csv` gives back equal numbers."""
        columns: dict[str, NDArray[np.generic]] = {}
        for field, names in _COLUMNS.items():
            array = getattr(self, field)
            parts = array.T if len(names) == 3 else [array]
            columns.update(zip(names, parts, strict=True))
        write_table(path, columns)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> CortexLocations:
        """Read what `to_csv` wrote.

        Raises:
            UserError: The file is missing or damaged; names the file, the line and the column.
        """
        kinds = {n: int if field in _INTEGERS else float for field, names in _COLUMNS.items() for n in names}
        table = read_table(path, kinds)
        arrays: dict[str, Any] = {
            field: np.stack([table[n] for n in names], axis=1) if len(names) == 3 else table[names[0]]
            for field, names in _COLUMNS.items()
        }
        try:
            return cls(**arrays)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error


def sample_cortex(
    brain: Brain,
    count: int,
    *,
    seed: int | np.random.Generator = 0,
    split: Literal["train", "test"] | None = "train",
    sections: Sequence[int | str] | None = None,
    max_obliqueness_deg: float = 45.0,
    progress: bool = False,
) -> CortexLocations:
    """Draw places in the centre of the cortex, uniform along the cortical ribbon of the sections.

    The mid surface of each hemisphere is cut with the plane of each section; places are uniform over the
    length of these lines. Left out are places outside the image, where the cortex is thinner than 0.5 mm
    (the medial wall, where pial and white surface meet), and where the section cuts too obliquely
    (Spitzer et al. 2018, section 2.2: the cutting plane within 90° ± 45° of the surface). That places are
    drawn uniform over the length, and the 0.5 mm, are not stated in the paper.

    Args:
        brain: The brain, with at least one hemisphere's surfaces.
        count: Number of places.
        seed: Seed or generator; equal seeds give equal tables.
        split: Sections of this split only; None takes all.
        sections: Only these sections (indices or ids), of those in ``split``.
        max_obliqueness_deg: Largest angle between surface normal and section plane, 0 … 90.
        progress: Show progress on standard error.

    Returns:
        ``count`` places, ordered by section.

    Raises:
        UserError: The brain has no surfaces, ``count`` or the angle is out of range, no section is left, or
            nowhere on these sections is a place allowed.
    """
    if count < 0:
        raise UserError(f"sample_cortex: count must be 0 or more. Received: count={count}")
    if not 0 < max_obliqueness_deg <= 90:
        raise UserError(
            "sample_cortex: max_obliqueness_deg must lie in 0 … 90, above 0. "
            f"Received: max_obliqueness_deg={max_obliqueness_deg}"
        )
    rng = np.random.default_rng(seed)
    chosen = select_sections(brain, split, sections)
    ribbons = Ribbons(brain, chosen, max_obliqueness_deg, show=progress)
    if ribbons.total_mm <= 0:
        raise UserError(
            f"sample_cortex: brain {brain.name!r} has no allowed place on {len(chosen)} sections: the mid "
            "surface does not meet them inside their images, or everywhere at more than "
            f"{max_obliqueness_deg:g}° obliqueness; check that surfaces and section planes are in one space."
        )
    parts: list[dict[str, NDArray[np.generic]]] = [ribbons.places(np.empty(0))]
    missing = count
    for _ in range(_ROUNDS):
        if missing == 0:
            break
        parts.append(ribbons.places(np.sort(rng.uniform(0.0, ribbons.total_mm, missing))))
        missing -= len(parts[-1]["section"])
    if missing:
        raise UserError(
            f"sample_cortex: only {count - missing} of {count} places were found in {_ROUNDS} rounds; "
            "almost all of the cortex on these sections lies outside their images."
        )
    locations = CortexLocations(**{key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
    return locations[np.argsort(locations.section, kind="stable")]
