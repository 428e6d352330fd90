"""The files of a brain folder: their names, fields and meaning, read with every fault collected.

``brain.json`` names the brain, its space, its classes and the paths of surfaces and atlas; ``sections.csv``
has one line a section. Paths are relative to the folder, or absolute.
"""

from __future__ import annotations

import csv
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cytokeras.brain._image_address import is_chunked, is_url
from cytokeras.brain._label_scheme import LabelScheme
from cytokeras.brain._pixel_size import check_pixel_size
from cytokeras.brain.section import SAFE_ID, SectionPlane
from cytokeras.errors import UserError, nearest_name_hint

FORMAT_VERSION: Final = 1
BRAIN_FILE: Final = "brain.json"
SECTIONS_FILE: Final = "sections.csv"
SAVING_FILE: Final = "saving.json"  # stands in the folder from the first to the last file that a save writes
AFFINE: Final = tuple(f"affine_{axis}_{term}_mm" for axis in "uv" for term in ("row", "column", "offset"))
ORIGIN: Final = tuple(f"origin_{axis}_mm" for axis in "xyz")
AXIS_U: Final = tuple(f"axis_u_{axis}" for axis in "xyz")
AXIS_V: Final = tuple(f"axis_v_{axis}" for axis in "xyz")
REQUIRED: Final = ("id", "image", *AFFINE, *ORIGIN, *AXIS_U, *AXIS_V)
OPTIONAL: Final = (
    "pixel_size_um",
    "labels",
    "label_scale",
    "label_offset_row",
    "label_offset_column",
    "split",
)
COLUMNS: Final = (
    "id", "image", "pixel_size_um", *AFFINE, *ORIGIN, *AXIS_U, *AXIS_V,
    "labels", "label_scale", "label_offset_row", "label_offset_column", "split",
)  # fmt: skip
SURFACES: Final = ("pial", "white", "inflated", "sphere")
_KEYS: Final = (
    "format_version", "name", "space", "synthetic", "pixel_size_um", "classes", "ignored_classes",
    "surfaces", "atlas",
)  # fmt: skip


@dataclass(frozen=True)
class SectionRow:
    """One line of ``sections.csv``, checked."""

    where: str
    id: str
    image: Path | str
    pixel_size_um: float
    plane: SectionPlane
    labels: Path | None
    label_scale: float
    label_offset: tuple[float, float]
    split: str


