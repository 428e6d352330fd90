"""Synthetic brains on real anatomy, for tests, teaching and benchmarks."""

from __future__ import annotations

from cytokeras.phantom.annotation import partly_annotated
from cytokeras.phantom.levels import LEVELS, PhantomLevel, phantom_level
from cytokeras.phantom.phantom_atlas import phantom_atlas
from cytokeras.phantom.phantom_brain import PhantomBrain, section_positions

__all__ = [
    "LEVELS",
    "PhantomBrain",
    "PhantomLevel",
    "partly_annotated",
    "phantom_atlas",
    "phantom_level",
    "section_positions",
]
