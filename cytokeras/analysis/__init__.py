"""Judging results: scores against annotations, borders along the cortex, a report page."""

from __future__ import annotations

from cytokeras.analysis.borders import CorticalBorders, borders_png, cortical_borders
from cytokeras.analysis.evaluation import Evaluation, evaluate, labels_on_grid
from cytokeras.analysis.report import ReportSection, write_html

__all__ = [
    "CorticalBorders",
    "Evaluation",
    "ReportSection",
    "borders_png",
    "cortical_borders",
    "evaluate",
    "labels_on_grid",
    "write_html",
]
