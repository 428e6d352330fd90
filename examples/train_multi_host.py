"""Train on several hosts at once: every host runs this program, JAX sums the gradients.

    sbatch examples/train_multi_host.slurm runs/siamese my-brain                       # a cluster with Slurm
    KERAS_BACKEND=jax python examples/train_multi_host.py runs/siamese                 # one host, a synthetic brain
    KERAS_BACKEND=jax python examples/train_multi_host.py runs/unet my-brain --task finetune --start runs/siamese/preset

Without Slurm start it on every host with ``--coordinator HOST0:1234 --processes N --process I``. The batch is that of
all hosts together and each reads its share of the patches alone; with the same batch the loss is that of one host.
Process 0 writes the run folder, which all hosts must see. Started again after it was stopped, it goes on.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

import cytokeras as ck
from cytokeras.training import finetune, finetuning_recipe, join_hosts, pretrain, pretraining_recipe, training_scope


def main() -> None:
    arguments = parse_arguments()
    process = joined(arguments)
    keras.utils.set_random_seed(arguments.seed)  # every process draws the same initial weights
    brain = ck.Brain.open(arguments.brain) if arguments.brain else ck.PhantomBrain(0, 16.0)
    train = {"pretrain": pretrained, "finetune": finetuned}[arguments.task]
    with training_scope("all", arguments.precision):
        model = train(
            brain,
            arguments,
            run=arguments.out,
            validate=any(section.split == "test" for section in brain.sections),
            seed=arguments.seed,
            interval=arguments.interval,
            form="keras",
            shard="auto",
            verbose=2 if process == 0 else 0,
        )
    if process == 0:
        print(model.save_pretrained(arguments.out / "preset"))


def pretrained(brain: ck.Brain, arguments: argparse.Namespace, **options: Any) -> keras.Model:
    """A siamese network after self-supervised training on patch pairs."""
    recipe = overridden(pretraining_recipe(arguments.recipe), arguments, "patches", "pairs", "epochs")
    pixel_size_um = brain.sections[0].pixel_size_um
    net = ck.SiameseDistanceNet(
        ck.SiameseDistanceNet.input_shape_for(pixel_size_um),
        pixel_size_um=pixel_size_um,
        widths=arguments.widths,
        weight_decay=recipe.weight_decay,
        output_scale_mm=recipe.output_scale_mm,
        auxiliary=tuple(recipe.auxiliary),
    )
    pretrain(net, brain, recipe, **options)
    return net


def finetuned(brain: ck.Brain, arguments: argparse.Namespace, **options: Any) -> keras.Model:
    """A segmentation network after supervised training on the annotated sections."""
    recipe = overridden(finetuning_recipe(arguments.recipe), arguments)
    pixel_size_um = brain.sections[0].pixel_size_um
    unet = ck.AtlasUNet(
        len(brain.labels),
        ck.AtlasUNet.input_shape_for(pixel_size_um),
        len(brain.atlas.names),
        pixel_size_um=pixel_size_um,
        widths=arguments.widths,
        weight_decay=recipe.weight_decay,
        class_names=brain.labels.names,
    )
    if arguments.start:
        print(ck.transfer_weights(ck.SiameseDistanceNet.from_pretrained(arguments.start), unet))
    finetune(unet, brain, recipe, **options)
    return unet


def joined(arguments: argparse.Namespace) -> int:
    """The number of this process, after the others were found, where there are others."""
    started_by_slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1
    if arguments.coordinator or started_by_slurm or "KERAS_DISTRIBUTION_JOB_ADDRESSES" in os.environ:
        return join_hosts(arguments.coordinator, arguments.processes, arguments.process)
    return 0


def overridden(recipe: Any, arguments: argparse.Namespace, *names: str) -> Any:
    """The recipe with the numbers given on the command line."""
    given = {name: getattr(arguments, name) for name in ("batch_size", "clip_norm", *names)}
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("brain", nargs="?", type=Path, help="brain folder; without one a synthetic brain is drawn")
    parser.add_argument("--task", choices=["pretrain", "finetune"], default="pretrain")
    parser.add_argument("--recipe", default="adam-cosine", help="see cytokeras recipes (%(default)s)")
    parser.add_argument("--start", help="fine-tuning: SiameseDistanceNet preset whose texture layers are transferred")
    parser.add_argument("--widths", type=int, nargs=6, default=(16, 32, 64, 64, 128, 128), help="channels of blocks")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="bfloat16 for GPUs from 2020 on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--interval", type=int, default=100, help="steps between two checkpoints (%(default)s)")
    numbers = parser.add_argument_group("numbers in place of the recipe's")
    for name in ("batch-size", "patches", "pairs", "epochs"):
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
