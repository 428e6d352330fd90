"""Which settings of fine-tuning learn fastest: the paper's against others, on the benchmark's brains.

    python benchmarks/finetuning_recipes.py --runs runs/protocol [--settings NAME ...] [--seeds 0 1]

The U-Net of the phantom benchmark, with atlas and from random weights, learns on three brains in two phases and is
scored on the fourth (see ``phantom_protocol.md``). Every setting has the same patches and the same number of steps; a
run whose result is there is not repeated, and an interrupted one goes on. Seven minutes a run on two cores.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from phantom_protocol import FIRST_AREA, VISUAL_SCHEME, by_network, score

from cytokeras._files import write_json
from cytokeras.errors import UserError
from cytokeras.training import FinetuningRecipe, finetuning_recipe

LEVEL, FOLD = "standard", 0
WITHOUT_ATLAS, WITH_ATLAS = 40, 160
"""Steps of the phases; the paper has 8,000 and 10,000."""

MODERN = {"clip_norm": 1.0, "atlas_rate_factor": 2.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "paper (SGD)": {"rates": (0.05, 0.025), "atlas_rate_factor": 10.0},
    "… ten times the rate, gradients clipped to norm 1": {
        "rates": (0.5, 0.25),
        "atlas_rate_factor": 10.0,
        "clip_norm": 1.0,
    },
    "Adam": {**MODERN, "rates": (3e-3, 3e-3), "optimizer": "adam"},
    "AdamW, decay 0.01, averaged weights": {
        **MODERN,
        "rates": (3e-3, 3e-3),
        "optimizer": "adamw",
        "decoupled_decay": 0.01,
        "ema_momentum": 0.95,
    },
    "LAMB": {**MODERN, "rates": (1e-2, 1e-2), "optimizer": "lamb"},
}
"""The rates of the two phases, the factor of the atlas branch, and what else is changed in the paper's recipe."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of brains and results")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    (arguments.runs / "results").mkdir(parents=True, exist_ok=True)
    print("| settings | seed | macro Dice over areas | accuracy in cortex |\n|---|---|---|---|", flush=True)
    for seed in arguments.seeds:
        for name in arguments.settings:
            number = list(SETTINGS).index(name)
            path = arguments.runs / "results" / f"finetuning-{number}-{seed}.json"
            if not path.exists():
                write_json(path, {"settings": name, **outcome(name, seed, arguments.runs)})
            print(f"| {name} | {seed} | {row_of(json.loads(path.read_text()))} |", flush=True)


def row_of(found: dict[str, Any]) -> str:
    if "stopped" in found:
        return f"– | stopped: {found['stopped']}"
    return f"{found['dice_areas']:.3f} | {found['accuracy']:.3f}"


def outcome(name: str, seed: int, runs: Path) -> dict[str, Any]:
    """Train once; the scores on the brain held out, or why training stopped."""
    run = runs / "training" / f"finetuning-{list(SETTINGS).index(name)}-{seed}"
    areas = len(VISUAL_SCHEME) - FIRST_AREA
    try:
        return score(
            partial(by_network, recipe=recipe_of(name), run=run, atlas_channels=areas, seed=seed), LEVEL, FOLD, runs
        )
    except UserError as error:
        return {"stopped": str(error).splitlines()[0]}


def recipe_of(name: str) -> FinetuningRecipe:
    """The paper's recipe with these settings, a fifth of its batch and few steps; rates warm up and fall."""
    fields = dict(SETTINGS[name])
    rates, factor = fields.pop("rates"), fields.pop("atlas_rate_factor")
    steps, factors = (WITHOUT_ATLAS, WITH_ATLAS), (1.0, factor)
    paper = finetuning_recipe("paper")
    phases = tuple(
        replace(phase, iterations=count, learning_rate=rate, atlas_rate_factor=faster, halve_at=None)
        for phase, count, rate, faster in zip(paper.phases, steps, rates, factors, strict=True)
    )
    return replace(paper, name="study", phases=phases, batch_size=8, **fields)


if __name__ == "__main__":
    main()
