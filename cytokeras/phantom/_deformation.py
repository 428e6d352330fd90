"""How one individual's brain differs in shape from the average's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_WAVES = 10
_WAVELENGTHS_MM = (35.0, 110.0)
_LARGEST_STRAIN = 0.5  # of one step: below 1 it cannot fold space over


@dataclass(frozen=True)
class Deformation:
    """A smooth one-to-one map of space: a size per axis, then steps along a sum of waves.

    A step moves a point by less than the distance between two points changes (its strain stays below one half), so no
    two points meet, and surfaces that did not cross do not cross afterwards.

    Attributes:
        size: ``(3,)`` factor per axis.
        moves: ``(K, 3)`` mm, the displacement of each wave in one step.
        waves: ``(K, 3)`` radians per mm.
        phases: ``(K,)``.
        steps: Number of steps.
    """

    size: np.ndarray
    moves: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    steps: int

    @classmethod
    def random(cls, rng: np.random.Generator, displacement_mm: float, size_spread: float) -> Deformation:
        """Draw a deformation.

        Args:
            rng: Source of randomness.
            displacement_mm: Root mean square length of the displacement.
            size_spread: Standard deviation of the log of the size along each axis.
        """
        size = np.exp(rng.normal(0.0, size_spread, 3))
        waves = rng.normal(size=(_WAVES, 3))
        lengths = np.exp(rng.uniform(np.log(_WAVELENGTHS_MM[0]), np.log(_WAVELENGTHS_MM[1]), (_WAVES, 1)))
        waves *= 2 * np.pi / lengths / np.linalg.norm(waves, axis=1, keepdims=True)
        moves = rng.normal(size=(_WAVES, 3)) * lengths  # long waves are large ones
        moves *= displacement_mm / np.sqrt((moves**2).sum() / 2)
        strain = (np.linalg.norm(moves, axis=1) * np.linalg.norm(waves, axis=1)).sum()
        steps = max(1, int(np.ceil(strain / _LARGEST_STRAIN)))
        return cls(size, moves / steps, waves, rng.uniform(0, 2 * np.pi, _WAVES), steps)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points ``(N, 3)`` mm."""
        moved = points * self.size
        for _ in range(self.steps):
            moved = moved + np.cos(moved @ self.waves.T + self.phases) @ self.moves
        return moved
