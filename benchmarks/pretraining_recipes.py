"""Which settings of pre-training train reliably: over seeds and pixel sizes, from the paper's by one change at a time.

    python benchmarks/pretraining_recipes.py --runs runs/recipes [--settings NAME ...] [--seeds 0 1] [--steps 250]

Every run trains the siamese network (half the published widths) on the training sections of a synthetic brain and is
scored on its held-out sections, beside the best constant guess. Brains are drawn once into the runs folder; a run whose
result is there is not repeated, so the study can be interrupted. 250 steps take about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `cytokeras pretrain` does

import cytokeras as ck
from cytokeras._files import write_json
from cytokeras.errors import UserError
from cytokeras.training import PretrainingRecipe, distance_scores, pretrain, pretraining_recipe

BRAIN_SEED, LEVEL = 100, "standard"
WIDTHS = (8, 16, 32, 32, 64, 64)
BATCH = 32

SCALED = {"output_scale_mm": 50.0}
CLIPPED = {**SCALED, "clip_norm": 1.0}
WARMED = {**CLIPPED, "halve_every_epochs": None}
ADAM = {**WARMED, "optimizer": "adam", "learning_rate": 2e-3, "weight_decay": 1e-4}
SETTINGS: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper, targets / 50": SCALED,
    "… and gradients clipped to norm 1": CLIPPED,
    "… and warm-up, cosine": WARMED,
    "Adam 0.002 in its place": ADAM,
    "Adam, alpha 1": {**ADAM, "alpha": 1.0},
    "AdamW, decay 0.01, averaged weights": {
        **ADAM,
        "optimizer": "adamw",
        "weight_decay": 0.0,
        "decoupled_decay": 0.01,
        "ema_momentum": 0.95,
    },
    "LAMB 0.01": {**ADAM, "optimizer": "lamb", "learning_rate": 1e-2},
}
"""What is changed against the paper's recipe."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of brains and results")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--pixel-sizes", type=float, nargs="+", default=[16.0, 20.0])
    parser.add_argument("--steps", type=int, default=250, help="two passes over the pairs (%(default)s)")
    arguments = parser.parse_args()
    (arguments.runs / "results").mkdir(parents=True, exist_ok=True)
    print("| settings | steps | µm/px | seed | err_dist, mm (constant) | coordinates, mm (constant) | outcome |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for seed in arguments.seeds:
        for pixel_size_um in arguments.pixel_sizes:
            for name in arguments.settings:
                number = list(SETTINGS).index(name)
                path = arguments.runs / "results" / f"{number}-{arguments.steps}-{pixel_size_um:g}-{seed}.json"
                if not path.exists():
                    found = outcome(recipe_of(name, arguments.steps), pixel_size_um, seed, arguments.runs)
                    write_json(path, {"settings": name, **found})
                row = row_of(json.loads(path.read_text()))
                print(f"| {name} | {arguments.steps} | {pixel_size_um:g} | {seed} | {row} |", flush=True)


def row_of(found: dict[str, Any]) -> str:
    if "stopped" in found:
        return f"– | – | stopped: {found['stopped']}"
    pairs = ("err_dist_mm", "constant_guess_mm"), ("coordinate_error_mm", "constant_coordinate_mm")
    errors = " | ".join(f"{found[error]:.1f} ({found[constant]:.1f})" for error, constant in pairs)
    return f"{errors} | {'distances no better than the constant' if found['collapsed'] else 'trained'}"


def outcome(recipe: PretrainingRecipe, pixel_size_um: float, seed: int, runs: Path) -> dict[str, Any]:
    """Train once; the scores on held-out sections, or why training stopped."""
    import keras

    brain = drawn(pixel_size_um, runs / "brains")
    keras.utils.set_random_seed(seed)
    net = ck.SiameseDistanceNet(
        ck.SiameseDistanceNet.input_shape_for(pixel_size_um),
        pixel_size_um=pixel_size_um,
        widths=WIDTHS,
        weight_decay=recipe.weight_decay,
        output_scale_mm=recipe.output_scale_mm,
    )
    try:
        pretrain(net, brain, recipe, seed=seed, verbose=0)
    except UserError as error:
        return {"stopped": str(error).splitlines()[0]}
    scores = distance_scores(net, brain)
    return {
        "err_dist_mm": scores.err_dist_mm,
        "constant_guess_mm": scores.constant_guess_mm,
        "coordinate_error_mm": scores["coordinates"].error,
        "constant_coordinate_mm": scores["coordinates"].constant_guess,
        "collapsed": scores.collapsed,
    }


def recipe_of(name: str, steps: int) -> PretrainingRecipe:
    """The paper's recipe of the 20k ablation with these settings, shortened to so many steps."""
    pairs = steps * BATCH // 2
    shortened: dict[str, Any] = {"patches": pairs * 3 // 4, "pairs": pairs, "epochs": 2, "batch_size": BATCH}
    return replace(pretraining_recipe("paper-20k"), **shortened, **SETTINGS[name])


def drawn(pixel_size_um: float, folder: Path) -> ck.Brain:
    place = folder / f"{LEVEL}-{BRAIN_SEED}-{pixel_size_um:g}um"
    if not (place / "brain.json").exists():
        ck.PhantomBrain(BRAIN_SEED, pixel_size_um, hemispheres=["left"], level=LEVEL).save(place)
    return ck.Brain.open(place)


if __name__ == "__main__":
    main()
