"""The files of a preset folder: their names, their JSON fields, and the checks made before anything is built.

A preset is data from elsewhere. File names are fixed (nothing in a JSON file is ever used as a path), no code
is taken from it, and weights reach Keras only after their SHA-256, their variable list and their values were
checked. Nothing here imports Keras, so that presets can be listed and described quickly.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytokeras.errors import UserError
from cytokeras.hub._json_fields import JsonFields, read_json
from cytokeras.hub._weights_file import Variable, read_weights

if TYPE_CHECKING:
    import numpy as np

FORMAT_VERSION = 1
LIBRARY = "cytokeras"
CONFIG_FILE = "config.json"
METADATA_FILE = "metadata.json"
WEIGHTS_FILE = "model.weights.h5"
CARD_FILE = "README.md"
GOLDEN_FILE = "golden.npz"
NEEDED_FILES = (CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE)
PRESET_FILES = (*NEEDED_FILES, CARD_FILE)
ALL_FILES = (*PRESET_FILES, GOLDEN_FILE)  # the golden pair may be absent

_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class PresetConfig:
    """``config.json``: everything needed to build the model and to feed it.

    Attributes:
        class_name: Class of the model, for example ``"AtlasUNet"``.
        arguments: Arguments of its constructor.
        pixel_size_um: Edge of an input pixel in µm.
        value_range: Smallest and largest input value.
        polarity: What small and large values mean.
        classes: Names of the output classes in order; empty where the model has none or they were not named.
        output_grid: Where output cells lie in the input (see ``FieldGeometry``); empty where the model has
            none.
    """

    class_name: str
    arguments: dict[str, Any]
    pixel_size_um: float
    value_range: tuple[float, float] = (0.0, 255.0)
    polarity: str = "0 black (stained cells), 255 white (background)"
    classes: tuple[str, ...] = ()
    output_grid: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``config.json``."""
        return {
            "format_version": FORMAT_VERSION,
            "library": LIBRARY,
            "class_name": self.class_name,
            "arguments": self.arguments,
            "input": {
                "pixel_size_um": self.pixel_size_um,
                "value_range": list(self.value_range),
                "polarity": self.polarity,
            },
            "classes": list(self.classes),
            "output_grid": self.output_grid,
        }

    @classmethod
    def from_json(cls, fields: JsonFields) -> PresetConfig:
        """Check the content of ``config.json`` and return it.

        Raises:
            UserError: It belongs to another library or a newer format, or a field is missing or wrong.
        """
        library = fields.values.get("library")
        if library != LIBRARY:
            received = "no such field" if library is None else repr(library)
            fields.fail("library", f"must be {LIBRARY!r}, received {received}; this is no cytokeras preset")
        _check_format_version(fields)
        fields.only(_CONFIG_FIELDS)
        inputs = fields.mapping("input")
        inputs.only(("pixel_size_um", "value_range", "polarity"))
        arguments = fields.mapping("arguments").values
        config = cls(
            class_name=fields.text("class_name"),
            arguments=arguments,
            pixel_size_um=inputs.positive_number("pixel_size_um"),
            value_range=inputs.number_pair("value_range"),
            polarity=inputs.text("polarity"),
            classes=tuple(str(name) for name in fields.items("classes")),
            output_grid=fields.mapping("output_grid").values,
        )
        built_for = arguments.get("pixel_size_um", config.pixel_size_um)
        if built_for != config.pixel_size_um:
            inputs.fail("pixel_size_um", f"{config.pixel_size_um} differs from {built_for} in field arguments")
        return config


