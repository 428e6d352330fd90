"""``cytokeras segment``: an area map of a section image."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytokeras._commands._defaults import DEFAULT_UNET
from cytokeras._files import create_folder
from cytokeras.errors import UserError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    segment = commands.add_parser(
        "segment",
        help="segment a section image",
        description="Segment one section image (TIFF, OME-TIFF, PNG, JPEG; grey or RGB, any pixel size) and write the "
        "label image (OME-TIFF) and an overlay (PNG). A single image has no place in a brain, so the network works "
        "without the atlas.",
    )
    segment.add_argument("image", type=Path, help="the section image")
    segment.add_argument("--pixel-size-um", type=float, help="width of a pixel in µm; default: from the file")
    segment.add_argument("--preset", default=DEFAULT_UNET, help="name, folder or Hub repository (%(default)s)")
    segment.add_argument("--out", type=Path, default=Path("."), help="folder for the results (current folder)")
    segment.add_argument("--quiet", action="store_true", help="show no progress")
    segment.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from cytokeras.brain import SectionImage
    from cytokeras.hub import describe_preset

    image = SectionImage.open(arguments.image, pixel_size_um=arguments.pixel_size_um)
    preset = describe_preset(arguments.preset)
    if preset.class_name != "AtlasUNet":
        raise UserError(f"--preset {arguments.preset}: it is a {preset.class_name}; segmentation needs an AtlasUNet.")
    out = create_folder(arguments.out)

    from cytokeras.brain import LabelScheme
    from cytokeras.inference import overlay_png, segment_section, write_label_tiff
    from cytokeras.models import AtlasUNet

    model = AtlasUNet.from_pretrained(arguments.preset)
    result = segment_section(model, image, progress=not arguments.quiet)
    names = result.class_names or tuple(f"class {index}" for index in range(model.num_classes))
    scheme = LabelScheme.from_names(names)
    labels = out / f"{arguments.image.stem}-labels.ome.tif"
    overlay = out / f"{arguments.image.stem}-overlay.png"
    write_label_tiff(labels, result, scheme=scheme)
    overlay_png(image, result, scheme, overlay)
    print(
        f"labels   {labels}  ({result.labels.shape[0]} x {result.labels.shape[1]} px, {result.grid.pixel_size_um:g} µm)"
    )
    print(f"overlay  {overlay}")
