"""``cytokeras check``: everything that is wrong with a brain folder."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser("check", help="list everything that is wrong with a brain folder")
    check.add_argument("folder", type=Path, help="folder with brain.json and sections.csv")
    check.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from cytokeras.brain import check_brain

    lines = check_brain(arguments.folder, progress=True)
    for line in lines:
        print(line)
    warnings = sum(line.startswith("warning: ") for line in lines)
    problems = len(lines) - warnings
    noted = f" ({warnings} warnings)" if warnings else ""
    print(f"{arguments.folder}: {f'{problems} problems' if problems else 'nothing is wrong'}{noted}")
    return int(bool(problems))
