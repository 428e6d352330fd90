"""Segment every section of a brain and compare the maps with its annotation.

python examples/segment_brain.py runs/maps                             # two sections of a synthetic brain
python examples/segment_brain.py runs/maps --brain my-brain --preset runs/unet/preset
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cytokeras as ck


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the maps; what is there already is kept")
    parser.add_argument("--brain", type=Path, help="brain folder; default: a synthetic brain is drawn beside the maps")
    parser.add_argument("--preset", default="atlas-unet-phantom-16um", help="AtlasUNet preset (%(default)s)")
    arguments = parser.parse_args()

    brain = ck.Brain.open(arguments.brain or phantom_folder(arguments.out.parent / "phantom-9"))
    unet = ck.AtlasUNet.from_pretrained(arguments.preset)
    ck.segment_brain(unet, brain, output=arguments.out)
    if any(section.labels is not None for section in brain.sections):
        print(ck.analysis.evaluate_brain(arguments.out, brain).table())


def phantom_folder(folder: Path) -> Path:
    """Draw a synthetic brain once."""
    if not (folder / "brain.json").exists():
        ck.PhantomBrain(9, 16.0, [-88.0, -68.0], ["left"], level="easy").save(folder)
    return folder


if __name__ == "__main__":
    main()
