"""``cytokeras download``: a preset onto this machine, for machines without internet."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytokeras._commands._source import add_source, source_arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    download = commands.add_parser(
        "download",
        help="download a preset, for use without internet",
        description="Download all files of a preset into the cache of the Hub, where from_pretrained finds them "
        "without internet, or with --out into a folder that can be carried anywhere. Every file is checked.",
    )
    add_source(download)
    download.add_argument("--out", type=Path, help="new folder for a copy of the preset")
    download.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from cytokeras.hub import download_preset

    print(download_preset(arguments.source, arguments.out, **source_arguments(arguments)))
