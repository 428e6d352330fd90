"""The benchmark on synthetic brains; what is done and why stands in benchmarks/phantom_protocol.md.

    python benchmarks/phantom_protocol.py prior profiles --level standard --runs runs/protocol
    python benchmarks/phantom_protocol.py network --level standard --folds 0 --runs runs/protocol

Brains are drawn once into the runs folder; a result that is there already is not computed again, and an interrupted
training goes on.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `cytokeras finetune` does

import numpy as np
from _depth_profiles import ProfileClassifier, depth_profiles_at

import cytokeras as ck
from cytokeras._files import write_json
from cytokeras._scores import confusion_matrix, dice_scores
from cytokeras.brain import Brain, Section
from cytokeras.brain.labels import UNLABELLED, VISUAL_AREAS, VISUAL_SCHEME
from cytokeras.phantom import LEVELS, partly_annotated
from cytokeras.sampling import CortexLocations

if TYPE_CHECKING:
    from cytokeras.training import FinetuningRecipe

ANNOTATED_SEEDS = (101, 102, 103, 104)
UNLABELLED_SEED = 100
PIXEL_SIZE_UM = 16.0
SECTIONS_MM = tuple(float(y) for y in np.arange(-99.0, -44.0, 4.0))
PLACES = 6000
FIRST_AREA = VISUAL_SCHEME.index(VISUAL_AREAS[0])
TRAINING_STEPS = 5000
METHODS = ("prior", "profiles", "network")

Predictor = Callable[[list[Brain], Brain, CortexLocations], np.ndarray]
"""Classes of places of a brain that is held out, from the brains of training."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", choices=METHODS)
    parser.add_argument("--level", choices=list(LEVELS), default="standard")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(len(ANNOTATED_SEEDS))))
    parser.add_argument("--runs", type=Path, required=True, help="folder of brains and results")
    arguments = parser.parse_args()
    results = arguments.runs / "results"
    results.mkdir(parents=True, exist_ok=True)
    print("| method | level | brain held out | macro Dice over areas | accuracy in cortex |\n|---|---|---|---|---|")
    for method in arguments.methods:
        for fold in arguments.folds:
            path = results / f"{method}-{arguments.level}-{fold}.json"
            if not path.exists():
                predict = predictor(method, arguments.runs / "training" / f"{arguments.level}-{fold}")
                write_json(path, score(predict, arguments.level, fold, arguments.runs))
            scores = json.loads(path.read_text())
            dice, accuracy = scores["dice_areas"], scores["accuracy"]
            print(
                f"| {method} | {arguments.level} | {ANNOTATED_SEEDS[fold]} | {dice:.3f} | {accuracy:.3f} |", flush=True
            )


def predictor(method: str, run: Path) -> Predictor:
    """The baseline of that name; a training is kept in the folder ``run``."""
    if method != "network":
        return {"prior": by_prior, "profiles": by_profiles}[method]
    from cytokeras.training import FinetuningRecipe, Phase

    recipe = FinetuningRecipe(
        "protocol",
        "benchmarks/phantom_protocol.md",
        phases=(Phase(TRAINING_STEPS, 2.5e-3, with_atlas=False, halve_at=None),),
        batch_size=8,
        optimizer="adam",
        clip_norm=1.0,
    )
    return partial(by_network, recipe=recipe, run=run)


def score(predict: Predictor, level: str, fold: int, runs: Path) -> dict[str, object]:
    """Train on three brains, predict the fourth at places spread evenly over its cortex."""
    brains = [drawn(seed, level, runs / "brains") for seed in ANNOTATED_SEEDS]
    held_out = brains.pop(fold)
    training = [expert_view(brain) for brain in brains]
    places = ck.sample_cortex(held_out, PLACES, seed=0, split=None, max_obliqueness_deg=90.0)
    predicted = predict(training, without_labels(held_out), places)
    true = classes_at(held_out, places)
    kept = (true != UNLABELLED) & (true >= FIRST_AREA - 1)
    dice = dice_scores(confusion_matrix(true[kept], predicted[kept], len(VISUAL_SCHEME)))
    return {
        "dice_areas": macro_dice(true[kept], predicted[kept]),
        "accuracy": float((true == predicted)[kept].mean()),
        "dice": {name: None if np.isnan(d) else float(d) for name, d in zip(VISUAL_SCHEME.names, dice, strict=True)},
        "places": int(kept.sum()),
    }


def drawn(seed: int, level: str, folder: Path) -> Brain:
    """The brain with all its labels, drawn and saved where it is not there yet."""
    place = folder / f"{level}-{seed}"
    if not (place / "brain.json").exists():
        ck.PhantomBrain(seed, PIXEL_SIZE_UM, SECTIONS_MM, ["left"], level).save(place)
    return Brain.open(place)


