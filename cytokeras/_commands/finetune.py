"""``cytokeras finetune``: the supervised training as one command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytokeras._commands import _run_settings
from cytokeras._commands._defaults import prepare_training
from cytokeras.errors import UserError

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.models import AtlasUNet
    from cytokeras.training import FinetuningRecipe

_RANDOM = "random"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    finetune = commands.add_parser(
        "finetune",
        help="train a segmentation network on annotated brains",
        description="Train a segmentation network on the annotated sections of split train, first without and then "
        "with the atlas, as the recipe says. OUT receives config.json, log.csv, curves.png, events for TensorBoard, "
        "checkpoints and, at the end, the network as a preset. The same command goes on with a run that was stopped.",
    )
    finetune.add_argument("brains", type=Path, nargs="+", metavar="BRAIN", help="folders with labels and an atlas")
    finetune.add_argument(
        "--from",
        dest="start",
        metavar="PRESET",
        help="a SiameseDistanceNet, whose texture layers are transferred, an AtlasUNet to go on with, or 'random'",
    )
    finetune.add_argument("--no-atlas", action="store_true", help="build the network without atlas path")
    _run_settings.add_run_arguments(finetune, "adam-cosine")
    finetune.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from cytokeras.brain import Brain

    arguments = _run_settings.parse_config(arguments)
    if arguments.start is None:
        raise UserError(f"--from: give the preset to start from, or '{_RANDOM}' for random weights.")
    brains = [Brain.open(folder) for folder in arguments.brains]
    prepare_training()
    from cytokeras.training import finetuning_recipe, training_scope

    recipe = _run_settings.with_fields(finetuning_recipe(arguments.recipe), arguments.set)
    with training_scope(_run_settings.device_count(arguments.devices), arguments.precision):
        return _train(arguments, brains, recipe)


def _train(arguments: argparse.Namespace, brains: list[Brain], recipe: FinetuningRecipe) -> int:
    import keras

    from cytokeras.training import RunFolder, finetune
    from cytokeras.training.finetuning import finetuning_settings, rate_search

    keras.utils.set_random_seed(arguments.seed)
    unet = _network(arguments, brains, recipe)
    if arguments.find_rate:
        print(rate_search(unet, brains, recipe, seed=arguments.seed))
        return 0
    has_test = any(s.split == "test" and s.labels is not None for brain in brains for s in brain.sections)
    common: dict[str, Any] = {"seed": arguments.seed, "interval": arguments.interval, "validate": has_test}
    settings = finetuning_settings(unet, brains, recipe, **common)
    run = RunFolder(arguments.out, {**settings, "precision": arguments.precision, "from": arguments.start})
    if run.preset.exists():
        print(f"{run.preset}  (complete, kept)")
        return 0
    finetune(unet, brains, recipe, run=run, verbose=0 if arguments.quiet else "auto", **common)
    # Averaged weights come into the network after the last validation.
    scores = run.last_scores() if recipe.ema_momentum is None else {}
    unet.save_pretrained(run.preset, metadata=_metadata(brains, recipe, arguments.start, scores))
    print(f"preset  {run.preset}\ncurves  {run.curves}")
    for name, value in scores.items():
        print(f"{name}  {value:.4g}")
    return 0


def _network(arguments: argparse.Namespace, brains: list[Brain], recipe: FinetuningRecipe) -> AtlasUNet:
    from cytokeras.hub import describe_preset
    from cytokeras.models import AtlasUNet, SiameseDistanceNet, transfer_weights

    source = None
    if arguments.start != _RANDOM:
        _run_settings.refuse_fixed(arguments, "widths")
        if describe_preset(arguments.start).class_name == "AtlasUNet":
            _run_settings.refuse_fixed(arguments, "patch_size", "no_atlas")
            return AtlasUNet.from_pretrained(arguments.start, num_classes=len(brains[0].labels))
        source = SiameseDistanceNet.from_pretrained(arguments.start)
    pixel_um = source.pixel_size_um if source is not None else _run_settings.pixel_size_of(brains[0].sections)
    given: dict[str, Any] = {} if arguments.widths is None else {"widths": arguments.widths}
    if source is not None:
        given = {name: source.get_config()[name] for name in ("widths", "first_stride", "first_pool")}
    atlas = brains[0].atlas
    unet = AtlasUNet(
        len(brains[0].labels),
        _run_settings.input_shape(AtlasUNet, pixel_um, arguments.patch_size),
        0 if arguments.no_atlas or atlas is None else len(atlas.names),
        pixel_size_um=pixel_um,
        weight_decay=recipe.weight_decay,
        class_names=brains[0].labels.names,
        **given,
    )
    if source is not None:
        report = transfer_weights(source, unet)
        print(f"transferred from {arguments.start}: {str(report).splitlines()[-1]}")
    return unet


def _metadata(brains: list[Brain], recipe: FinetuningRecipe, start: str, scores: dict[str, float]) -> dict[str, Any]:
    synthetic = any(brain.synthetic for brain in brains)
    names = ", ".join(repr(brain.name) for brain in brains)
    metadata: dict[str, Any] = {
        "description": "Segmentation of sections into cytoarchitectonic areas.",
        "data": {
            "description": f"Annotated sections of split train of {'synthetic ' if synthetic else ''}{names}.",
            "synthetic": synthetic,
        },
        "recipe": recipe.as_dict(),
    }
    if start != _RANDOM:
        metadata["source_preset"] = start
    if scores:
        metadata["scores"] = scores
    return metadata
