"""``cytokeras embed``: features of the cortex as a table."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytokeras._commands._defaults import DEFAULT_SIAMESE
from cytokeras._files import create_folder
from cytokeras.errors import UserError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    embed = commands.add_parser(
        "embed",
        help="describe the cortex in sections by the features of a Siamese network",
        description="Embed patches along the cortex, or all over the tissue, of the sections of a brain and write one "
        "table a section (CSV): position, nearest point of the surface, features and predicted coordinates. Sections "
        "whose table is there already are passed over.",
    )
    embed.add_argument("brain", type=Path, help="folder with brain.json and sections.csv")
    embed.add_argument("--section", action="append", metavar="ID", help="this section only; may be repeated")
    embed.add_argument("--preset", default=DEFAULT_SIAMESE, help="name, folder or Hub repository (%(default)s)")
    embed.add_argument("--places", choices=("ribbon", "tissue"), default="ribbon", help="where (%(default)s)")
    embed.add_argument("--step-mm", type=float, help="distance of patches; default: 0.2 in the ribbon, 1 in the tissue")
    embed.add_argument("--out", type=Path, default=Path("."), help="folder for the tables (current folder)")
    embed.add_argument("--quiet", action="store_true", help="show no progress")
    embed.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from cytokeras.brain import Brain
    from cytokeras.hub import describe_preset

    brain = Brain.open(arguments.brain)
    sections = [brain.section(id) for id in arguments.section or [section.id for section in brain.sections]]
    preset = describe_preset(arguments.preset)
    if preset.class_name != "SiameseDistanceNet":
        raise UserError(f"--preset {arguments.preset}: it is {preset.class_name}; features need a SiameseDistanceNet.")
    out = create_folder(arguments.out)

    from cytokeras.inference import embed_cortex
    from cytokeras.models import SiameseDistanceNet

    net = SiameseDistanceNet.from_pretrained(arguments.preset)
    failed = 0
    for section in sections:
        path = out / f"{section.id}-features.csv"
        if path.exists():
            print(f"there     {path}")
            continue
        try:
            table = embed_cortex(
                net,
                brain,
                section,
                places=arguments.places,
                step_mm=arguments.step_mm,
                progress=not arguments.quiet,
            )
        except UserError as error:
            if len(sections) == 1:
                raise
            failed += 1
            print(f"failed    {section.id}: {error}")
            continue
        table.to_csv(path)
        print(f"features  {path}  ({len(table)} places)")
    return int(bool(failed))
