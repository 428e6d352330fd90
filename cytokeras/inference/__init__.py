"""From section files to area maps and to features along the cortex."""

from __future__ import annotations

from cytokeras.inference.brain_maps import label_volume, vertex_labels, write_label_volume, write_surface_labels
from cytokeras.inference.embed_cortex import CorticalEmbedding, embed_cortex
from cytokeras.inference.outlines import write_outlines
from cytokeras.inference.outputs import (
    overlay_png,
    read_label_tiff,
    write_label_tiff,
    write_probability_tiff,
    write_uncertainty_tiff,
)
from cytokeras.inference.segment_brain import BrainSegmentation, segment_brain
from cytokeras.inference.segment_section import segment_section
from cytokeras.inference.segmentation import Segmentation
from cytokeras.inference.tiling import OutputGrid, TilePlan, Window, plan_windows

__all__ = [
    "BrainSegmentation",
    "CorticalEmbedding",
    "OutputGrid",
    "Segmentation",
    "TilePlan",
    "Window",
    "embed_cortex",
    "label_volume",
    "overlay_png",
    "plan_windows",
    "read_label_tiff",
    "segment_brain",
    "segment_section",
    "vertex_labels",
    "write_label_tiff",
    "write_label_volume",
    "write_outlines",
    "write_probability_tiff",
    "write_surface_labels",
    "write_uncertainty_tiff",
]
