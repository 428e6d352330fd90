"""How a section is stained: what its batch has in common, and what is its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cytokeras.phantom.levels import PhantomLevel

SECTIONS_PER_BATCH = 20
"""Sections stained together: what one rack of slides holds (our choice; racks for slides hold 20 to 30)."""

SERIES_SPACING_MM = 0.3
"""Distance between the stained sections of a series: every 15th of 20 µm, as usual in cytoarchitectonic mapping.

A batch is therefore 6 mm of brain, whichever of its sections are drawn.
"""

_GLASS_GREY = 245.0
_WAVES = 3
_WAVE_MM = (8.0, 40.0)  # wavelengths of stain differences inside a section
# Spreads of (strength, contrast, paleness of neuropil), as multiples of a level's ``batch_spread``; our choice. An
# exponent acts on the pale tissue three times as strongly as on the cells, so it varies less.
_BATCH_SPREADS = (1.0, 0.5, 1.0)
_BATCH_SEED = 8


@dataclass(frozen=True)
class StainBatch:
    """What the staining of a batch of sections has in common.

    Attributes:
        strength: Factor on all optical densities.
        contrast: Exponent on optical density that leaves that of a mean cell as it is.
        neuropil: Factor on the optical density of tissue between the cells.
    """

    strength: float = 1.0
    contrast: float = 1.0
    neuropil: float = 1.0

    @classmethod
    def at(cls, y_mm: float, seed: int, level: PhantomLevel) -> StainBatch:
        """The batch of the section at ``y_mm`` of the individual ``seed``: half of it is the individual's."""
        if not level.batch_spread:
            return cls()
        individual = np.random.default_rng([seed, _BATCH_SEED])
        start, of_brain = individual.random(), individual.normal(size=3)
        batch = int(np.floor(y_mm / (SECTIONS_PER_BATCH * SERIES_SPACING_MM) + start))
        of_batch = np.random.default_rng([seed, _BATCH_SEED, batch & 0xFFFFFFFF]).normal(size=3)
        strength, contrast, neuropil = np.exp(level.batch_spread * np.multiply(_BATCH_SPREADS, of_brain + of_batch))
        return cls(float(strength), float(contrast), float(neuropil))


@dataclass(frozen=True)
class Stain:
    """Stain and light of one section.

    Attributes:
        strength: Factor on all optical densities.
        slope: Relative change of it per mm along (rows, columns).
        glass: Grey value of empty glass.
        waves: ``(K, 4)`` relative amplitude, phase, and radians per mm along (rows, columns).
        contrast: Exponent on optical density; above 1 pale things are paler against the cells.
    """

    strength: float
    slope: tuple[float, float]
    glass: float
    waves: np.ndarray
    contrast: float = 1.0

    @classmethod
    def random(cls, rng: np.random.Generator, level: PhantomLevel, batch: StainBatch) -> Stain:
        """Draw the stain of one section of a batch; the spreads are our choice."""
        slope = rng.normal(0.0, 0.0012, 2)
        strength = batch.strength * float(np.exp(rng.normal(0.0, level.stain_spread)))
        glass = _GLASS_GREY + rng.normal(0.0, 2.0)
        count = _WAVES if level.stain_wave else 0
        direction, phase = rng.uniform(0, 2 * np.pi, (2, count))
        frequency = 2 * np.pi / np.exp(rng.uniform(np.log(_WAVE_MM[0]), np.log(_WAVE_MM[1]), count))
        amplitude = np.full(count, level.stain_wave * np.sqrt(2 / max(count, 1)))
        waves = np.column_stack([amplitude, phase, frequency * np.cos(direction), frequency * np.sin(direction)])
        return cls(strength, (slope[0], slope[1]), glass, waves, batch.contrast)

    def factors(self, rows_mm: np.ndarray, columns_mm: np.ndarray) -> tuple[np.ndarray, ...]:
        """Parts of the factor on optical density for ``develop``; positions in mm from the section's middle."""
        amplitude, phase, down, right = self.waves.T[:, :, None]
        by_row, by_column = down * rows_mm + phase, right * columns_mm
        row_waves = self.strength * amplitude * np.stack([np.cos(by_row), np.sin(by_row)])
        column_waves = np.stack([np.cos(by_column), np.sin(by_column)])
        plain = self.strength * (1 + self.slope[0] * rows_mm), self.strength * self.slope[1] * columns_mm
        return (*plain, row_waves, column_waves)
