"""``cytokeras segment``: area maps of a section image, or of the sections of a brain."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytokeras._commands._defaults import DEFAULT_UNET
from cytokeras._commands._section_image import image_name
from cytokeras._files import create_folder
from cytokeras.brain._image_address import is_chunked
from cytokeras.errors import UserError

if TYPE_CHECKING:
    from cytokeras.brain import Atlas, Brain


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    segment = commands.add_parser(
        "segment",
        help="segment a section image or the sections of a brain",
        description="Segment one section image (TIFF, OME-TIFF, PNG, JPEG, OME-Zarr, neuroglancer precomputed; grey or "
        "RGB, any pixel size; a file, folder or http address) or the sections of a brain folder. Written are label "
        "images (OME-TIFF, with a pyramid and class colours) and outlines for QuPath (GeoJSON); of an image an overlay "
        "(PNG) too, of a brain the areas on its surfaces (GIFTI) and in a volume (NIfTI) when all sections are done. "
        "The same command goes on where it was interrupted. A single image has no place in a brain, so the network "
        "works without the atlas.",
    )
    segment.add_argument(
        "input",
        help="the section image (file, folder or http address; of a volume one plane: ADDRESS#z=12), or a folder with "
        "brain.json and sections.csv",
    )
    segment.add_argument("--pixel-size-um", type=float, help="width of a pixel in µm; default: from the file")
    segment.add_argument("--preset", default=DEFAULT_UNET, help="name, folder or Hub repository (%(default)s)")
    segment.add_argument("--out", type=Path, default=Path("."), help="folder for the results (current folder)")
    segment.add_argument("--tta", action="store_true", help="average over flips and rotations, write the uncertainty")
    segment.add_argument("--probabilities", action="store_true", help="write the probability of every class")
    segment.add_argument("--overwrite", action="store_true", help="replace the labels of an image where they exist")
    segment.add_argument("--quiet", action="store_true", help="show no progress")
    brain = segment.add_argument_group("for a brain folder")
    brain.add_argument("--section", action="append", metavar="ID", help="this section only; may be repeated")
    brain.add_argument("--atlas", metavar="FILE", help="4-D NIfTI, or 'none'; default: the atlas of the brain")
    brain.add_argument("--part", metavar="I/N", help="every N-th section from the I-th on, for job arrays")
    brain.add_argument("--dask", metavar="SCHEDULER", help="'local', 'slurm', or the address of a running scheduler")
    brain.add_argument("--workers", type=int, help="sections at once; with --dask processes or jobs")
    segment.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if Path(arguments.input).is_dir() and not is_chunked(arguments.input):
        return _segment_brain(arguments)
    given = [name for name in ("section", "atlas", "part", "dask", "workers") if getattr(arguments, name) is not None]
    if given:
        raise UserError(f"--{given[0]}: is for brain folders; {arguments.input} is a section image.")
    _segment_image(arguments)
    return 0


def _load_model(arguments: argparse.Namespace) -> Any:
    from cytokeras.models import AtlasUNet

    return AtlasUNet.from_pretrained(arguments.preset)


def _check_preset(arguments: argparse.Namespace) -> None:
    from cytokeras.hub import describe_preset

    preset = describe_preset(arguments.preset)
    if preset.class_name != "AtlasUNet":
        raise UserError(f"--preset {arguments.preset}: it is a {preset.class_name}; segmentation needs an AtlasUNet.")


def _segment_image(arguments: argparse.Namespace) -> None:
    from cytokeras.brain import SectionImage

    image = SectionImage.open(arguments.input, pixel_size_um=arguments.pixel_size_um)
    _check_preset(arguments)
    out = create_folder(arguments.out)

    from cytokeras.brain import LabelScheme
    from cytokeras.inference import overlay_png, segment_section, write_outlines

    model = _load_model(arguments)
    names = model.class_names or tuple(f"class {index}" for index in range(model.num_classes))
    scheme = LabelScheme.from_names(names)
    stem = image_name(arguments.input)
    labels = out / f"{stem}-labels.ome.tif"
    result = segment_section(
        model,
        image,
        output=labels,
        overwrite=arguments.overwrite,
        probabilities=arguments.probabilities,
        tta=arguments.tta,
        scheme=scheme,
        progress=not arguments.quiet,
    )
    overlay, outlines = out / f"{stem}-overlay.png", out / f"{stem}-outlines.geojson"
    overlay_png(image, result, scheme, overlay)
    write_outlines(outlines, result, scheme=scheme)
    rows, columns = result.labels.shape
    print(f"labels    {labels}  ({rows} x {columns} px, {result.grid.pixel_size_um:g} µm)")
    print(f"overlay   {overlay}")
    print(f"outlines  {outlines}")


def _segment_brain(arguments: argparse.Namespace) -> int:
    from cytokeras.brain import Brain

    if arguments.pixel_size_um is not None:
        raise UserError("--pixel-size-um: is for a single image; a brain folder states its own pixel sizes.")
    brain = Brain.open(arguments.input)
    part = _part(arguments.part)
    _check_preset(arguments)
    out = create_folder(arguments.out)

    from cytokeras.inference import segment_brain

    result = segment_brain(
        _load_model(arguments),
        brain,
        out,
        sections=arguments.section,
        atlas=_atlas(arguments.atlas, brain),
        scheduler=arguments.dask,
        workers=arguments.workers,
        part=part,
        tta=arguments.tta,
        probabilities=arguments.probabilities,
        progress=not arguments.quiet,
    )
    print(
        f"sections  {out}  ({len(result.computed)} segmented, {len(result.present)} there already, "
        f"{len(result.failed)} failed)"
    )
    for path in result.maps:
        print(f"brain     {path}")
    for id, problem in sorted(result.failed.items()):
        print(f"failed    {id}: {problem}")
    return int(bool(result.failed))


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f"--part: must be I/N with I from 1 to N, for example 2/8. Received: {text}")
    return int(number), int(count)


def _atlas(path: str | None, brain: Brain) -> Atlas | bool:
    from cytokeras.brain import Atlas

    if path is None:
        return True
    if path == "none":
        return False
    if brain.atlas is None:
        areas = tuple(name for name in brain.labels.names if name not in ("background", "white matter", "other cortex"))
    else:
        areas = brain.atlas.names
    return Atlas.read(path, areas)
