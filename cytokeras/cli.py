"""The command line: every command checks what it was given before it starts to work."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cytokeras._files import create_folder
from cytokeras._version import __version__
from cytokeras.errors import UserError

DEFAULT_UNET = "atlas-unet-phantom-16um"
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 problems found, 2 bad input, 130 interrupted."""
    parsed = _parser().parse_args(arguments)
    # TensorFlow's start-up notes would stand before every command's own output.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return int(parsed.run(parsed) or 0)
    except UserError as error:
        return _fail(str(error))
    except ImportError as error:
        return _fail(str(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}")
    except KeyboardInterrupt:
        print("cytokeras: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _fail(message: str) -> int:
    print(f"cytokeras: error: {message}", file=sys.stderr)
    return EXIT_USER_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cytokeras", description="Cytoarchitectonic brain mapping with Keras: from section to area map."
    )
    parser.add_argument("--version", action="version", version=f"cytokeras {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_segment(commands)
    _add_check(commands)
    _add_sample(commands)
    _add_presets(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="segment a synthetic section with bundled weights, or run the whole method in miniature",
        description="Draw a synthetic brain section that training never saw, segment it with the bundled weights and "
        "compare it with the truth. With --train: pre-train, transfer, fine-tune and segment in miniature, beside the "
        "same network from random weights.",
    )
    demo.add_argument("--out", type=Path, default=Path("cytokeras-demo"), help="folder for the results (%(default)s)")
    demo.add_argument("--train", action="store_true", help="run the whole method in miniature")
    demo.add_argument("--quiet", action="store_true", help="show no progress")
    demo.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> None:
    from cytokeras import demo

    create_folder(arguments.out)
    if arguments.train:
        demo.run_training(arguments.out, progress=not arguments.quiet)
    else:
        demo.run(arguments.out, preset=DEFAULT_UNET, progress=not arguments.quiet)


def _add_segment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    segment.set_defaults(run=_segment)


def _segment(arguments: argparse.Namespace) -> None:
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


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser("check", help="list everything that is wrong with a brain folder")
    check.add_argument("folder", type=Path, help="folder with brain.json and sections.csv")
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from cytokeras.brain import check_brain

    lines = check_brain(arguments.folder, progress=True)
    for line in lines:
        print(line)
    warnings = sum(line.startswith("warning: ") for line in lines)
    problems = len(lines) - warnings
    noted = f" ({warnings} warnings)" if warnings else ""
    print(f"{arguments.folder}: {f'{problems} problems' if problems else 'nothing is wrong'}{noted}")
    return int(bool(problems))


def _add_sample(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sample = commands.add_parser(
        "sample",
        help="draw patch centres and pairs with their distance along the cortex",
        description="Draw places in the centre of the cortex and pairs of them, measure the distance of each pair "
        "along the surface, and write both as tables: FOLDER/locations.csv and FOLDER/pairs.csv. Places that are "
        "there already are kept, so that an interrupted command goes on with the pairs.",
    )
    sample.add_argument("brain", type=Path, help="folder with brain.json and sections.csv")
    sample.add_argument("--patches", type=int, required=True, help="number of places")
    sample.add_argument("--pairs", type=int, required=True, help="number of pairs, at least half as many")
    sample.add_argument("--out", type=Path, required=True, help="folder for the two tables")
    sample.add_argument("--split", choices=("train", "test"), default="train", help="sections used (%(default)s)")
    sample.add_argument("--seed", type=int, default=0, help="equal seeds give equal tables (%(default)s)")
    sample.add_argument("--workers", type=int, help="threads; default: one a core")
    sample.add_argument("--quiet", action="store_true", help="show no progress")
    sample.set_defaults(run=_sample)


def _sample(arguments: argparse.Namespace) -> None:
    import numpy as np

    from cytokeras.brain import Brain
    from cytokeras.sampling import write_samples

    brain = Brain.open(arguments.brain)
    pairs = write_samples(
        brain,
        create_folder(arguments.out),
        patches=arguments.patches,
        pairs=arguments.pairs,
        split=arguments.split,
        seed=arguments.seed,
        workers=arguments.workers,
        progress=not arguments.quiet,
    )
    distance = pairs.distance_mm
    print(f"places  {arguments.out / 'locations.csv'}  ({len(pairs.locations)} on {arguments.split} sections)")
    print(
        f"pairs   {arguments.out / 'pairs.csv'}  ({len(pairs)}; distance along the cortex {distance.min():.1f} to "
        f"{distance.max():.1f} mm, median {np.median(distance):.1f} mm)"
    )


def _add_presets(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    presets = commands.add_parser("presets", help="list the bundled weights")
    presets.set_defaults(run=_presets)


def _presets(_arguments: argparse.Namespace) -> None:
    from cytokeras.hub import list_presets

    for preset in list_presets():
        print(preset)


if __name__ == "__main__":
    sys.exit(main())
