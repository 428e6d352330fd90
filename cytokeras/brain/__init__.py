"""Brains: section images, their planes in space, annotations, surfaces and the probabilistic atlas."""

from __future__ import annotations

from cytokeras.brain.atlas import Atlas
from cytokeras.brain.brain import Brain
from cytokeras.brain.check_brain import check_brain
from cytokeras.brain.labels import (
    UNLABELLED,
    VISUAL_AREAS,
    VISUAL_SCHEME,
    ImageLabels,
    LabelScheme,
    PolygonLabels,
    SectionLabels,
)
from cytokeras.brain.section import Section, SectionPlane
from cytokeras.brain.section_images import ArrayImage, SectionImage, TileCache, tile_cache, write_section_tiff

__all__ = [
    "UNLABELLED",
    "VISUAL_AREAS",
    "VISUAL_SCHEME",
    "ArrayImage",
    "Atlas",
    "Brain",
    "ImageLabels",
    "LabelScheme",
    "PolygonLabels",
    "Section",
    "SectionImage",
    "SectionLabels",
    "SectionPlane",
    "TileCache",
    "check_brain",
    "tile_cache",
    "write_section_tiff",
]
