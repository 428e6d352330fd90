"""Segment every section of a brain and look at the first result.

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
    section = next((section for section in brain.sections if section.labels is not None), None)
    if section is not None:
        result = ck.segment_section(unet, section, atlas=brain.atlas)
        print(ck.evaluate(result, section, scheme=brain.labels).table())


def phantom_folder(folder: Path) -> Path:
    """Draw a synthetic brain once."""
    if not (folder / "brain.json").exists():
        ck.PhantomBrain(9, 16.0, [-88.0, -68.0], ["left"], level="easy").save(folder)
    return folder


if __name__ == "__main__":
    main()
