"""``cytokeras evaluate``: scores of area maps against the annotations of a brain."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytokeras._files import create_folder
from cytokeras.errors import UserError

_FILES = ("evaluation.csv", "confusion.csv", "evaluation.png")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="score area maps against the annotations of a brain",
        description="Compare what 'cytokeras segment' wrote with the annotations of a brain folder: Dice, the pixel "
        "distance error in px and mm and after Yasnoff, and the confusion matrix, for every section and area and over "
        "all. Only annotated pixels count. Printed as a table; written are OUT/evaluation.csv, OUT/confusion.csv and a "
        "figure, OUT/evaluation.png.",
    )
    evaluate.add_argument("predictions", type=Path, help="folder with ID-labels.ome.tif, or the labels of one section")
    evaluate.add_argument("brain", type=Path, help="folder with brain.json and sections.csv")
    evaluate.add_argument("--section", action="append", metavar="ID", help="this section only; may be repeated")
    evaluate.add_argument("--out", type=Path, default=Path("."), help="folder for the results (current folder)")
    evaluate.add_argument("--overwrite", action="store_true", help="replace results that exist")
    evaluate.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from cytokeras.brain import Brain

    brain = Brain.open(arguments.brain)
    table, confusion, figure = (arguments.out / name for name in _FILES)
    for path in (table, confusion, figure):
        if path.exists() and not arguments.overwrite:
            raise UserError(f"{path}: exists already; choose another --out, or --overwrite it.")

    from cytokeras.analysis import evaluate_brain

    result = evaluate_brain(arguments.predictions, brain, sections=arguments.section)
    create_folder(arguments.out)
    result.to_csv(table)
    result.confusion_to_csv(confusion)
    result.to_png(figure)
    print(result.table())
    print()
    if result.missing:
        print(f"missing   {', '.join(result.missing)}  (annotated, but without labels, or without an annotated pixel)")
    print(f"scores    {table}")
    print(f"confusion {confusion}")
    print(f"figure    {figure}")
