"""Pre-train a Siamese network on the unlabelled sections of a brain.

    python examples/pretrain_siamese.py runs/siamese                       # a synthetic brain
    python examples/pretrain_siamese.py runs/siamese --brain my-brain --recipe paper

Started again after it was stopped, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import keras

import cytokeras as ck
from cytokeras.phantom import section_positions
from cytokeras.training import distance_scores, pretrain, pretraining_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("--brain", type=Path, help="brain folder; default: a synthetic brain is drawn beside the run")
    parser.add_argument("--recipe", default="adam-cosine", help="see cytokeras recipes (%(default)s)")
    parser.add_argument("--pairs", type=int, help="pairs of the recipe; fewer for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    brain = ck.Brain.open(arguments.brain or phantom_folder(arguments.out.parent / "phantom-0"))
    recipe = pretraining_recipe(arguments.recipe)
    if arguments.pairs:
        recipe = replace(recipe, pairs=arguments.pairs, patches=min(recipe.patches, arguments.pairs))

    keras.utils.set_random_seed(arguments.seed)
    pixel_size_um = brain.sections[0].pixel_size_um
    net = ck.SiameseDistanceNet(
        ck.SiameseDistanceNet.input_shape_for(pixel_size_um),
        pixel_size_um=pixel_size_um,
        weight_decay=recipe.weight_decay,
        output_scale_mm=recipe.output_scale_mm,
        auxiliary=tuple(recipe.auxiliary),
    )
    pretrain(net, brain, recipe, run=arguments.out, validate=True, seed=arguments.seed)
    print(distance_scores(net, brain))
    net.save_pretrained(arguments.out / "preset", metadata={"recipe": recipe.as_dict()})


def phantom_folder(folder: Path) -> Path:
    """Draw a synthetic brain once: one hemisphere, every fourth millimetre."""
    if not (folder / "brain.json").exists():
        ck.PhantomBrain(0, 16.0, section_positions(4.0), ["left"], level="standard").save(folder)
    return folder


if __name__ == "__main__":
    main()
