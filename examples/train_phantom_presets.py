"""Train the bundled presets: pre-train on one synthetic brain, fine-tune on others, score on yet another.

    python examples/train_phantom_presets.py --out runs/phantom          # about 2 hours on two cores
    cp -r runs/phantom/presets/* weights/

Pre-training has two stages: the first learns mostly places (alpha 10), the closing one distances as well. Fine-tuning
starts from the first, which gave better areas (macro Dice 0.66 and 0.57 on the two test sections, from the closing
stage 0.51 and 0.40; one run each). A stage whose preset exists already is not run again. Each preset gets its golden
pair (``golden=True``), which ``cytokeras info FOLDER --check`` compares. All data are synthetic.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import cytokeras as ck
from cytokeras.brain.labels import VISUAL_SCHEME
from cytokeras.training import distance_scores, finetune, finetuning_recipe, pretrain, pretraining_recipe

PIXEL_SIZE_UM = 16.0
WIDTHS = (8, 16, 32, 32, 64, 64)
UNET_INPUT = (258, 258, 1)
SIAMESE, UNET = "siamese-phantom-16um", "atlas-unet-phantom-16um"
PRETRAINING_SEED, ANNOTATED_SEEDS, TEST_SEED = 0, (1, 2), 9
TEST_SECTIONS_MM = (-88.0, -68.0)
LICENCE = "Apache-2.0"
FIRST_STAGE = "the network trained with the recipe adam-cosine on patches of the same brain"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    arguments = parser.parse_args()
    presets = arguments.out / "presets"
    presets.mkdir(parents=True, exist_ok=True)
    first_stage = arguments.out / "first-stage" / SIAMESE
    if not first_stage.exists():
        train_siamese(first_stage, "adam-cosine")
    if not (presets / SIAMESE).exists():
        train_siamese(presets / SIAMESE, "adam-cosine-closing", first_stage)
    if not (presets / UNET).exists():
        train_unet(presets / UNET, first_stage, "adam-cosine", arguments.out / "brains")


def train_siamese(folder: Path, recipe_name: str, first_stage: Path | None = None) -> None:
    """Pre-train on the unlabelled sections of one phantom and keep the result if it learned distances."""
    keras.utils.set_random_seed(0)
    recipe = pretraining_recipe(recipe_name)
    brain = ck.PhantomBrain(PRETRAINING_SEED, PIXEL_SIZE_UM, level="easy")
    if first_stage is None:
        net = ck.SiameseDistanceNet(
            (132, 132, 1),
            pixel_size_um=PIXEL_SIZE_UM,
            widths=WIDTHS,
            weight_decay=recipe.weight_decay,
            output_scale_mm=recipe.output_scale_mm,
            auxiliary=recipe.auxiliary,
        )
    else:
        net = ck.SiameseDistanceNet.from_pretrained(first_stage)
    pretrain(net, brain, recipe, seed=0 if first_stage is None else 1, verbose=2)
    scores = distance_scores(net, brain)
    print(scores)
    if scores.collapsed:
        raise SystemExit("The siamese network collapsed; nothing is saved.")
    net.save_pretrained(
        folder,
        golden=True,
        metadata={
            "description": "Texture encoder of 16 µm/px patches, pre-trained on synthetic sections to predict the "
            "distance of two patches along the cortex and the place of each on the inflated surface.",
            "license": LICENCE,
            "data": {
                "description": f"Synthetic: PhantomBrain(seed={PRETRAINING_SEED}), {len(brain.sections)} coronal "
                "sections, every 12th held out; no labels used.",
                "license": LICENCE,
                "synthetic": True,
            },
            "recipe": recipe.as_dict() if first_stage is None else {**recipe.as_dict(), "started_from": FIRST_STAGE},
            "scores": scores.as_dict(),
            **commit(),
        },
    )


def train_unet(folder: Path, siamese: Path, recipe_name: str, brains: Path) -> None:
    """Start from the siamese network, fine-tune on annotated phantoms, score on one that was never seen."""
    keras.utils.set_random_seed(0)
    recipe = finetuning_recipe(recipe_name)
    annotated = [
        saved_brain(brains, seed, np.arange(-97.0 + 3.0 * number, -44.0, 9.0))
        for number, seed in enumerate(ANNOTATED_SEEDS)
    ]
    unet = ck.AtlasUNet(
        16,
        UNET_INPUT,
        13,
        pixel_size_um=PIXEL_SIZE_UM,
        widths=WIDTHS,
        class_names=VISUAL_SCHEME.names,
        weight_decay=recipe.weight_decay,
    )
    print(ck.transfer_weights(ck.SiameseDistanceNet.from_pretrained(siamese), unet))
    finetune(unet, annotated, recipe, verbose=2)
    test = saved_brain(brains, TEST_SEED, TEST_SECTIONS_MM, hemispheres=["left"])
    scores = {}
    for section in test.sections:
        result = ck.evaluate(ck.segment_section(unet, section, atlas=test.atlas), section, scheme=test.labels)
        print(section.id, result.table())
        y_mm = section.plane.origin[1]
        scores[f"macro Dice over areas, section at y = {y_mm:.0f} mm"] = result.dice_areas
        scores[f"mean pixel distance error (mm), section at y = {y_mm:.0f} mm"] = result.pixel_distance.mean_mm
    sections = sum(len(brain.sections) for brain in annotated)
    unet.save_pretrained(
        folder,
        golden=True,
        metadata={
            "description": "Segmentation of 16 µm/px sections into 13 visual areas, other cortex, white matter and "
            "background, trained on synthetic sections.",
            "license": LICENCE,
            "source_preset": f"{SIAMESE} after its first stage",
            "data": {
                "description": f"Synthetic: PhantomBrain seeds {ANNOTATED_SEEDS}, {sections} fully labelled coronal "
                f"sections; scored on the left hemisphere of PhantomBrain(seed={TEST_SEED}), which training never "
                "saw. All phantoms share one folding, so an unseen individual is easier here than in reality.",
                "license": LICENCE,
                "synthetic": True,
            },
            "recipe": recipe.as_dict(),
            "scores": scores,
            **commit(),
        },
    )


def saved_brain(
    folder: Path, seed: int, sections_mm: Sequence[float] | np.ndarray, hemispheres: Sequence[str] = ("left", "right")
) -> ck.Brain:
    """A phantom written to disk once, as a user's brain would lie there."""
    place = folder / f"phantom-{seed}"
    if not (place / "brain.json").exists():
        ck.PhantomBrain(seed, PIXEL_SIZE_UM, sections_mm, hemispheres, "easy").save(place)
    return ck.Brain.open(place)


def commit() -> dict[str, str]:
    """The commit that trains, where this is a git checkout."""
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return {"commit": result.stdout.strip()} if result.returncode == 0 else {}


if __name__ == "__main__":
    main()
