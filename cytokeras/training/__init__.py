"""Training: the paper's recipes and ours, schedules, an optimizer with a rate per branch, the two trainings."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cytokeras.training.accumulation import PerUpdate, accumulate_gradients
    from cytokeras.training.branch_rates import BranchRates
    from cytokeras.training.devices import join_hosts, training_scope
    from cytokeras.training.finetuning import finetune
    from cytokeras.training.guards import StopOnDivergence
    from cytokeras.training.learning_rate_search import LearningRateSearch, find_learning_rate
    from cytokeras.training.pretraining import pretrain
    from cytokeras.training.pretraining_scores import DistanceScores, TaskScore, distance_scores
    from cytokeras.training.recipes import (
        FINETUNING_RECIPES,
        PRETRAINING_RECIPES,
        FinetuningRecipe,
        Phase,
        PretrainingRecipe,
        finetuning_recipe,
        pretraining_recipe,
    )
    from cytokeras.training.resume import load_state, save_state
    from cytokeras.training.run_folder import RunFolder
    from cytokeras.training.schedules import halved_at, halved_every, warmup_cosine

_HOME = {
    "accumulation": ("PerUpdate", "accumulate_gradients"),
    "branch_rates": ("BranchRates",),
    "devices": ("join_hosts", "training_scope"),
    "finetuning": ("finetune",),
    "guards": ("StopOnDivergence",),
    "learning_rate_search": ("LearningRateSearch", "find_learning_rate"),
    "pretraining": ("pretrain",),
    "pretraining_scores": ("DistanceScores", "TaskScore", "distance_scores"),
    "recipes": (
        "FINETUNING_RECIPES",
        "PRETRAINING_RECIPES",
        "FinetuningRecipe",
        "Phase",
        "PretrainingRecipe",
        "finetuning_recipe",
        "pretraining_recipe",
    ),
    "resume": ("load_state", "save_state"),
    "run_folder": ("RunFolder",),
    "schedules": ("halved_at", "halved_every", "warmup_cosine"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "FINETUNING_RECIPES",
    "PRETRAINING_RECIPES",
    "BranchRates",
    "DistanceScores",
    "FinetuningRecipe",
    "LearningRateSearch",
    "PerUpdate",
    "Phase",
    "PretrainingRecipe",
    "RunFolder",
    "StopOnDivergence",
    "TaskScore",
    "accumulate_gradients",
    "distance_scores",
    "find_learning_rate",
    "finetune",
    "finetuning_recipe",
    "halved_at",
    "halved_every",
    "join_hosts",
    "load_state",
    "pretrain",
    "pretraining_recipe",
    "save_state",
    "training_scope",
    "warmup_cosine",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
