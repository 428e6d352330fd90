"""Pairs of places in the cortex with their distance along it: what the siamese network learns from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytokeras.errors import UserError
from cytokeras.sampling._degree_graph import power_law_degrees, random_simple_graph
from cytokeras.sampling._selection import HEMISPHERE_NAMES
from cytokeras.sampling._table import read_table, write_table
from cytokeras.sampling.cortex_locations import CortexLocations
from cytokeras.surfaces.geodesics import GeodesicSolver

if TYPE_CHECKING:
    from cytokeras.brain.brain import Brain

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CortexPairs:
    """A table of pairs of places within one hemisphere.

    Args:
        i: (P,) int64, row of the first place in ``locations``.
        j: (P,) int64, row of the second.
        distance_mm: (P,) float64, shortest distance along the mid surface (Spitzer et al. 2018, eq. 1).
        locations: The places.

    Raises:
        UserError: Columns of different length, or a row that ``locations`` does not have.
    """

    i: Ints
    j: Ints
    distance_mm: Floats
    locations: CortexLocations

    def __post_init__(self) -> None:
        for name, dtype in (("i", np.int64), ("j", np.int64), ("distance_mm", np.float64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
        if not self.i.shape == self.j.shape == self.distance_mm.shape == (len(self.i),):
            raise UserError(
                "CortexPairs: i, j and distance_mm must have the same length. "
                f"Received: {self.i.shape}, {self.j.shape}, {self.distance_mm.shape}"
            )
        for name, rows in (("i", self.i), ("j", self.j)):
            if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.locations):
                raise UserError(
                    f"CortexPairs: {name} must lie in 0 … {len(self.locations) - 1}. "
                    f"Received: {rows.min()} … {rows.max()}"
                )

    def __len__(self) -> int:
        return len(self.i)

    def __getitem__(self, index: slice | NDArray[np.generic]) -> CortexPairs:
        """Return the pairs at ``index`` (a slice, an index array or a mask) with all places."""
        return CortexPairs(self.i[index], self.j[index], self.distance_mm[index], self.locations)

    @property
    def coordinates_a(self) -> Floats:
        """Inflated coordinates of the first places, (P, 3) mm, right hemisphere mirrored (eq. 2)."""
        return self.locations.inflated_mm[self.i]

    @property
    def coordinates_b(self) -> Floats:
        """Inflated coordinates of the second places, (P, 3) mm, right hemisphere mirrored (eq. 2)."""
        return self.locations.inflated_mm[self.j]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the columns i, j, distance_mm; the places are written by ``locations.to_csv``."""
        write_table(path, {"i": self.i, "j": self.j, "distance_mm": self.distance_mm})

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], locations: CortexLocations) -> CortexPairs:
        """Read what `to_csv` wrote, for the same ``locations``.

        Raises:
            UserError: The file is missing or damaged, or names rows that ``locations`` does not have.
        """
        table = read_table(path, {"i": int, "j": int, "distance_mm": float})
        try:
            return cls(table["i"], table["j"], table["distance_mm"], locations)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error


def sample_pairs(
    brain: Brain,
    locations: CortexLocations,
    count: int,
    *,
    seed: int | np.random.Generator = 0,
    exponent: float = 2.48,
    workers: int | None = None,
    progress: bool = False,
) -> CortexPairs:
    """Draw pairs of places of the same hemisphere and measure their distance along the mid surface.

    Each place occurs at least once, no pair twice, and how often a place occurs follows a power law (Spitzer
    et al. 2018, section 2.2). The exponent is not stated in the paper: 2.48 is that of the zeta law whose
    mean is 2, as with 200k pairs of 200k patches. With another ratio of pairs to places the law with this
    exponent cannot hold exactly; places are then drawn again from it until the pairs add up.

    Args:
        brain: The brain that the places were drawn from.
        locations: N places.
        count: Number of pairs P, at least half the number of places of each hemisphere.
        seed: Seed or generator; equal seeds give equal pairs.
        exponent: Exponent of the zeta law of the degrees, above 1.
        workers: Threads that measure distances, see `GeodesicSolver.pair_distances`.
        progress: Show progress on standard error.

    Returns:
        ``count`` pairs in random order.

    Raises:
        UserError: Too few or too many pairs for this number of places, a hemisphere with a single place or
            without surfaces, or two places on parts of the surface that do not touch.
    """
    if exponent <= 1:
        raise UserError(f"sample_pairs: exponent must be above 1. Received: exponent={exponent}")
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(locations.hemisphere == index) for index in range(len(HEMISPHERE_NAMES))]
    shares = _shares([len(each) for each in members], count)
    ends = [np.empty((0, 2), np.int64)]
    distances = [np.empty(0)]
    for name, rows, share in zip(HEMISPHERE_NAMES, members, shares, strict=True):
        if len(rows) == 0:
            continue
        if name not in brain.surfaces:
            raise UserError(f"sample_pairs: brain {brain.name!r} lacks the {name} surfaces that places lie on.")
        degrees = power_law_degrees(len(rows), 2 * share, exponent, rng)
        pairs = rows[random_simple_graph(degrees, rng)]
        points = locations.surface_points
        solver = GeodesicSolver(brain.surfaces[name].mid)
        found = solver.pair_distances(points[pairs[:, 0]], points[pairs[:, 1]], workers=workers, progress=progress)
        if not np.all(np.isfinite(found)):
            raise UserError(
                f"sample_pairs: the {name} mid surface of brain {brain.name!r} has parts that do not touch, "
                f"and {int((~np.isfinite(found)).sum())} pairs lie on two; give surfaces in one piece."
            )
        ends.append(pairs)
        distances.append(found)
    order = rng.permutation(count)
    table = np.concatenate(ends)[order]
    return CortexPairs(table[:, 0], table[:, 1], np.concatenate(distances)[order], locations)


def _shares(sizes: list[int], count: int) -> list[int]:
    """Split ``count`` pairs over the hemispheres by their numbers of places, within what each can hold."""
    for name, size in zip(HEMISPHERE_NAMES, sizes, strict=True):
        if size == 1:
            raise UserError(f"sample_pairs: the {name} hemisphere has one place, which cannot be paired.")
    lowest = [-(-size // 2) for size in sizes]
    highest = [size * (size - 1) // 2 for size in sizes]
    if not sum(lowest) <= count <= sum(highest):
        raise UserError(
            f"sample_pairs: {' and '.join(map(str, sizes))} places (left, right) need {sum(lowest)} … "
            f"{sum(highest)} pairs, so that each occurs and no pair twice. Received: count={count}"
        )
    if sum(sizes) == 0:
        return [0, 0]
    left = round(count * sizes[0] / sum(sizes))
    left = min(max(left, lowest[0], count - highest[1]), highest[0], count - lowest[1])
    return [left, count - left]
