"""Tissue that lies shifted and slightly turned at a tear: the fields of a section move, and its labels with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cytokeras.phantom._light_kernels import TEAR
from cytokeras.phantom._section_fields import BACKGROUND, LATTICE_MM, OTHER_CORTEX, SectionFields
from cytokeras.phantom.levels import PhantomLevel

# Sizes are our choice after what sections show beside tears.
_RADIUS_MM = (2.5, 6.0)
_SHIFT_MM = (0.2, 0.6)
_LARGEST_TURN_DEG = 5.0
_LARGEST_SLANT_DEG = 60.0  # of the shift against the crack: pieces move away from it or along it
_STIFF = 1 / 3  # share of the radius inside which a piece is rigid
_EDGE_MM = (0.035, 0.06)  # half width of the frayed edges; as wide as the lattice, whose steps they cut off
_STEP_MM = 0.15
_FORWARD_STEPS = 30  # each brings the error to below nine tenths, the strain being smaller


@dataclass(frozen=True)
class Flap:
    """A piece of tissue torn off along a crack and hanging on beyond it; its shift fades to none at its rim.

    Points are ``(N, 2)`` (row, column) in mm.

    Attributes:
        centre: ``(2,)`` the middle of the crack.
        along: ``(2,)`` unit vector along the crack; the piece lies to its right, seen with rows going down.
        radius_mm: How far crack and shift reach.
        shift_mm: ``(2,)`` shift of the piece next to the crack.
        turn: Its turn about the centre in radians, from down to right.
        waves: ``(K, 3)`` mm, radians per mm and phase by which the crack wanders.
    """

    centre: np.ndarray
    along: np.ndarray
    radius_mm: float
    shift_mm: np.ndarray
    turn: float
    waves: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator, centre: np.ndarray) -> Flap:
        """Draw a piece at a place."""
        heading = rng.uniform(0, 2 * np.pi)
        along = np.array([np.sin(heading), np.cos(heading)])
        slant = np.radians(rng.uniform(-_LARGEST_SLANT_DEG, _LARGEST_SLANT_DEG))
        shift = rng.uniform(*_SHIFT_MM) * (np.cos(slant) * _across(along) + np.sin(slant) * along)
        turn = np.radians(rng.uniform(-_LARGEST_TURN_DEG, _LARGEST_TURN_DEG))
        lengths = np.array([3.0, 1.2, 0.5])
        waves = np.column_stack([0.04 * lengths, 2 * np.pi / lengths, rng.uniform(0, 2 * np.pi, 3)])
        return cls(centre, along, rng.uniform(*_RADIUS_MM), shift, turn, waves)

    def torn_off(self, points: np.ndarray) -> np.ndarray:
        """Whether points of the whole tissue lie on the piece's side of the crack, ``(N,)`` bool."""
        offset = points - self.centre
        return offset @ _across(self.along) > self._crack(offset @ self.along)

    def moved(self, points: np.ndarray) -> np.ndarray:
        """How much of the piece's shift and turn is left at places where it lies now, ``(N,)`` 0 … 1."""
        distance = np.linalg.norm(points - self.centre, axis=-1) / self.radius_mm
        return 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - _STIFF) / (1 - _STIFF), 0, 1))

    def origin(self, points: np.ndarray) -> np.ndarray:
        """Where what lies at places of the piece now came from, ``(N, 2)`` mm."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        rigid = self.centre + (points - self.centre - self.shift_mm) @ np.array([[cos, -sin], [sin, cos]])
        return points + self.moved(points)[..., None] * (rigid - points)

    def tears(self, rng: np.random.Generator) -> np.ndarray:
        """Frayed edges along both sides of the crack, ``(N, 7)`` as in ``random_damage``."""
        t = np.linspace(-self.radius_mm, self.radius_mm, int(np.ceil(2 * self.radius_mm / _STEP_MM)))
        still = self.centre + t[:, None] * self.along + self._crack(t)[:, None] * _across(self.along)
        gone = still
        for _ in range(_FORWARD_STEPS):
            gone = gone + still - self.origin(gone)
        edges = []
        for edge in (still, gone):
            width = rng.uniform(*_EDGE_MM, len(t) - 1) * np.sin(np.pi * (np.arange(len(t) - 1) + 0.5) / (len(t) - 1))
            ones = np.ones(len(width))
            edges.append(np.column_stack([TEAR * ones, edge[:-1], edge[1:], width, ones]))
        return np.concatenate(edges)

    def _crack(self, t: np.ndarray) -> np.ndarray:
        """Distance of the crack from its straight line in mm, at ``t`` mm along it."""
        amplitude, frequency, phase = self.waves.T
        return np.sin(t[..., None] * frequency + phase) @ amplitude


def _across(along: np.ndarray) -> np.ndarray:
    return np.array([along[1], -along[0]])


def random_flaps(rng: np.random.Generator, fields: SectionFields, level: PhantomLevel) -> list[tuple[Flap, np.ndarray]]:
    """Draw the displaced pieces of one section, in cortex, each with its tears."""
    cortex = np.flatnonzero(fields.labels[::8, ::8] >= OTHER_CORTEX)
    if not level.displaced or not len(cortex):  # as in random_damage
        return []
    places = np.unravel_index(rng.choice(cortex, rng.poisson(level.displaced)), fields.labels[::8, ::8].shape)
    flaps = [Flap.random(rng, 8 * LATTICE_MM * centre) for centre in np.column_stack(places)]
    return [(flap, flap.tears(rng)) for flap in flaps]


def displaced(fields: SectionFields, flaps: list[tuple[Flap, np.ndarray]]) -> SectionFields:
    """Move pieces of the tissue, one after the other.

    A place shows the piece if what lies there now came from beyond the crack, else the tissue that did not move, and
    glass where the piece left it empty.
    """
    if not flaps:
        return fields
    names = ("labels", "depth", "gradients", "texture", "neighbour", "share")
    arrays = {name: getattr(fields, name).copy() for name in names}
    arrays["angle"] = fields.angle.copy()
    if fields.columns.size:
        arrays["columns"] = fields.columns.copy()
    last = np.array(fields.labels.shape) - 1
    for flap, _ in flaps:
        first, end = (
            np.clip(np.rint((flap.centre + sign * flap.radius_mm) / LATTICE_MM).astype(int), 0, last) + (sign > 0)
            for sign in (-1, 1)
        )
        box = np.stack(np.meshgrid(*map(np.arange, first, end), indexing="ij"), axis=-1)
        origin = flap.origin(LATTICE_MM * box)
        shown = flap.torn_off(origin)
        empty = ~shown & flap.torn_off(LATTICE_MM * box)
        source = np.where(shown[..., None], np.clip(np.rint(origin / LATTICE_MM).astype(int), 0, last), box)
        at = (..., slice(first[0], end[0]), slice(first[1], end[1]))
        for name, array in arrays.items():
            glass = BACKGROUND if name == "labels" else 0
            moved = np.where(empty, glass, array[..., source[..., 0], source[..., 1]])
            if name == "angle":
                turn = np.where(shown, flap.turn * flap.moved(LATTICE_MM * box), 0.0)
                moved = (moved + np.rint(turn * (128 / np.pi)).astype(np.int16)).astype(np.uint8)
            array[at] = moved
    angle = arrays.pop("angle")
    return replace(fields, **arrays, moved_angle=angle, tears=np.concatenate([tears for _, tears in flaps]))
