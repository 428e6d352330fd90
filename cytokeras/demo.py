"""The demonstration: a synthetic section segmented, and the whole method in miniature."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cytokeras.analysis import Evaluation, ReportSection, evaluate, labels_on_grid, write_html
from cytokeras.brain import VISUAL_AREAS, Brain, Section
from cytokeras.hub import describe_preset
from cytokeras.inference import Segmentation, overlay_png, segment_section, write_label_tiff
from cytokeras.phantom import PhantomBrain

SYNTHETIC_NOTE = (
    "Everything shown is synthetic: a phantom section drawn on real folding from published cell counts. It shows "
    "that the software works, not how well it maps a brain."
)

PIXEL_SIZE_UM = 16.0
DEMO_SEED = 9
"""The individual of the demo; the bundled weights were trained on others."""
DEMO_SECTION_MM = -88.0

MINIATURE_SEED = 0
"""The individual whose sections the bundled network was pre-trained on without labels: the case of a brain of which a
few sections are annotated. On an individual it had never seen, its few hours of training gave no advantage."""
MINIATURE_SECTIONS_MM = tuple(-100.0 + 1.2 * number for number in (2, 5, 8, 11, 14, 16, 18, 20, 22, 25, 29, 34))
"""Twelve sections of one hemisphere; by the phantom's rule the seventh is held out, as it was from pre-training."""
MINIATURE_START = "siamese-phantom-16um"
"""240 steps from random weights left held-out distances no better than guessed; these had two hours."""
MINIATURE_INPUT = (258, 258, 1)
MINIATURE_ANNOTATED = (2, 4, 7, 9)
"""Sections whose labels the miniature may use: experts annotate few."""


def run(out: Path, *, preset: str, progress: bool = True) -> Evaluation:
    """Segment a held-out section from a brain folder with a preset and write labels, picture and page.

    Args:
        out: Existing folder for the results.
        preset: Name of an ``AtlasUNet`` preset.
        progress: Show progress on standard error.

    Returns:
        The scores against the truth.
    """
    from cytokeras.models import AtlasUNet

    started = time.monotonic()
    brain = _brain_folder(
        out / "phantom-brain",
        lambda: PhantomBrain(DEMO_SEED, PIXEL_SIZE_UM, [DEMO_SECTION_MM], ["left"], "easy"),
        progress,
    )
    section = brain.sections[0]
    unet = AtlasUNet.from_pretrained(preset)
    result = segment_section(unet, section, atlas=brain.atlas, progress=progress)
    evaluation = evaluate(result, section, scheme=brain.labels)
    print(f"\nSynthetic section {section.id}, y = {section.plane.origin[1]:.0f} mm, weights {preset}\n")
    print(evaluation.table())
    facts = {"preset": str(describe_preset(preset)), "prior": "phantom atlas, 1 mm, ten other individuals"}
    _write_results(out, brain, section, {preset: result}, {preset: evaluation}, facts)
    print(f"\n{SYNTHETIC_NOTE}\nThat took {time.monotonic() - started:.0f} s.")
    return evaluation


