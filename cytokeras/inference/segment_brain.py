"""Segmentation of a whole brain: section by section, here or on a cluster, then put together."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cytokeras._files import atomic_path, create_folder, same_settings, write_json
from cytokeras._progress import progress as show_progress
from cytokeras.brain import Atlas, Brain, Section
from cytokeras.errors import UserError
from cytokeras.inference._brain_job import (
    SectionOptions,
    describe_job,
    do_section,
    do_section_elsewhere,
    missing_files,
    section_files,
)
from cytokeras.inference._dask_cluster import Answer, dask_client, run_jobs
from cytokeras.inference._section_place import warn_of_sections_outside
from cytokeras.inference._section_run import digest
from cytokeras.inference._window_network import NetworkPool
from cytokeras.inference.brain_maps import (
    MappedSections,
    label_volume,
    vertex_labels,
    write_label_volume,
    write_surface_labels,
)
from cytokeras.inference.outputs import read_label_tiff
from cytokeras.inference.segment_section import checked_model

_SETTINGS_FILE = "segmentation.json"
_VOLUME_FILE = "labels.nii.gz"


@dataclass
class BrainSegmentation:
    """What a call of `segment_brain` did.

    Attributes:
        folder: Where the files lie.
        computed: Ids of the sections that were segmented.
        present: Ids of those that were there already.
        failed: What went wrong with each of the others, by id.
        maps: Files of the whole brain; empty while sections are missing.
    """

    folder: Path
    computed: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    maps: list[Path] = field(default_factory=list)


def segment_brain(
    model: Any,
    brain: Brain,
    output: str | os.PathLike[str],
    *,
    sections: Sequence[str] | None = None,
    atlas: Atlas | bool = True,
    scheduler: Any = None,
    workers: int | None = None,
    part: tuple[int, int] | None = None,
    tta: bool = False,
    probabilities: bool = False,
    uncertainty: bool | None = None,
    outlines: bool = True,
    window: int | None = None,
    voxel_size_mm: float | None = None,
    retries: int = 2,
    progress: bool = True,
) -> BrainSegmentation:
    """Segment the sections of a brain into a folder and put them together on surfaces and in a volume.

    Per section ``<id>-labels.ome.tif``, ``<id>-outlines.geojson`` and what else is asked for; when no section is
    missing ``labels-left.label.gii`` and ``labels-right.label.gii`` (majority over sections) and ``labels.nii.gz``. A
    second call does only what is missing, an interrupted section goes on where it was. Sections that fail are tried
    again, then named in ``failed.csv`` and in the result, and the others go on.

    With ``scheduler="local"`` Dask starts processes that import the calling script: it needs the usual
    ``if __name__ == "__main__":``. All workers of a cluster must see the brain folder and ``output`` under the same
    names.

    Args:
        model: An AtlasUNet.
        brain: The brain; for Dask one opened from a folder.
        output: The folder, created where absent.
        sections: Ids of the sections wanted; default: all.
        atlas: True: the brain's own where it has one; False: none; or another in the space of the brain.
        scheduler: None: in this process; ``"local"``, ``"slurm"`` (dask-jobqueue and its configuration), the address
            of a running Dask scheduler, or a `distributed.Client`.
        workers: Sections at once: threads of this process (default 1), Dask processes (default one a core) or jobs.
        part: (i, n), i from 1: every n-th section from the i-th on, for job arrays without Dask. The call that finds
            all sections done puts them together.
        tta: Average over flips and rotations; see `segment_section`.
        probabilities: Write probabilities too.
        uncertainty: Write uncertainties too; default: with ``tta``.
        outlines: Write outlines for QuPath.
        window: Side of a window in network pixels; see `segment_section`.
        voxel_size_mm: Voxels of the volume; default: the distance between sections, at most 1 mm.
        retries: How often a section that failed is tried again.
        progress: Show progress on standard error.

    Returns:
        What was done, was there already and failed.

    Raises:
        UserError: The folder holds the segmentation of another network or with other settings, an id is unknown,
            ``part`` is not one of its range, or the scheduler cannot be reached.

    Warns:
        UserWarning: The planes of some sections meet no surface of the brain inside the image, or little of a section
            lies within the atlas (of sections done by Dask the workers' logs tell the latter).
    """
    checked_model(model)
    chosen = [brain.section(id) for id in sections] if sections is not None else list(brain.sections)
    todo = chosen if part is None else _part_of(chosen, part)
    folder = create_folder(output)
    options = SectionOptions(tta, probabilities, tta if uncertainty is None else uncertainty, outlines, window)
    used_atlas = _chosen_atlas(model, brain, atlas)
    _check_settings(folder, model, used_atlas, tta)
    result = BrainSegmentation(folder)
    missing = {section.id: section for section in todo if missing_files(folder, section.id, options)}
    warn_of_sections_outside(brain, missing.values())
    result.present = [section.id for section in todo if section.id not in missing]
    if scheduler is None:
        job = partial(_try, NetworkPool(model), used_atlas, brain, folder, options, retries)
        source: Any = contextlib.nullcontext(_in_threads(job, missing, workers or 1))
    else:
        source = _on_cluster(scheduler, workers, model, brain, used_atlas, atlas, folder, options, missing, retries)
    with source as answers:
        for id, problem in show_progress(answers, "sections", total=len(missing), enabled=progress):
            if problem is None:
                result.computed.append(id)
            else:
                result.failed[id] = problem
    _write_failures(folder, result.failed, part)
    if chosen and not any(missing_files(folder, section.id, options) for section in chosen):
        result.maps = _whole_brain(folder, brain, chosen, options, voxel_size_mm, bool(result.computed))
    return result


def _part_of(sections: list[Section], part: tuple[int, int]) -> list[Section]:
    number, count = part
    if not 1 <= number <= count:
        raise UserError(f"part: must be (i, n) with i from 1 to n. Received: {number}/{count}")
    return sections[number - 1 :: count]


def _chosen_atlas(model: Any, brain: Brain, atlas: Atlas | bool) -> Atlas | None:
    if not model.atlas_channels or atlas is False:
        return None
    return brain.atlas if atlas is True else atlas


def _check_settings(folder: Path, model: Any, atlas: Atlas | None, tta: bool) -> None:
    """Write what the maps of a folder are made with, or raise UserError where it was made with something else."""
    now = {
        "weights": digest(model.get_weights()),
        "atlas": None if atlas is None else digest([atlas.probabilities, atlas.affine]),
        "tta": tta,
    }
    path = folder / _SETTINGS_FILE
    remedy = "choose another output, so that the maps of one folder are made alike"
    if not same_settings(path, now, "holds a segmentation made", remedy):
        write_json(path, now)


def _try(
    networks: NetworkPool,
    atlas: Atlas | None,
    brain: Brain,
    folder: Path,
    options: SectionOptions,
    retries: int,
    section: Section,
) -> str | None:
    """Do one section; returns what went wrong, or None."""
    for attempt in range(retries + 1):
        try:
            do_section(networks, section, atlas, brain.labels, folder, options)
            return None
        except UserError as error:  # of the user's making: the next attempt would end alike
            return str(error)
        except Exception as error:
            if attempt == retries:
                return f"{type(error).__name__}: {error}"
    raise AssertionError("a section is tried at least once")


def _in_threads(job: Callable[[Section], str | None], sections: dict[str, Section], workers: int) -> Iterator[Answer]:
    with ThreadPoolExecutor(workers, "cytokeras-section") as pool:
        futures = {pool.submit(job, section): id for id, section in sections.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _on_cluster(
    scheduler: Any,
    workers: int | None,
    model: Any,
    brain: Brain,
    used_atlas: Atlas | None,
    atlas: Atlas | bool,
    folder: Path,
    options: SectionOptions,
    sections: dict[str, Section],
    retries: int,
) -> Iterator[Iterator[Answer]]:
    if not sections:
        yield iter(())
        return
    if brain.folder is None:
        raise UserError(f"brain {brain.name}: Dask workers open the brain themselves; save it and open its folder.")
    network = model.save_pretrained(folder / "network"), _network_digest(model)
    place: Any = "brain" if used_atlas is not None else None
    if isinstance(atlas, Atlas) and used_atlas is not None:
        used_atlas.write(folder / "atlas.nii.gz")
        place = [str((folder / "atlas.nii.gz").resolve()), list(used_atlas.names)]
    jobs = {id: describe_job(brain, section, place, network, folder, options) for id, section in sections.items()}
    with dask_client(scheduler, workers) as client:
        yield run_jobs(client, do_section_elsewhere, jobs, retries)


def _network_digest(model: Any) -> str:
    config = json.dumps(model.get_config(), sort_keys=True)
    return digest([*model.get_weights(), np.frombuffer(config.encode(), np.uint8)])


def _write_failures(folder: Path, failed: dict[str, str], part: tuple[int, int] | None) -> None:
    path = folder / ("failed.csv" if part is None else f"failed-{part[0]}-of-{part[1]}.csv")
    if not failed:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("section", "problem"))
        writer.writerows(sorted(failed.items()))


def _whole_brain(
    folder: Path, brain: Brain, sections: list[Section], options: SectionOptions, voxel_size_mm: float | None, new: bool
) -> list[Path]:
    """Write the maps of the whole brain where they are missing or older than a section."""
    surfaces = {side: folder / f"labels-{side}.label.gii" for side in brain.surfaces}
    paths = [*surfaces.values(), folder / _VOLUME_FILE]
    if not new and all(path.exists() for path in paths):
        return paths
    mapped: MappedSections = [
        (section, partial(read_label_tiff, section_files(folder, section.id, options)["labels"]))
        for section in sections
    ]
    for side, path in surfaces.items():
        labels = vertex_labels(brain.surfaces[side], mapped, len(brain.labels))
        write_surface_labels(path, labels, brain.labels, side)
    volume, affine = label_volume(mapped, voxel_size_mm=voxel_size_mm)
    write_label_volume(paths[-1], volume, affine)
    return paths
