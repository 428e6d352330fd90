"""Writing a brain folder, part by part, so that an interrupted save can go on."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytokeras._files import atomic_path, create_folder, write_json
from cytokeras._progress import progress as show_progress
from cytokeras.brain import _folder_format as names
from cytokeras.brain.labels import ImageLabels
from cytokeras.brain.section import Section
from cytokeras.brain.section_images import SectionImage, write_section_tiff
from cytokeras.errors import UserError

if TYPE_CHECKING:
    from cytokeras.brain.brain import Brain

_COMPARED_PX = 256


class _LabelLattice:
    """A section's labels at every ``step``-th pixel, as an image that ``write_section_tiff`` takes."""

    def __init__(self, section: Section, step: int) -> None:
        self._labels = section.labels
        self._step = step
        self.shape = tuple(math.ceil(int(length) / step) for length in section.image.shape[:2])
        self.pixel_size_um = section.pixel_size_um * step

    def read(self, row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
        assert self._labels is not None
        return self._labels.read(row * self._step, column * self._step, height, width, self._step)


def save_brain(
    brain: Brain,
    folder: Path,
    sections: Sequence[int | str] | None,
    progress: bool,
    overwrite: bool,
    label_step: int,
) -> None:
    """Write ``brain`` to ``folder``; see ``Brain.save``."""
    if isinstance(label_step, bool) or int(label_step) != label_step or label_step < 1:
        raise UserError(f"label_step: must be a whole number of image pixels, 1 or more; received {label_step!r}.")
    chosen = list(brain.sections) if sections is None else [brain.section(id) for id in sections]
    if not chosen:
        raise UserError(f"brain {brain.name}: no section is chosen; give at least one id or index.")
    if len({section.id for section in chosen}) != len(chosen):
        raise UserError(f"brain {brain.name}: a section is chosen twice; give each once.")
    if brain.folder is not None and folder.resolve() == brain.folder.resolve():
        raise UserError(f"{folder}: this brain is read from there; save it to another folder.")
    task = {"name": brain.name, "space": brain.space, "label_step": int(label_step)}
    create_folder(folder)
    resumed = _check_target(folder, task, overwrite)
    (folder / names.BRAIN_FILE).unlink(missing_ok=True)
    write_json(folder / names.SAVING_FILE, task)
    for part in ("sections", "labels", "surfaces"):
        create_folder(folder / part)
    surfaces = _save_surfaces(brain, folder)
    atlas = _save_atlas(brain, folder)
    rows = []
    for section in show_progress(chosen, f"saving {brain.name}", enabled=progress):
        rows.append(_save_section(section, folder, int(label_step), resumed))
    _write_sections(folder / names.SECTIONS_FILE, rows)
    sizes = {section.pixel_size_um for section in chosen}
    content: dict[str, Any] = {
        "format_version": names.FORMAT_VERSION,
        "name": brain.name,
        "space": brain.space,
        "synthetic": bool(brain.synthetic),
        "pixel_size_um": sizes.pop() if len(sizes) == 1 else None,
        "classes": brain.labels.to_records(),
        "surfaces": surfaces,
        "atlas": atlas,
    }
    write_json(folder / names.BRAIN_FILE, content)
    (folder / names.SAVING_FILE).unlink(missing_ok=True)


def _check_target(folder: Path, task: dict[str, Any], overwrite: bool) -> bool:
    """Return whether an interrupted save of the same brain goes on."""
    if overwrite or not any(folder.iterdir()):
        return False
    marker = folder / names.SAVING_FILE
    if not marker.is_file() or (folder / names.BRAIN_FILE).exists():
        raise UserError(
            f"{folder}: is not empty; choose another folder or allow overwriting (overwrite=True, --overwrite)."
        )
    try:
        begun = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        begun = None
    if begun != task:
        raise UserError(
            f"{folder}: holds the interrupted save of another brain ({begun}); choose another folder or "
            "allow overwriting (overwrite=True, --overwrite)."
        )
    return True


def _save_surfaces(brain: Brain, folder: Path) -> dict[str, dict[str, str]]:
    written: dict[str, dict[str, str]] = {}
    for side, hemisphere in brain.surfaces.items():
        written[side] = {}
        for kind in names.SURFACES:
            mesh = getattr(hemisphere, kind)
            if mesh is not None:
                relative = f"surfaces/{side}_{kind}.surf.gii"
                mesh.write(folder / relative)
                written[side][kind] = relative
    return written


def _save_atlas(brain: Brain, folder: Path) -> dict[str, Any] | None:
    atlas = brain.atlas
    if atlas is None:
        return None
    atlas.write(folder / "atlas.nii.gz")
    return {"path": "atlas.nii.gz", "names": list(atlas.names)}


def _save_section(section: Section, folder: Path, step: int, resumed: bool) -> dict[str, Any]:
    image = f"sections/{section.id}.ome.tif"
    if not (resumed and _same_image(folder / image, section)):
        write_section_tiff(folder / image, section.image, section.pixel_size_um)
    row: dict[str, Any] = {
        "id": section.id,
        "image": image,
        "pixel_size_um": section.pixel_size_um,
        "split": section.split,
    }
    plane = section.plane
    row.update(zip(names.AFFINE, plane.affine.ravel().tolist(), strict=True))
    for columns, vector in (
        (names.ORIGIN, plane.origin),
        (names.AXIS_U, plane.axis_u),
        (names.AXIS_V, plane.axis_v),
    ):
        row.update(zip(columns, vector.tolist(), strict=True))
    if section.labels is not None:
        labels = f"labels/{section.id}.ome.tif"
        lattice = _LabelLattice(section, step)
        if not (resumed and _same_labels(folder / labels, lattice)):
            write_section_tiff(folder / labels, lattice, labels=True)
        row.update(labels=labels, label_scale=step, label_offset_row=0, label_offset_column=0)
    return row


def _same_image(path: Path, section: Section) -> bool:
    if not path.is_file():
        return False
    try:
        kept = SectionImage.open(path, section.pixel_size_um)
    except UserError:
        return False
    shape = (int(section.image.shape[0]), int(section.image.shape[1]))
    window = _central_window(shape)
    return kept.shape == shape and np.array_equal(kept.read(*window), section.image.read(*window))


def _same_labels(path: Path, lattice: _LabelLattice) -> bool:
    if not path.is_file():
        return False
    try:
        kept = ImageLabels(path)
    except UserError:
        return False
    window = _central_window(lattice.shape)
    return kept.shape == lattice.shape and np.array_equal(kept.read(*window), lattice.read(*window))


def _central_window(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    height, width = (min(_COMPARED_PX, length) for length in shape)
    return (shape[0] - height) // 2, (shape[1] - width) // 2, height, width


def _write_sections(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, names.COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
