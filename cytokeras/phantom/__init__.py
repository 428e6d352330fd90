"""Synthetic brains on real anatomy, for tests, teaching and benchmarks."""

from __future__ import annotations

from cytokeras.phantom.phantom_brain import PhantomBrain, phantom_atlas

__all__ = ["PhantomBrain", "phantom_atlas"]