def run_training(out: Path, *, progress: bool = True) -> dict[str, Evaluation]:
    """Run the whole method in miniature: pre-train, transfer, fine-tune, segment; and again from random weights.

    Pre-training goes on from bundled weights. The U-Net of random weights sees the same annotated patches in the same
    order.

    Args:
        out: Existing folder for the results.
        progress: Show progress.

    Returns:
        Scores on the held-out section, ``"transferred"`` and ``"random initialisation"``.
    """
    import keras

    from cytokeras.models import AtlasUNet, SiameseDistanceNet, transfer_weights
    from cytokeras.training import distance_scores, finetune, finetuning_recipe, pretrain, pretraining_recipe

    started = time.monotonic()
    verbose = 2 if progress else 0
    brain = _brain_folder(
        out / "phantom-brain-train",
        lambda: PhantomBrain(MINIATURE_SEED, PIXEL_SIZE_UM, MINIATURE_SECTIONS_MM, ["left"], "easy"),
        progress,
    )
    held_out = next(section for section in brain.sections if section.split == "test")
    annotated = Brain(
        brain.name,
        brain.space,
        brain.labels,
        [brain.sections[index] for index in MINIATURE_ANNOTATED],
        brain.surfaces,
        brain.atlas,
        brain.synthetic,
    )
    pretraining, finetuning = pretraining_recipe("demo"), finetuning_recipe("demo")

    print(
        f"\n1. Pre-training without labels: {pretraining.pairs} pairs of patches of this brain, going on from "
        f"{MINIATURE_START}, which learned on sections of the same synthetic individual"
    )
    keras.utils.set_random_seed(0)
    net = SiameseDistanceNet.from_pretrained(MINIATURE_START)
    pretrain(net, brain, pretraining, verbose=verbose)
    print(f"   held-out sections: {distance_scores(net, brain, patches=300, pairs=600)}")

    evaluations, results = {}, {}
    for number, name in enumerate(("transferred", "random initialisation"), start=2):
        print(f"\n{number}. Fine-tuning on {len(annotated.sections)} annotated sections, {name}")
        keras.utils.set_random_seed(1)
        unet = AtlasUNet(
            len(brain.labels),
            MINIATURE_INPUT,
            len(VISUAL_AREAS),
            pixel_size_um=PIXEL_SIZE_UM,
            widths=net.get_config()["widths"],
            class_names=brain.labels.names,
        )
        if name == "transferred":
            transfer_weights(net, unet)
        finetune(unet, annotated, finetuning, verbose=verbose)
        results[name] = segment_section(unet, held_out, atlas=brain.atlas, progress=progress)
        evaluations[name] = evaluate(results[name], held_out, scheme=brain.labels)
    print("\nHeld-out synthetic section " + held_out.id)
    for name, evaluation in evaluations.items():
        print(
            f"  {name:<22} macro Dice over areas {evaluation.dice_areas:.3f}, "
            f"mean pixel distance error {evaluation.pixel_distance.mean_mm:.3f} mm"
        )
    facts = {
        "pre-training": _facts_of(pretraining.as_dict()),
        "fine-tuning": _facts_of(finetuning.as_dict()),
        "prior": "phantom atlas, 1 mm, ten other individuals",
    }
    _write_results(out, brain, held_out, results, evaluations, facts)
    print(f"\n{SYNTHETIC_NOTE}\nThat took {(time.monotonic() - started) / 60:.1f} min.")
    return evaluations


def _brain_folder(folder: Path, draw: Callable[[], PhantomBrain], progress: bool) -> Brain:
    """Open the brain in ``folder``, drawing and saving it first where it is not there."""
    if not (folder / "brain.json").exists():
        if progress:
            print(f"Drawing a synthetic brain into {folder}")
        draw().save(folder, progress=progress)
    return Brain.open(folder)


def _write_results(
    out: Path,
    brain: Brain,
    section: Section,
    results: dict[str, Segmentation],
    evaluations: dict[str, Evaluation],
    facts: dict[str, Any],
) -> None:
    result = next(iter(results.values()))
    truth = labels_on_grid(section, result.grid)
    write_label_tiff(out / "labels.ome.tif", result, scheme=brain.labels)
    overlay_png(section, result, brain.labels, out / "overlay.png", truth=truth)
    write_html(
        out / "report.html",
        [ReportSection(section.id, section, results, truth)],
        scheme=brain.labels,
        title="cytokeras demo: a synthetic section and its area map",
        synthetic=True,
        evaluations=evaluations,
        facts=facts,
        text=SYNTHETIC_NOTE,
    )
    print()
    for name, what in (
        ("labels.ome.tif", "label image, µm in its metadata"),
        ("overlay.png", "section, truth and prediction"),
        ("report.html", "the same with the scores, for a browser"),
    ):
        print(f"  {out / name}  ({what})")


def _facts_of(recipe: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in recipe.items() if value not in (None, {}))
