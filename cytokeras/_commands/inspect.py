"""``cytokeras inspect``: what the reader sees of a section image."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytokeras._commands._defaults import positive_int
from cytokeras._commands._section_image import image_name
from cytokeras._files import atomic_path, create_folder


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="print what is read from a section image and write a thumbnail",
        description="Print size, pixel size, storage, resolutions and the conversion to the cell-body channel of a "
        "section image (TIFF, OME-TIFF, PNG, JPEG, OME-Zarr, neuroglancer precomputed; a file, folder or http "
        "address), and write a thumbnail of the channel as PNG.",
    )
    inspect.add_argument("image", help="file, folder or address; of a volume one plane: FOLDER#z=12")
    inspect.add_argument("--pixel-size-um", type=float, help="width of a pixel in µm; default: from the file")
    inspect.add_argument("--out", type=Path, default=Path("."), help="folder for the thumbnail (current folder)")
    inspect.add_argument(
        "--size", type=positive_int, default=1024, help="longest side of the thumbnail in px (%(default)s)"
    )
    inspect.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from PIL import Image

    from cytokeras.brain import SectionImage
    from cytokeras.inference._drawing import thumbnail

    image = SectionImage.open(arguments.image, pixel_size_um=arguments.pixel_size_um)
    height, width = image.shape
    size = image.pixel_size_um
    print(arguments.image)
    lines = {
        "format": image.format,
        "size": f"{width:,} x {height:,} px (width x height), {width * size / 1e3:.4g} x {height * size / 1e3:.4g} mm",
        "pixel size": f"{size:g} µm",
        "levels": ", ".join(
            f"{w:,} x {h:,} ({factor * size:g} µm)"
            for (h, w), factor in zip(image.level_shapes, image.levels, strict=True)
        ),
        **image.details(),
        "background": f"grey level {image.background}",
    }
    for name, value in lines.items():
        print(f"  {name:<11} {value}")
    grey, _ = thumbnail(image, arguments.size)
    target = create_folder(arguments.out) / f"{image_name(arguments.image)}-thumbnail.png"
    with atomic_path(target) as temporary:
        Image.fromarray(grey).save(temporary)
    print(f"  thumbnail   {target} ({grey.shape[1]} x {grey.shape[0]} px)")
