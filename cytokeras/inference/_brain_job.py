"""What is done for one section of a brain, in this process or on a Dask worker."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cytokeras.brain import Atlas, Brain, LabelScheme, Section
from cytokeras.errors import UserError
from cytokeras.inference._window_network import NetworkPool
from cytokeras.inference.outlines import write_outlines
from cytokeras.inference.outputs import read_label_tiff
from cytokeras.inference.segment_section import output_paths, segment_section


@dataclass(frozen=True)
class SectionOptions:
    """What is written of each section and how; see `segment_brain`."""

    tta: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    outlines: bool = True
    window: int | None = None


def section_files(folder: Path, id: str, options: SectionOptions) -> dict[str, Path]:
    """Return the files that belong to a section, by kind."""
    paths = output_paths(folder / f"{id}-labels.ome.tif")
    wanted = {
        "labels": (True, paths.labels),
        "probabilities": (options.probabilities, paths.probabilities),
        "uncertainty": (options.uncertainty, paths.uncertainty),
        "outlines": (options.outlines, folder / f"{id}-outlines.geojson"),
    }
    return {kind: path for kind, (asked, path) in wanted.items() if asked}


def missing_files(folder: Path, id: str, options: SectionOptions) -> list[str]:
    """Return the kinds of files of a section that are not there."""
    return [kind for kind, path in section_files(folder, id, options).items() if not path.exists()]


def do_section(
    networks: NetworkPool,
    section: Section,
    atlas: Atlas | None,
    scheme: LabelScheme,
    folder: Path,
    options: SectionOptions,
) -> None:
    """Write what is missing of one section."""
    missing = missing_files(folder, section.id, options)
    files = section_files(folder, section.id, options)
    if set(missing) - {"outlines"}:
        segment_section(
            networks,
            section,
            atlas=atlas,
            probabilities=options.probabilities,
            tta=options.tta,
            uncertainty=options.uncertainty,
            window=options.window,
            output=files["labels"],
            overwrite=True,
            scheme=scheme,
            progress=False,
        )
    if "outlines" in missing:
        write_outlines(files["outlines"], read_label_tiff(files["labels"]), scheme=scheme)


def do_section_elsewhere(job: dict[str, Any]) -> str | None:
    """Do one section on a Dask worker; everything is opened there, so only names travel.

    Returns:
        The message of a fault that trying again cannot mend, or None.
    """
    try:
        brain = _brain(job["brain"])
        atlas = brain.atlas if job["atlas"] == "brain" else None
        if isinstance(job["atlas"], list):
            path, names = job["atlas"]
            atlas = _atlas(path, tuple(names))
        options = SectionOptions(**job["options"])
        networks = _networks(*job["network"])
        do_section(networks, brain.section(job["section"]), atlas, brain.labels, Path(job["folder"]), options)
    except UserError as error:
        if type(error) is not UserError:  # busy: the process that holds the output may be about to end
            raise
        return str(error)
    return None


def describe_job(
    brain: Brain, section: Section, atlas: Any, network: tuple[Path, str], folder: Path, options: SectionOptions
) -> dict[str, Any]:
    """Return what `do_section_elsewhere` takes; ``network`` is a preset's folder and a digest of what is in it."""
    return {
        "brain": str(brain.folder.resolve()) if brain.folder else None,
        "section": section.id,
        "atlas": atlas,
        "network": [str(network[0].resolve()), network[1]],
        "folder": str(folder.resolve()),
        "options": asdict(options),
    }


# A worker does many sections of one brain with one network.
@functools.lru_cache(maxsize=1)
def _brain(folder: str) -> Brain:
    return Brain.open(folder)


@functools.lru_cache(maxsize=1)
def _atlas(path: str, names: tuple[str, ...]) -> Atlas:
    return Atlas.read(path, names)


_last_networks: dict[str, NetworkPool] = {}


def _networks(folder: str, digest: str) -> NetworkPool:
    """Return the network of that digest, which stands in another folder for every brain."""
    from cytokeras.models import AtlasUNet

    networks = _last_networks.get(digest)
    if networks is None:
        networks = NetworkPool(AtlasUNet.from_pretrained(folder))
        _last_networks.clear()
        _last_networks[digest] = networks
    return networks
