"""Where training patches come from: places in the cortex, pairs of them, annotated centres."""

from __future__ import annotations

from cytokeras.sampling.cortex_locations import CortexLocations, sample_cortex
from cytokeras.sampling.labelled_centres import Centres, LabelledCentres
from cytokeras.sampling.pairs import CortexPairs, sample_pairs
from cytokeras.sampling.sample_tables import write_samples

__all__ = [
    "Centres",
    "CortexLocations",
    "CortexPairs",
    "LabelledCentres",
    "sample_cortex",
    "sample_pairs",
    "write_samples",
]
