"""Move the texture branch of a Siamese network into an atlas U-Net and train that on annotated sections.

    python examples/transfer_and_finetune.py runs/unet                     # two synthetic brains
    python examples/transfer_and_finetune.py runs/unet --brains B20 B21 B22 --start runs/siamese/preset --recipe paper

Plain Keras is all that ``finetune`` uses: ``compile`` with a loss and metrics of cytokeras, ``fit`` on the batches of
``segmentation_dataset``; your own script can do the same. Started again after it was stopped, it goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np

import cytokeras as ck
from cytokeras.training import finetune, finetuning_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("--brains", type=Path, nargs="+", help="annotated brain folders with an atlas")
    parser.add_argument("--start", default="siamese-phantom-16um", help="SiameseDistanceNet preset (%(default)s)")
    parser.add_argument("--recipe", default="adam-cosine", help="see cytokeras recipes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    folders = arguments.brains or [phantom_folder(arguments.out.parent, seed) for seed in (1, 2)]
    brains = [ck.Brain.open(folder) for folder in folders]
    net = ck.SiameseDistanceNet.from_pretrained(arguments.start)

    keras.utils.set_random_seed(arguments.seed)
    unet = ck.AtlasUNet(
        num_classes=len(brains[0].labels),
        input_shape=ck.AtlasUNet.input_shape_for(net.pixel_size_um),
        atlas_channels=len(brains[0].atlas.names),
        pixel_size_um=net.pixel_size_um,
        widths=net.get_config()["widths"],
        class_names=brains[0].labels.names,
    )
    print(ck.transfer_weights(net, unet))
    finetune(unet, brains, finetuning_recipe(arguments.recipe), run=arguments.out, seed=arguments.seed)
    unet.save_pretrained(arguments.out / "preset", metadata={"source_preset": str(arguments.start)})


def phantom_folder(parent: Path, seed: int) -> Path:
    """Draw a synthetic brain once: every ninth millimetre, partly annotated like a real one."""
    folder = parent / f"phantom-{seed}"
    if not (folder / "brain.json").exists():
        sections_mm = np.arange(-97.0 + 3.0 * seed, -44.0, 9.0)
        ck.PhantomBrain(seed, 16.0, sections_mm, level="standard", annotation="partial").save(folder)
    return folder


if __name__ == "__main__":
    main()