@dataclass
class BrainFolder:
    """What a brain folder says, as far as it could be understood, and what is wrong with it."""

    path: Path
    name: str = ""
    space: str = ""
    synthetic: bool = False
    pixel_size_um: float | None = None
    scheme: LabelScheme | None = None
    ignored_classes: tuple[str, ...] = ()
    surfaces: dict[str, dict[str, Path]] = field(default_factory=dict)
    atlas: tuple[Path, tuple[str, ...]] | None = None
    sections: list[SectionRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def json_path(self) -> Path:
        """Path of ``brain.json``."""
        return self.path / BRAIN_FILE

    def existing(self, value: Any, where: str) -> Path | None:
        """Return the path of a file that a field names, noting a problem where there is none."""
        if not isinstance(value, str) or not value.strip():
            self.problems.append(f"{where}: must be the path of a file; received {value!r}.")
            return None
        path = self.path / value.strip()
        if not path.is_file():
            self.problems.append(f"{where}: no such file: {path}.")
            return None
        return path

    def existing_image(self, value: str, where: str) -> Path | str | None:
        """Return the path or address of a section image, noting a problem where there is no such file or folder."""
        if is_url(value):
            return value
        return self.path / value if is_chunked(str(self.path / value)) else self.existing(value, where)


def read_brain_folder(folder: str | os.PathLike[str]) -> BrainFolder:
    """Read ``brain.json`` and ``sections.csv``; faults are collected in ``problems``, none is raised."""
    result = BrainFolder(Path(folder))
    content = _read_json(result)
    if content is not None:
        _read_brain(result, content)
        _read_sections(result)
    return result


def _read_json(result: BrainFolder) -> dict[str, Any] | None:
    path = result.json_path
    if not result.path.is_dir():
        result.problems.append(f"{result.path}: no such folder; expected a brain folder with {BRAIN_FILE}.")
        return None
    if not path.is_file():
        if (result.path / SAVING_FILE).is_file():
            reason = "its saving was interrupted; save the same brain there again and it goes on"
        else:
            reason = "this is not a brain folder"
        result.problems.append(f"{path}: no such file; {reason}.")
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        result.problems.append(f"{path}: cannot be read as JSON ({error}).")
        return None
    if not isinstance(content, dict):
        result.problems.append(f"{path}: must be a JSON object {{…}}.")
        return None
    if content.get("format_version") != FORMAT_VERSION:
        result.problems.append(
            f"{path}, format_version: must be {FORMAT_VERSION}; received {content.get('format_version')!r}."
        )
        return None
    return content


def _read_brain(result: BrainFolder, content: dict[str, Any]) -> None:
    path, problems = result.json_path, result.problems
    for key in content:
        if key not in _KEYS:
            problems.append(f"{path}, {key}: unknown field.{nearest_name_hint(key, _KEYS)}")
    for key in ("name", "space"):
        value = content.get(key)
        if not isinstance(value, str) or not value.strip():
            problems.append(f"{path}, {key}: must be a text that is not empty; received {value!r}.")
        else:
            setattr(result, key, value)
    synthetic = content.get("synthetic", False)
    if not isinstance(synthetic, bool):
        problems.append(f"{path}, synthetic: must be true or false; received {synthetic!r}.")
    result.synthetic = synthetic is True
    ignored = content.get("ignored_classes", [])
    if not isinstance(ignored, list) or not all(isinstance(name, str) for name in ignored):
        problems.append(f"{path}, ignored_classes: must be a list of names; received {ignored!r}.")
    else:
        result.ignored_classes = tuple(ignored)
    try:
        if content.get("pixel_size_um") is not None:
            result.pixel_size_um = check_pixel_size(content["pixel_size_um"], "pixel_size_um")
    except UserError as error:
        problems.append(f"{path}, {error}")
    try:
        result.scheme = LabelScheme.from_records(content.get("classes"))  # type: ignore[arg-type]
    except UserError as error:
        problems.append(f"{path}, {error}")
    _read_surfaces(result, content.get("surfaces"))
    _read_atlas(result, content.get("atlas"))


def _read_surfaces(result: BrainFolder, surfaces: Any) -> None:
    path = result.json_path
    if not isinstance(surfaces, dict) or not surfaces:
        result.problems.append(
            f'{path}, surfaces: must be {{"left": {{"pial": path, "white": path, "inflated": path}}, …}}; '
            f"received {surfaces!r}."
        )
        return
    for side, files in surfaces.items():
        where = f"{path}, surfaces.{side}"
        if side not in ("left", "right"):
            result.problems.append(f"{where}: a hemisphere is 'left' or 'right'.")
            continue
        if not isinstance(files, dict):
            result.problems.append(f"{where}: must name the files pial, white and inflated; received {files!r}.")
            continue
        for kind in files:
            if kind not in SURFACES:
                hint = nearest_name_hint(str(kind), SURFACES)
                result.problems.append(f"{where}.{kind}: unknown surface; expected {', '.join(SURFACES)}.{hint}")
        found = {}
        for kind in SURFACES:
            if kind == "sphere" and files.get(kind) is None:
                continue
            file = result.existing(files.get(kind), f"{where}.{kind}")
            if file is not None:
                found[kind] = file
        if {"pial", "white", "inflated"} <= found.keys():
            result.surfaces[side] = found


def _read_atlas(result: BrainFolder, atlas: Any) -> None:
    if atlas is None:
        return
    where = f"{result.json_path}, atlas"
    if not isinstance(atlas, dict):
        result.problems.append(f'{where}: must be {{"path": path, "names": [areas]}} or null; received {atlas!r}.')
        return
    names = atlas.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        result.problems.append(f"{where}.names: must be a list of one name a volume; received {names!r}.")
        return
    path = result.existing(atlas.get("path"), f"{where}.path")
    if path is not None:
        result.atlas = (path, tuple(names))


def _read_sections(result: BrainFolder) -> None:
    path, problems = result.path / SECTIONS_FILE, result.problems
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problems.append(f"{path}: no such file; expected one line a section.")
        return
    except (OSError, ValueError) as error:
        problems.append(f"{path}: cannot be read as UTF-8 text ({error}).")
        return
    header = text.split("\n", 1)[0]
    # Spreadsheets of many countries write semicolons.
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    columns = [(name or "").strip() for name in reader.fieldnames or []]
    reader.fieldnames = columns
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        problems.append(f"{path}, first line: lacks the column(s) {', '.join(missing)}.")
    for name in columns:
        # Columns of the user's own are welcome; one that nearly has a known name is a slip.
        hint = nearest_name_hint(name, COLUMNS) if name and name not in COLUMNS else ""
        if hint and nearest_name_hint(name, [c for c in COLUMNS if c not in columns]):
            problems.append(f"{path}, first line, {name}: unknown column.{hint}")
    if missing:
        return
    seen: dict[str, str] = {}
    for record in reader:
        cells = {key: (value or "").strip() for key, value in record.items() if isinstance(key, str) and key}
        if not any(cells.values()):
            continue
        where = f"{path}, line {reader.line_num}"
        row = _read_row(result, cells, where)
        name = cells["id"]
        if name and name in seen:
            problems.append(f"{where}, id: {name!r} was given already in {seen[name]}; ids must differ.")
        seen.setdefault(name, f"line {reader.line_num}")
        if row is not None:
            result.sections.append(row)
    if not seen:
        problems.append(f"{path}: has no section; expected one line a section.")


def _read_row(result: BrainFolder, cells: dict[str, str], where: str) -> SectionRow | None:
    before = len(result.problems)
    if not SAFE_ID.fullmatch(cells["id"]):
        result.problems.append(
            f"{where}, id: must begin with a letter or digit, then letters, digits, '.', '_', '-'; "
            f"received {cells['id']!r}."
        )
    image = result.existing_image(cells["image"], f"{where}, image")
    labels = result.existing(cells["labels"], f"{where}, labels") if cells.get("labels") else None
    split = cells.get("split") or "train"
    if split not in ("train", "test"):
        result.problems.append(f"{where}, split: must be train or test; received {split!r}.")
    size = result.pixel_size_um
    if cells.get("pixel_size_um") or size is None:
        size = _number(result, cells, "pixel_size_um", where)
        if size is not None and size <= 0:
            result.problems.append(f"{where}, pixel_size_um: must be above 0; received {size:g}.")
    scale = _number(result, cells, "label_scale", where, 1.0)
    if scale is not None and scale <= 0:
        result.problems.append(f"{where}, label_scale: must be above 0; received {scale:g}.")
    offset = [_number(result, cells, f"label_offset_{axis}", where, 0.0) for axis in ("row", "column")]
    geometry = {name: _number(result, cells, name, where) for name in (*AFFINE, *ORIGIN, *AXIS_U, *AXIS_V)}
    if len(result.problems) > before:
        return None
    affine = [[geometry[name] for name in AFFINE[:3]], [geometry[name] for name in AFFINE[3:]]]
    vectors = ([geometry[name] for name in names] for names in (ORIGIN, AXIS_U, AXIS_V))
    try:
        plane = SectionPlane(affine, *vectors)  # type: ignore[arg-type]
    except UserError as error:
        result.problems.append(f"{where}, {error}")
        return None
    assert image is not None and size is not None and scale is not None
    corner = (offset[0] or 0.0, offset[1] or 0.0)
    return SectionRow(where, cells["id"], image, size, plane, labels, scale, corner, split)


def _number(
    result: BrainFolder, cells: dict[str, str], name: str, where: str, default: float | None = None
) -> float | None:
    text = cells.get(name, "")
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    hint = " (write a decimal point)" if "," in text else ""
    result.problems.append(f"{where}, {name}: must be a number; received {text!r}{hint}.")
    return None
