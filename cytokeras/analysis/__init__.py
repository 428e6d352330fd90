"""Judging results: scores against annotations, borders along the cortex, a report page."""

from __future__ import annotations

from cytokeras.analysis.borders import CorticalBorders, borders_png, cortical_borders
from cytokeras.analysis.brain_evaluation import BrainEvaluation, evaluate_brain
from cytokeras.analysis.evaluation import Evaluation, evaluate, labels_on_grid
from cytokeras.analysis.report import ReportSection, write_html

__all__ = [
    "BrainEvaluation",
    "CorticalBorders",
    "Evaluation",
    "ReportSection",
    "borders_png",
    "cortical_borders",
    "evaluate",
    "evaluate_brain",
    "labels_on_grid",
    "write_html",
]
