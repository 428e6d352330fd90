"""``cytokeras phantom``: synthetic brains as folders."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cytokeras._commands._defaults import positive_int
from cytokeras._files import create_folder, same_settings, write_json
from cytokeras.errors import UserError

_SETTINGS = ("pixel_size_um", "level", "annotation", "spacing_mm", "hemispheres")
_SETTINGS_FILE = "phantom.json"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    phantom = commands.add_parser(
        "phantom",
        help="draw synthetic brains and write them as brain folders",
        description="Draw synthetic brains on real folding and write OUT/phantom-SEED for each: sections (OME-TIFF), "
        "exact or partial labels, surfaces, atlas. Brains that are complete are kept, one that was "
        "interrupted goes on; nothing else is ever overwritten.",
    )
    phantom.add_argument("out", type=Path, help="folder that receives one brain folder an individual")
    phantom.add_argument("--brains", type=positive_int, default=1, help="number of individuals (%(default)s)")
    phantom.add_argument("--seed", type=int, default=0, help="the first individual; the others follow (%(default)s)")
    phantom.add_argument("--pixel-size-um", type=float, default=16.0, help="1 to 20 µm (%(default)s)")
    phantom.add_argument("--level", default="standard", help="easy, standard or hard (%(default)s)")
    phantom.add_argument("--annotation", default="full", help="full, partial or none (%(default)s)")
    phantom.add_argument("--spacing-mm", type=float, default=1.2, help="between sections (%(default)s)")
    phantom.add_argument("--hemispheres", nargs="+", choices=("left", "right"), default=["left", "right"])
    phantom.add_argument("--quiet", action="store_true", help="show no progress")
    phantom.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from cytokeras.phantom import PhantomBrain, section_positions

    settings = {name: getattr(arguments, name) for name in _SETTINGS}
    positions = section_positions(arguments.spacing_mm).tolist()

    def draw(seed: int) -> PhantomBrain:
        return PhantomBrain(
            seed, arguments.pixel_size_um, positions, arguments.hemispheres, arguments.level, arguments.annotation
        )

    draw(arguments.seed)  # what cannot be drawn is refused before anything is written
    _claim(create_folder(arguments.out), settings)
    for seed in range(arguments.seed, arguments.seed + arguments.brains):
        folder = arguments.out / f"phantom-{seed}"
        if (folder / "brain.json").exists():
            print(f"{folder}  (complete, kept)")
            continue
        brain = draw(seed)
        brain.save(folder, progress=not arguments.quiet)
        annotated = sum(section.labels is not None for section in brain.sections)
        print(
            f"{folder}  (synthetic, {arguments.level}; {len(brain.sections)} sections of {arguments.pixel_size_um:g} "
            f"µm/px, {annotated} annotated)"
        )


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Note what the folder's brains are drawn with; refuse a folder that holds anything else."""
    noted = out / _SETTINGS_FILE
    if same_settings(noted, settings, "its brains are drawn", "choose another folder"):
        return
    if any(out.iterdir()):
        raise UserError(f"{out}: is not empty and holds no {_SETTINGS_FILE}; choose another folder.")
    write_json(noted, settings)
