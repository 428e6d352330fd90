"""``cytokeras export``: a preset in the format of another program."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytokeras._commands._source import add_source, source_arguments

FORMATS = ("keras", "savedmodel", "onnx", "bioimageio")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser(
        "export",
        help="write a preset for other programs",
        description="Write a preset as a Keras file (.keras), a zipped TensorFlow SavedModel, ONNX, or a package of "
        "bioimage.io. The last two need pip install 'cytokeras[export]'.",
    )
    add_source(export)
    export.add_argument("--format", required=True, choices=FORMATS)
    export.add_argument("--out", type=Path, required=True, help="new file: *.keras, *.zip or *.onnx")
    export.add_argument("--author", action="append", default=[], help="author of the weights (bioimageio); repeatable")
    export.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from cytokeras.hub import export_preset

    print(
        export_preset(
            arguments.source, arguments.out, arguments.format, authors=arguments.author, **source_arguments(arguments)
        )
    )
