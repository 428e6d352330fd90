"""``cytokeras presets``: the bundled weights."""

from __future__ import annotations

import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    presets = commands.add_parser("presets", help="list the bundled weights")
    presets.set_defaults(run=_run)


def _run(_arguments: argparse.Namespace) -> None:
    from cytokeras.hub import list_presets

    for preset in list_presets():
        print(preset)