def expert_view(brain: Brain) -> Brain:
    """The brain with the labels that training may see."""
    return with_sections(brain, [partly_annotated(section) for section in brain.sections if section.split == "train"])


def without_labels(brain: Brain) -> Brain:
    """The brain as a method sees it that has to predict its labels."""
    return with_sections(brain, [Section(s.id, s.image, s.plane, None, s.split) for s in brain.sections])


def with_sections(brain: Brain, sections: list[Section]) -> Brain:
    """The same brain with other sections."""
    return Brain(brain.name, brain.space, brain.labels, sections, brain.surfaces, brain.atlas, brain.synthetic)


def classes_at(brain: Brain, places: CortexLocations) -> np.ndarray:
    """Class at the pixel of each place; 255 where the brain is not annotated."""
    rows, columns = np.rint(places.row).astype(int), np.rint(places.column).astype(int)
    result = np.full(len(places), UNLABELLED, np.uint8)
    for index in np.unique(places.section):
        section, here = brain.sections[index], np.flatnonzero(places.section == index)
        if section.labels is not None:
            whole = section.labels.read(0, 0, *section.image.shape[:2])
            result[here] = whole[rows[here], columns[here]]
    return result


def by_prior(training: list[Brain], held_out: Brain, places: CortexLocations) -> np.ndarray:
    """The most probable area of the atlas; other cortex where all areas together are less probable than a limit.

    The limit is the one that gives the best macro Dice on the annotated places of the training brains.
    """
    priors, classes = [], []
    for brain, known, labels in known_places(training):
        priors.append(brain.atlas.sample(known.position_mm))
        classes.append(labels)
    prior, labels = np.concatenate(priors), np.concatenate(classes)
    limits = np.linspace(0.05, 0.95, 19)
    limit = max(limits, key=lambda limit: macro_dice(labels, most_probable(prior, limit)))
    return most_probable(held_out.atlas.sample(places.position_mm), limit)


def most_probable(prior: np.ndarray, limit: float) -> np.ndarray:
    """Class index of the most probable area, or of other cortex."""
    return FIRST_AREA + np.where(prior.sum(axis=1) > limit, prior.argmax(axis=1), -1)


def macro_dice(true: np.ndarray, predicted: np.ndarray) -> float:
    """Mean Dice of the areas that occur."""
    return float(np.nanmean(dice_scores(confusion_matrix(true, predicted, len(VISUAL_SCHEME)))[FIRST_AREA:]))


def known_places(training: list[Brain]) -> Iterator[tuple[Brain, CortexLocations, np.ndarray]]:
    """Places of the training brains that are annotated as cortex, with their classes."""
    for brain in training:
        places = ck.sample_cortex(brain, PLACES, seed=1, split=None, max_obliqueness_deg=90.0)
        labels = classes_at(brain, places)
        kept = (labels != UNLABELLED) & (labels >= FIRST_AREA - 1)
        yield brain, places[kept], labels[kept]


def by_profiles(training: list[Brain], held_out: Brain, places: CortexLocations) -> np.ndarray:
    """Linear discriminant analysis of depth profiles of staining, as observer-independent mapping compares them."""
    samples, classes = [], []
    for brain, known, labels in known_places(training):
        samples.append(depth_profiles_at(brain, known))
        classes.append(labels)
    classifier = ProfileClassifier(np.concatenate(samples), np.concatenate(classes))
    return classifier.predict(depth_profiles_at(held_out, places))


def by_network(
    training: list[Brain],
    held_out: Brain,
    places: CortexLocations,
    recipe: FinetuningRecipe,
    run: Path,
    atlas_channels: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """The U-Net from random weights; training is kept in the folder ``run``."""
    import keras

    from cytokeras.training import finetune

    keras.utils.set_random_seed(seed)
    unet = ck.AtlasUNet(
        len(VISUAL_SCHEME),
        (511, 511, 1),
        atlas_channels=atlas_channels,
        pixel_size_um=PIXEL_SIZE_UM,
        first_stride=2,  # cells of 32 µm: four times the cortex in a patch at the same price
        first_pool=False,
        widths=(8, 16, 32, 64, 64, 64),
        class_names=VISUAL_SCHEME.names,
    )
    finetune(unet, training, recipe, run=run, seed=seed, verbose=2)
    atlas = held_out.atlas if atlas_channels else None
    result = np.full(len(places), FIRST_AREA - 1)
    for index in np.unique(places.section):
        here = np.flatnonzero(places.section == index)
        segmentation = ck.segment_section(unet, held_out.sections[index], atlas=atlas, progress=False)
        pixels = np.column_stack([places.row[here], places.column[here]])
        rows, columns = np.rint(segmentation.grid.to_cell(pixels)).astype(int).T
        height, width = segmentation.labels.shape
        result[here] = np.asarray(segmentation.labels)[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return result


if __name__ == "__main__":
    main()
