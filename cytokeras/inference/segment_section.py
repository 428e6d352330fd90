"""Segmentation of a whole section, window by window."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytokeras._files import check_writable_folder
from cytokeras.brain import ArrayImage, Atlas, LabelScheme, Section, SectionImage
from cytokeras.errors import UserError
from cytokeras.inference._map_store import MapStore
from cytokeras.inference._resampled_image import ReadableImage, ResampledImage
from cytokeras.inference._section_place import check_atlas_covers
from cytokeras.inference._section_run import SectionRun, map_layers, run_settings
from cytokeras.inference._tissue_finder import TissueFinder
from cytokeras.inference._window_network import NetworkPool, WindowNetwork
from cytokeras.inference.outputs import write_label_tiff, write_probability_tiff, write_uncertainty_tiff
from cytokeras.inference.segmentation import Segmentation
from cytokeras.inference.tiling import OutputGrid, TilePlan, plan_windows


def segment_section(
    model: Any,
    image: Section | ReadableImage | np.ndarray | str | os.PathLike[str],
    *,
    pixel_size_um: float | None = None,
    section: Section | None = None,
    atlas: Atlas | None = None,
    probabilities: bool = False,
    tta: bool = False,
    uncertainty: bool | None = None,
    window: int | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    scheme: LabelScheme | None = None,
    progress: bool = True,
) -> Segmentation:
    """Segment a section of any size in bounded memory.

    The crucial assumption: the image looks like those the model was trained on (dark cells on a bright
    background, 8-bit grey). Its pixel size may differ; it is then resampled to the network's while it is
    read, by area averages when shrinking and linearly when enlarging. Windows overlap by the network's field
    of view, so that the result does not depend on where they lie; beyond the border the section's background
    is assumed. Empty glass, where the mean over 48 µm differs from the background by at most 10 grey levels,
    is background (class 0), whatever the network says: it never saw the stains of other laboratories. Windows
    whose output would show nothing else do not pass through the network.

    A model with an atlas branch uses it when it is given both an atlas and a section with a plane in space.
    Without either, ``model.without_atlas()`` segments by texture alone; ``Segmentation.used_atlas`` tells
    which it was.

    Finished windows are kept on disk, not in memory: beside ``output`` in ``<name>.unfinished``, so that the same
    call after an interruption (even by SIGKILL) repeats at most one window; without ``output`` in the folder for
    temporary files. The arrays of the result are read from there as far as they are used.

    Args:
        model: An AtlasUNet.
        image: A section of a brain, a section image, an array (H, W) uint8, 0 black … 255 white, or a file.
        pixel_size_um: Pixel size of an array, or of a file that does not tell its own, in µm.
        section: The section that ``image`` belongs to, for its plane in space, where ``image`` is not a
            section.
        atlas: Atlas in the space of the section, its areas in the order of the model's atlas channels.
        probabilities: Keep the probabilities of all classes too (float16, 2 bytes a class and cell).
        tta: Test-time averaging: the mean probabilities over the eight flips and rotations of every window, in
            eight times the time.
        uncertainty: Keep the entropy of the probabilities; default: with ``tta``.
        window: Side of a window in network pixels, a valid size of the model; default: large (512 output
            cells a side), which keeps the network's maps below about 1 GB.
        output: Write the labels to this OME-TIFF as well, and, where asked for, ``…-probabilities.ome.tif`` and
            ``…-uncertainty.ome.tif`` beside it.
        overwrite: Replace ``output`` where it exists.
        scheme: Colours of the classes in ``output``; default: those of the visual areas, others by number.
        progress: Show progress on standard error.

    Returns:
        Labels on the network's output grid (16 µm for the published geometry) with the grid's place in the
        image.

    Raises:
        UserError: No pixel size is known, the image is smaller than one patch of the network, ``window`` is
            not a valid size, the atlas does not fit the model or covers none of the section's tissue, ``output``
            exists, cannot be written or was begun with other settings.

    Warns:
        UserWarning: Less than a fifth of the section's tissue lies within the atlas.
    """
    pool = model if isinstance(model, NetworkPool) else NetworkPool(checked_model(model))
    model = pool.model
    image, section = _resolve_image(image, pixel_size_um, section)
    paths = None if output is None else output_paths(output)
    if paths is not None:
        paths.check(overwrite)
    source = ResampledImage(image, model.pixel_size_um)
    _check_large_enough(source, model)
    plan = plan_windows(model.field, source.shape, window)
    if not model.atlas_channels or section is None or section.plane is None:
        atlas = None
    network = WindowNetwork(pool, plan.window_px, source, atlas, section, symmetries=tta)
    if atlas is not None and section is not None:
        check_atlas_covers(atlas, section, image)
    layers = map_layers(model.num_classes, probabilities, tta if uncertainty is None else uncertainty)
    settings = run_settings(model, image, plan, atlas, section) | {"tta": tta, "maps": sorted(layers)}
    with _store(paths, lambda folder: MapStore(folder, plan.shape, layers, settings)) as store:
        tissue = TissueFinder(image, source, model.field)
        run = SectionRun(source, plan, network, tissue, store, model.num_classes)
        run.run(progress)
        result = _segmentation(store, run, _output_grid(plan, source, model), model, atlas is not None)
        if paths is not None:
            paths.write(result, scheme, store)
    return result


def checked_model(model: Any) -> Any:
    """Return ``model``; raises UserError unless it is an AtlasUNet."""
    if not hasattr(model, "with_input_shape") or not hasattr(model, "without_atlas"):
        raise UserError(f"segment_section: model must be an AtlasUNet. Received: {type(model).__name__}")
    return model


@dataclass(frozen=True)
class OutputPaths:
    """The files of one section, and the folder of its unfinished maps."""

    labels: Path
    probabilities: Path
    uncertainty: Path
    unfinished: Path

    def check(self, overwrite: bool) -> None:
        """Raise UserError where the result could not be written in the end."""
        check_writable_folder(self.labels.parent)
        if self.labels.exists() and not overwrite:
            raise UserError(f"{self.labels}: exists already; choose another output, remove it, or overwrite it.")

    def write(self, result: Segmentation, scheme: LabelScheme | None, store: MapStore) -> None:
        """Write the maps that the store holds; the labels last, as they tell that all is there."""
        # read, not mapped: the pages of a map would count as this process's memory
        read = {name: functools.partial(store.read, name) for name in store.layers}
        if "probabilities" in read:
            write_probability_tiff(self.probabilities, result, scheme=scheme, read=read["probabilities"])
        if "uncertainty" in read:
            write_uncertainty_tiff(self.uncertainty, result, read=read["uncertainty"])
        write_label_tiff(self.labels, result, scheme=scheme, read=read["labels"])


def output_paths(output: str | os.PathLike[str]) -> OutputPaths:
    """Return the files that belong to the label file ``output``."""
    path = Path(output)
    stem = path.name
    for suffix in (".tif", ".tiff", ".ome"):
        stem = stem.removesuffix(suffix)
    stem = stem.removesuffix("-labels")
    probabilities, uncertainty = (path.with_name(f"{stem}-{kind}.ome.tif") for kind in ("probabilities", "uncertainty"))
    return OutputPaths(path, probabilities, uncertainty, path.with_name(f"{path.name}.unfinished"))


@contextlib.contextmanager
def _store(paths: OutputPaths | None, create: Callable[[Path], MapStore]) -> Iterator[MapStore]:
    """Open the maps; they are removed when all is written and kept when something goes wrong."""
    if paths is None:
        with tempfile.TemporaryDirectory(prefix="cytokeras-") as folder:
            store = create(Path(folder))
            try:
                yield store
            finally:
                store.close()
        return
    store = create(paths.unfinished)
    try:
        yield store
    except BaseException:
        store.close()
        raise
    store.remove()


def _segmentation(store: MapStore, run: SectionRun, grid: OutputGrid, model: Any, used_atlas: bool) -> Segmentation:
    maps = {name: store.array(name) for name in store.layers}
    names = getattr(model, "class_names", None)
    return Segmentation(
        maps["labels"][0],
        np.moveaxis(maps["probabilities"], 0, -1) if "probabilities" in maps else None,
        grid,
        class_names=tuple(names) if names else None,
        used_atlas=used_atlas,
        windows_computed=run.computed,
        windows_skipped=run.skipped,
        windows_resumed=run.resumed,
        uncertainty=maps["uncertainty"][0] if "uncertainty" in maps else None,
    )


def _resolve_image(
    image: Any, pixel_size_um: float | None, section: Section | None
) -> tuple[ReadableImage, Section | None]:
    if isinstance(image, Section):
        image, section = image.image, image
    if isinstance(image, str | os.PathLike):
        return SectionImage.open(image, pixel_size_um=pixel_size_um), section
    if isinstance(image, np.ndarray):
        if pixel_size_um is None:
            raise UserError("pixel_size_um: an array does not tell its pixel size; give it in µm.")
        return ArrayImage(image, pixel_size_um), section
    if not all(hasattr(image, name) for name in ("read", "shape", "pixel_size_um", "background", "levels")):
        raise UserError(
            f"image: expected a Section, a SectionImage, an array or a file. Received: {type(image).__name__}"
        )
    if pixel_size_um is not None and abs(pixel_size_um / image.pixel_size_um - 1) > 0.01:
        raise UserError(
            f"pixel_size_um: the image states {image.pixel_size_um:g} µm. Received: {pixel_size_um:g}; leave it out."
        )
    return image, section


def _check_large_enough(source: ResampledImage, model: Any) -> None:
    """Raise UserError where the whole section is smaller than the smallest patch the network takes."""
    smallest = model.field.valid_size(1)
    if min(source.shape) >= smallest:
        return
    size_mm = [n * source.pixel_size_um / 1000 for n in source.shape]
    raise UserError(
        f"image: {source.shape[0]} x {source.shape[1]} px at {source.pixel_size_um:g} µm "
        f"({size_mm[0]:.2f} x {size_mm[1]:.2f} mm) is smaller than one patch of the network, "
        f"{smallest} x {smallest} px ({smallest * source.pixel_size_um / 1000:.2f} mm a side); "
        "check the pixel size, or choose a network with a smaller field of view."
    )


def _output_grid(plan: TilePlan, source: ResampledImage, model: Any) -> OutputGrid:
    origin = float(source.to_pixel(np.asarray(plan.first_pixel)))
    step = float(model.field.stride) * source.factor
    return OutputGrid(plan.shape, step * source.image.pixel_size_um, (origin, origin), step)
