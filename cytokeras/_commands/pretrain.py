"""``cytokeras pretrain``: the self-supervised training as one command."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytokeras._commands import _run_settings
from cytokeras._commands._defaults import prepare_training
from cytokeras.errors import UserError

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.models import SiameseDistanceNet
    from cytokeras.training import PretrainingRecipe


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    pretrain = commands.add_parser(
        "pretrain",
        help="train a Siamese network without labels on a brain",
        description="Train a Siamese network to predict distances along the cortex and places on the inflated surface, "
        "without labels. OUT receives config.json, log.csv, curves.png, events for TensorBoard, checkpoints and, at "
        "the end, the network as a preset. The same command goes on with a run that was stopped.",
    )
    pretrain.add_argument("brain", type=Path, help="folder with brain.json, sections.csv and surfaces")
    pretrain.add_argument("--from", dest="start", metavar="PRESET", help="start from these weights; default: random")
    _run_settings.add_run_arguments(pretrain, "adam-cosine")
    pretrain.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from cytokeras.brain import Brain

    arguments = _run_settings.parse_config(arguments)
    brain = Brain.open(arguments.brain)
    if not brain.surfaces:
        raise UserError(f"{arguments.brain}: has no surfaces; pre-training needs them for distances.")
    prepare_training()
    from cytokeras.training import pretraining_recipe, training_scope

    recipe = _run_settings.with_fields(pretraining_recipe(arguments.recipe), arguments.set)
    with training_scope(_run_settings.device_count(arguments.devices), arguments.precision):
        return _train(arguments, brain, recipe)


def _train(arguments: argparse.Namespace, brain: Brain, recipe: PretrainingRecipe) -> int:
    import keras

    from cytokeras.training import RunFolder, distance_scores, pretrain
    from cytokeras.training.pretraining import pretraining_settings, rate_search

    keras.utils.set_random_seed(arguments.seed)
    net, recipe = _network(arguments, brain, recipe)
    if arguments.find_rate:
        print(rate_search(net, brain, recipe, seed=arguments.seed))
        return 0
    has_test = any(section.split == "test" for section in brain.sections)
    common: dict[str, Any] = {"seed": arguments.seed, "interval": arguments.interval, "validate": has_test}
    settings = pretraining_settings(net, brain, recipe, **common)
    run = RunFolder(arguments.out, {**settings, "precision": arguments.precision, "from": arguments.start})
    if run.preset.exists():
        print(f"{run.preset}  (complete, kept)")
        return 0
    pretrain(net, brain, recipe, run=run, verbose=0 if arguments.quiet else "auto", **common)
    scores = distance_scores(net, brain) if has_test else None
    net.save_pretrained(run.preset, metadata=_metadata(brain, recipe, arguments.start, scores))
    print(f"preset  {run.preset}\ncurves  {run.curves}")
    if scores is None:
        print("No section has split test, so that nothing says how well it predicts; give some in sections.csv.")
        return 0
    print(f"held-out sections: {scores}")
    return int(scores.collapsed)


def _network(
    arguments: argparse.Namespace, brain: Brain, recipe: PretrainingRecipe
) -> tuple[SiameseDistanceNet, PretrainingRecipe]:
    """The network to begin with, and the recipe with the values that a preset has fixed."""
    from cytokeras.models import SiameseDistanceNet

    if arguments.start is not None:
        _run_settings.refuse_fixed(arguments, "widths", "patch_size")
        net = SiameseDistanceNet.from_pretrained(arguments.start)
        config = net.get_config()
        return net, replace(recipe, output_scale_mm=config["output_scale_mm"], weight_decay=config["weight_decay"])
    pixel_um = _run_settings.pixel_size_of(brain.sections)
    given: dict[str, Any] = {} if arguments.widths is None else {"widths": arguments.widths}
    net = SiameseDistanceNet(
        _run_settings.input_shape(SiameseDistanceNet, pixel_um, arguments.patch_size),
        pixel_size_um=pixel_um,
        weight_decay=recipe.weight_decay,
        output_scale_mm=recipe.output_scale_mm,
        auxiliary=tuple(recipe.auxiliary),
        **given,
    )
    return net, recipe


def _metadata(brain: Brain, recipe: PretrainingRecipe, start: str | None, scores: Any) -> dict[str, Any]:
    kind = "synthetic brain" if brain.synthetic else "brain"
    metadata: dict[str, Any] = {
        "description": "Texture encoder pre-trained to predict the distance of two patches along the cortex and the "
        "place of each on the inflated surface.",
        "data": {
            "description": f"Sections of split train of {kind} {brain.name!r}; no labels used.",
            "synthetic": brain.synthetic,
        },
        "recipe": recipe.as_dict(),
    }
    if start is not None:
        metadata["source_preset"] = start
    if scores is not None:
        metadata["scores"] = scores.as_dict()
    return metadata
