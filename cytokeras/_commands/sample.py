"""``cytokeras sample``: patch centres and pairs as tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytokeras._files import create_folder


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sample = commands.add_parser(
        "sample",
        help="draw patch centres and pairs with their distance along the cortex",
        description="Draw places in the centre of the cortex and pairs of them, measure the distance of each pair "
        "along the surface, and write both as tables: FOLDER/locations.csv and FOLDER/pairs.csv. Places that are "
        "there already are kept, so that an interrupted command goes on with the pairs.",
    )
    sample.add_argument("brain", type=Path, help="folder with brain.json and sections.csv")
    sample.add_argument("--patches", type=int, required=True, help="number of places")
    sample.add_argument("--pairs", type=int, required=True, help="number of pairs, at least half as many")
    sample.add_argument("--out", type=Path, required=True, help="folder for the two tables")
    sample.add_argument("--split", choices=("train", "test"), default="train", help="sections used (%(default)s)")
    sample.add_argument("--seed", type=int, default=0, help="equal seeds give equal tables (%(default)s)")
    sample.add_argument("--workers", type=int, help="threads; default: one a core")
    sample.add_argument("--quiet", action="store_true", help="show no progress")
    sample.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    import numpy as np

    from cytokeras.brain import Brain
    from cytokeras.sampling import write_samples

    brain = Brain.open(arguments.brain)
    pairs = write_samples(
        brain,
        create_folder(arguments.out),
        patches=arguments.patches,
        pairs=arguments.pairs,
        split=arguments.split,
        seed=arguments.seed,
        workers=arguments.workers,
        progress=not arguments.quiet,
    )
    distance = pairs.distance_mm
    print(f"places  {arguments.out / 'locations.csv'}  ({len(pairs.locations)} on {arguments.split} sections)")
    print(
        f"pairs   {arguments.out / 'pairs.csv'}  ({len(pairs)}; distance along the cortex {distance.min():.1f} to "
        f"{distance.max():.1f} mm, median {np.median(distance):.1f} mm)"
    )