@dataclass(frozen=True)
class PresetMetadata:
    """``metadata.json``: the check sums of the weights, and where the weights come from.

    Attributes:
        cytokeras_version, keras_version: Versions that wrote the preset.
        trainable_parameters: Number of trainable weights.
        weights_sha256: SHA-256 of ``model.weights.h5`` as 64 hexadecimal digits.
        golden_sha256: SHA-256 of ``golden.npz``; None for a preset without golden pair.
        variables: The weight arrays in the order of ``model.variables``.
        provenance: The fields of ``PROVENANCE_FIELDS`` that are known.
    """

    cytokeras_version: str
    keras_version: str
    trainable_parameters: int
    weights_sha256: str
    variables: tuple[Variable, ...]
    provenance: dict[str, Any]
    golden_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``metadata.json``."""
        return {
            "format_version": FORMAT_VERSION,
            "cytokeras_version": self.cytokeras_version,
            "keras_version": self.keras_version,
            "trainable_parameters": self.trainable_parameters,
            "weights_sha256": self.weights_sha256,
            "golden_sha256": self.golden_sha256,
            "variables": [
                {
                    "path": variable.path,
                    "shape": list(variable.shape),
                    "dtype": variable.dtype,
                    "sha256": variable.sha256,
                }
                for variable in self.variables
            ],
            **{name: self.provenance.get(name) for name in PROVENANCE_FIELDS},
        }

    @classmethod
    def from_json(cls, fields: JsonFields) -> PresetMetadata:
        """Check the content of ``metadata.json`` and return it.

        Raises:
            UserError: The format is newer, or a field is missing or wrong.
        """
        _check_format_version(fields)
        fields.only(_METADATA_FIELDS)
        variables = tuple(
            _variable_from_json(item, f"{fields.where}, field variables[{index}]")
            for index, item in enumerate(fields.items("variables"))
        )
        return cls(
            cytokeras_version=fields.text("cytokeras_version"),
            keras_version=fields.text("keras_version"),
            trainable_parameters=fields.integer("trainable_parameters"),
            weights_sha256=fields.text("weights_sha256").lower(),
            variables=variables,
            provenance=check_provenance(fields),
            golden_sha256=fields.optional_text("golden_sha256"),
        )


#: What a writer of weights can say about them, with the kind of each field.
PROVENANCE_FIELDS: dict[str, type] = {
    "description": str,  # one line
    "recipe": dict,  # how it was trained: optimizer, rates, steps, loss, seed
    "data": dict,  # description (text), license (text), synthetic (true or false)
    "license": str,  # licence of the weights, an SPDX name
    "scores": dict,  # score name -> number, or set name -> scores
    "source_preset": str,  # preset the training started from
    "date": str,  # YYYY-MM-DD
    "commit": str,  # commit of the code that trained it
}


_CONFIG_FIELDS = ("format_version", "library", "class_name", "arguments", "input", "classes", "output_grid")
_METADATA_FIELDS = (
    "format_version",
    "cytokeras_version",
    "keras_version",
    "trainable_parameters",
    "weights_sha256",
    "golden_sha256",
    "variables",
    *PROVENANCE_FIELDS,
)


def check_provenance(fields: JsonFields) -> dict[str, Any]:
    """Return the provenance fields that are present, after checking their kinds.

    Raises:
        UserError: A field is of another kind.
    """
    found: dict[str, Any] = {}
    for name, kind in PROVENANCE_FIELDS.items():
        value = fields.optional_text(name) if kind is str else (fields.optional_mapping(name) or None)
        if value is not None:
            found[name] = value
    if "data" in found:
        data = fields.mapping("data")
        data.optional_text("description")
        data.optional_text("license")
        if "synthetic" in data.values:
            data.boolean("synthetic")
    return found


class PresetFolder:
    """A folder that should hold a preset.

    Args:
        folder: The folder.
        label: What the user calls it, for error messages: a path, a preset name or a Hub repository.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.folder = folder
        self.label = label

    def file(self, name: str) -> Path:
        """Return the path of one file of the preset.

        Raises:
            UserError: It is missing, no regular file, or a link that leaves the folder.
        """
        path = self.folder / name
        if not os.path.lexists(path):
            raise UserError(f"{self.label}: has no file {name}; a preset holds {', '.join(PRESET_FILES)}.")
        try:
            target = path.resolve()
        except (OSError, RuntimeError) as error:
            raise UserError(f"{self.label}/{name}: is a link that leads nowhere ({error}).") from error
        if not any(target.is_relative_to(root) for root in _allowed_roots(self.folder.resolve())):
            raise UserError(f"{self.label}/{name}: is a link that leaves the folder, which is refused.")
        if not target.is_file():
            raise UserError(f"{self.label}/{name}: is no regular file.")
        return path

    def read_config(self) -> PresetConfig:
        """Return the checked content of ``config.json``."""
        return PresetConfig.from_json(read_json(self.file(CONFIG_FILE), f"{self.label}/{CONFIG_FILE}"))

    def read_metadata(self) -> PresetMetadata:
        """Return the checked content of ``metadata.json``."""
        return PresetMetadata.from_json(read_json(self.file(METADATA_FILE), f"{self.label}/{METADATA_FILE}"))

    def check_weights(self, metadata: PresetMetadata) -> Path:
        """Return the path of the weights after checking the file as a whole against ``metadata``.

        Raises:
            UserError: The SHA-256 differs.
        """
        return self._checked_file(WEIGHTS_FILE, metadata.weights_sha256)

    def check_golden(self, metadata: PresetMetadata) -> Path:
        """Return the path of the golden pair after checking the file against ``metadata``.

        Raises:
            UserError: The preset has none, or the SHA-256 differs.
        """
        if metadata.golden_sha256 is None:
            raise UserError(f"{self.label}: has no golden pair; save_pretrained(folder, golden=True) writes one.")
        return self._checked_file(GOLDEN_FILE, metadata.golden_sha256)

    def _checked_file(self, name: str, sha256: str) -> Path:
        path = self.file(name)
        found = sha256_of(path)
        if found == sha256:
            return path
        text = (
            f"{self.label}/{name}: is damaged or was replaced: its SHA-256 is {found}, {METADATA_FILE} states {sha256}"
        )
        with path.open("rb") as file:
            pointer = file.read(len(_LFS_POINTER)) == _LFS_POINTER
        raise UserError(f"{text}{'; it is a Git LFS pointer, fetch the file with `git lfs pull`' if pointer else ''}.")

    def read_weights(self, metadata: PresetMetadata) -> dict[str, np.ndarray]:
        """Return path -> values of every variable, after all checks of the weights.

        Raises:
            UserError: As ``check_weights``, or the arrays of the file are not those of ``metadata``.
        """
        return read_weights(self.check_weights(metadata), metadata.variables, f"{self.label}/{WEIGHTS_FILE}")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def variables_difference(stored: Sequence[Variable], built: Sequence[Variable]) -> str | None:
    """Return a sentence on the first difference of name or shape between two variable lists, or None."""
    for index, (left, right) in enumerate(zip(stored, built, strict=False)):
        if (left.path, left.shape) != (right.path, right.shape):
            return f"variable {index} is {left} in the preset and {right} in the model"
    if len(stored) != len(built):
        return f"the preset has {len(stored)} variables and the model {len(built)}"
    return None


def _check_format_version(fields: JsonFields) -> None:
    version = fields.integer("format_version")
    if version > FORMAT_VERSION:
        fields.fail(
            "format_version",
            f"{version} is newer than {FORMAT_VERSION}, the newest this version reads; upgrade cytokeras",
        )
    if version < 1:
        fields.fail("format_version", f"must be at least 1, received {version}")


def _variable_from_json(item: object, where: str) -> Variable:
    if not isinstance(item, dict):
        raise UserError(f"{where}: must be an object with path, shape, dtype and sha256, received {item!r}.")
    fields = JsonFields(item, where)
    shape = fields.items("shape")
    if not all(type(size) is int and size >= 0 for size in shape):
        fields.fail("shape", f"must be a list of sizes, received {shape}")
    return Variable(fields.text("path"), tuple(shape), fields.text("dtype"), fields.text("sha256").lower())


def _allowed_roots(folder: Path) -> list[Path]:
    # In the cache of huggingface_hub a snapshot, <repository>/snapshots/<commit>, links to
    # <repository>/blobs.
    blobs = folder.parent.parent / "blobs"
    return [folder, blobs] if folder.parent.name == "snapshots" and blobs.is_dir() else [folder]
