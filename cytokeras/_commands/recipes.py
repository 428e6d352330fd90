"""``cytokeras recipes``: how networks are trained, by name."""

from __future__ import annotations

import argparse
import json
from typing import Any

from cytokeras.errors import UserError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recipes = commands.add_parser(
        "recipes",
        help="list the training recipes, or print one",
        description="List the recipes of pretrain and finetune, or print one as YAML. Fields are changed with --set.",
    )
    recipes.add_argument("name", nargs="?", help="a recipe to print")
    recipes.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    import yaml

    from cytokeras.training import FINETUNING_RECIPES, PRETRAINING_RECIPES

    kinds: dict[str, dict[str, Any]] = {"pretrain": PRETRAINING_RECIPES, "finetune": FINETUNING_RECIPES}
    if arguments.name is None:
        for kind, table in kinds.items():
            for recipe in table.values():
                print(f"{kind:9} {recipe.name:22} {recipe.source}")
        return
    found = {kind: table[arguments.name] for kind, table in kinds.items() if arguments.name in table}
    if not found:
        names = ", ".join(dict.fromkeys(name for table in kinds.values() for name in table))
        raise UserError(f"No recipe is called {arguments.name!r}. There are: {names}.")
    for kind, recipe in found.items():
        print(f"# cytokeras {kind}")
        # Through JSON, because YAML has tags for Python's tuples.
        print(yaml.safe_dump(json.loads(json.dumps(recipe.as_dict())), sort_keys=False))
