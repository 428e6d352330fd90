"""From section files to area maps and to features along the cortex."""

from __future__ import annotations

from cytokeras.inference.embed_cortex import CorticalEmbedding, embed_cortex
from cytokeras.inference.outputs import overlay_png, read_label_tiff, write_label_tiff
from cytokeras.inference.segment_section import segment_section
from cytokeras.inference.segmentation import Segmentation
from cytokeras.inference.tiling import OutputGrid, TilePlan, Window, plan_windows

__all__ = [
    "CorticalEmbedding",
    "OutputGrid",
    "Segmentation",
    "TilePlan",
    "Window",
    "embed_cortex",
    "overlay_png",
    "plan_windows",
    "read_label_tiff",
    "segment_section",
    "write_label_tiff",
]
