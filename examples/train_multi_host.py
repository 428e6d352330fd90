"""Train on several hosts at once: every host runs this program, JAX sums the gradients.

    sbatch examples/train_multi_host.slurm my-brain                                    # a cluster with Slurm
    KERAS_BACKEND=jax python examples/train_multi_host.py                              # one host, a synthetic brain
    KERAS_BACKEND=jax python examples/train_multi_host.py my-brain --task finetune --start-from runs/multi-host/siamese

Without Slurm start it on every host with ``--coordinator HOST0:1234 --processes N --process I``. The batch is that of
all hosts together and each reads its share of the patches alone; with the same batch the loss is that of one host.
Process 0 writes the log and, at the end, the weights.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

import cytokeras as ck
from cytokeras.training import (
    FinetuningRecipe,
    PretrainingRecipe,
    StopOnDivergence,
    finetuning_recipe,
    join_hosts,
    pretraining_recipe,
    training_scope,
)


def main() -> None:
    arguments = parse_arguments()
    process = joined(arguments)
    keras.utils.set_random_seed(arguments.seed)  # every process draws the same initial weights
    brain = ck.Brain.open(arguments.brain) if arguments.brain else ck.PhantomBrain(0, arguments.pixel_size_um)
    log = []
    if process == 0:
        arguments.out.mkdir(parents=True, exist_ok=True)
        log = [keras.callbacks.CSVLogger(arguments.out / "log.csv", append=True)]
    train = {"pretrain": pretrain, "finetune": finetune}[arguments.task]
    with training_scope("all", arguments.precision):
        model = train(brain, arguments, callbacks=[StopOnDivergence(), *log], verbose=2 if process == 0 else 0)
    if process == 0:
        print(model.save_pretrained(arguments.out / {"pretrain": "siamese", "finetune": "atlas-unet"}[arguments.task]))


def pretrain(brain: ck.Brain, arguments: argparse.Namespace, **fit: Any) -> keras.Model:
    """Self-supervised training on patch pairs."""
    recipe = overridden(pretraining_recipe(arguments.recipe), arguments)
    input_shape = ck.SiameseDistanceNet.input_shape_for(arguments.pixel_size_um)
    net = ck.SiameseDistanceNet(
        input_shape,
        pixel_size_um=arguments.pixel_size_um,
        widths=arguments.widths,
        weight_decay=recipe.weight_decay,
        output_scale_mm=recipe.output_scale_mm,
    )
    net.compile(
        recipe.build_optimizer(),
        **ck.siamese_losses(recipe.alpha, recipe.output_scale_mm, distance_weight=recipe.distance_weight),
    )
    locations = ck.sample_cortex(brain, recipe.patches, seed=arguments.seed, split="train")
    pairs = ck.sample_pairs(brain, locations, recipe.pairs, seed=arguments.seed)
    dataset = ck.pair_dataset(
        brain, pairs, input_shape[0], recipe.batch_size, seed=arguments.seed, shard="auto", form="keras"
    )
    net.fit(dataset, epochs=recipe.epochs, shuffle=False, **fit)
    return net


def finetune(brain: ck.Brain, arguments: argparse.Namespace, **fit: Any) -> keras.Model:
    """Supervised training on the annotated sections, phase after phase."""
    recipe = overridden(finetuning_recipe(arguments.recipe), arguments)
    unet = ck.AtlasUNet(
        len(brain.labels.names),
        ck.AtlasUNet.input_shape_for(arguments.pixel_size_um),
        len(brain.atlas.names),
        pixel_size_um=arguments.pixel_size_um,
        widths=arguments.widths,
        weight_decay=recipe.weight_decay,
        class_names=brain.labels.names,
    )
    if arguments.start_from:
        print(ck.transfer_weights(ck.SiameseDistanceNet.from_pretrained(arguments.start_from), unet))
    for number, phase in enumerate(recipe.phases):
        model = unet if phase.with_atlas else unet.without_atlas()
        model.compile(recipe.build_optimizer(phase), loss=ck.MaskedCategoricalCrossentropy())
        dataset = ck.segmentation_dataset(
            brain,
            model,
            recipe.batch_size,
            steps_per_epoch=phase.iterations // arguments.reports,
            seed=arguments.seed + number,
            with_atlas=phase.with_atlas,
            shard="auto",
            form="keras",
        )
        model.fit(dataset, epochs=arguments.reports, shuffle=False, **fit)
    return unet


def joined(arguments: argparse.Namespace) -> int:
    """The number of this process, after the others were found, where there are others."""
    started_by_slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1
    if arguments.coordinator or started_by_slurm or "KERAS_DISTRIBUTION_JOB_ADDRESSES" in os.environ:
        return join_hosts(arguments.coordinator, arguments.processes, arguments.process)
    return 0


def overridden(recipe: PretrainingRecipe | FinetuningRecipe, arguments: argparse.Namespace) -> Any:
    """The recipe with the numbers given on the command line."""
    given = {name: getattr(arguments, name) for name in ("patches", "pairs", "epochs", "batch_size", "clip_norm")}
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("brain", nargs="?", type=Path, help="brain folder; without one a synthetic brain is drawn")
    parser.add_argument("--task", choices=["pretrain", "finetune"], default="pretrain")
    parser.add_argument("--recipe", default="adam-cosine", help="a recipe of cytokeras.training (%(default)s)")
    parser.add_argument("--start-from", help="fine-tuning: preset or folder of a pre-trained SiameseDistanceNet")
    parser.add_argument("--pixel-size-um", type=float, default=16.0, help="of the sections (%(default)s)")
    parser.add_argument("--widths", type=int, nargs=6, default=(16, 32, 64, 64, 128, 128), help="channels of blocks")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="bfloat16 for GPUs from 2020 on")
    parser.add_argument("--out", type=Path, default=Path("runs/multi-host"), help="folder of the run (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reports", type=int, default=10, help="fine-tuning: log lines a phase (%(default)s)")
    numbers = parser.add_argument_group("numbers in place of the recipe's")
    for name in ("patches", "pairs", "epochs", "batch-size"):
        numbers.add_argument(f"--{name}", type=int)
    numbers.add_argument("--clip-norm", type=float)
    hosts = parser.add_argument_group("hosts (under Slurm they are found)")
    hosts.add_argument("--coordinator", help="host:port of process 0")
    hosts.add_argument("--processes", type=int, help="number of processes")
    hosts.add_argument("--process", type=int, help="number of this one")
    arguments = parser.parse_args()
    pretraining_only = [name for name in ("patches", "pairs", "epochs") if getattr(arguments, name) is not None]
    if arguments.task == "finetune" and pretraining_only:
        parser.error(f"--{pretraining_only[0]} is a number of pre-training")
    return arguments


if __name__ == "__main__":
    main()
