"""``cytokeras demo``: the demonstration, and the whole method in miniature."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytokeras._commands._defaults import DEFAULT_UNET, prepare_training
from cytokeras._files import create_folder


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="segment a synthetic section with bundled weights, or run the whole method in miniature",
        description="Draw a synthetic brain section that training never saw, segment it with the bundled weights and "
        "compare it with the truth. With --train: pre-train, transfer, fine-tune and segment in miniature, beside the "
        "same network from random weights.",
    )
    demo.add_argument("--out", type=Path, default=Path("cytokeras-demo"), help="folder for the results (%(default)s)")
    demo.add_argument("--train", action="store_true", help="run the whole method in miniature")
    demo.add_argument("--quiet", action="store_true", help="show no progress")
    demo.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.train:
        prepare_training()
    from cytokeras.demo import run, run_training

    create_folder(arguments.out)
    if arguments.train:
        run_training(arguments.out, progress=not arguments.quiet)
    else:
        run(arguments.out, preset=DEFAULT_UNET, progress=not arguments.quiet)
