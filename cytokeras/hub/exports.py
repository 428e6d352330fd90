"""Presets in the formats of other programs: Keras files, SavedModel, ONNX and packages of bioimage.io."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cytokeras._files import atomic_path, create_folder
from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.hub._preset_loader import load_folder
from cytokeras.hub.golden import GoldenPair
from cytokeras.hub.preset_files import PresetFolder
from cytokeras.hub.presets import download_preset

_SUFFIXES = {"keras": ".keras", "savedmodel": ".zip", "onnx": ".onnx", "bioimageio": ".zip"}

# The programs of the bioimage.io partners have run it since 2022.
ONNX_OPSET = 17


def export_preset(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    format: str,
    *,
    authors: Sequence[str] = (),
    **where: Any,
) -> Path:
    """Write a preset in the format of another program.

    Args:
        source: As for ``from_pretrained``.
        path: New file.
        format: ``"keras"`` (``.keras``; reading it needs cytokeras), ``"savedmodel"`` (a zipped TensorFlow SavedModel),
            ``"onnx"``, or ``"bioimageio"`` (a zip package with ONNX weights, test tensors and the model card). In the
            last three, images are float32 0 … 255 and the batch size is free.
        authors: Names of the authors of the weights; bioimage.io asks for them.
        **where: ``revision``, ``local_files_only``, ``cache_dir``, ``token``, as for ``from_pretrained``.

    Returns:
        The path.

    Raises:
        UserError: The preset cannot be loaded, the path exists or has another suffix, a package that the format
            needs is missing, or Keras cannot export to it on this backend.
    """
    target = _checked_target(path, format)
    if format == "bioimageio" and not authors:
        raise UserError("bioimage.io asks for the authors of the weights; name them (--author NAME).")
    preset = PresetFolder(download_preset(source, **where), os.fspath(source))
    model = load_folder(preset)
    create_folder(target.parent)
    with atomic_path(target) as partial, _export_errors(format):
        match format:
            case "keras":
                model.save(partial)
            case "savedmodel":
                _write_savedmodel(model, partial)
            case "onnx":
                write_onnx(model, partial)
            case "bioimageio":
                from cytokeras.hub._bioimageio import write_package

                write_package(model, preset, authors, partial)
    return target


def write_onnx(model: Any, path: Path) -> None:
    """Write a model as ONNX with free batch size."""
    _call_once(model)
    model.export(str(path), format="onnx", opset_version=ONNX_OPSET, verbose=False)


def _write_savedmodel(model: Any, path: Path) -> None:
    _call_once(model)
    with tempfile.TemporaryDirectory(prefix="cytokeras-export-") as workplace:
        folder = Path(workplace) / path.stem
        model.export(str(folder), format="tf_saved_model", verbose=False)
        shutil.make_archive(str(path.with_suffix("")), "zip", folder)


def _call_once(model: Any) -> None:
    # Keras exports only what was called.
    GoldenPair.of(model)


def _checked_target(path: str | os.PathLike[str], format: str) -> Path:
    if format not in _SUFFIXES:
        raise UserError(
            f"Unknown format {format!r}.{nearest_name_hint(format, _SUFFIXES)} Known: {', '.join(_SUFFIXES)}."
        )
    target = Path(path)
    if target.suffix != _SUFFIXES[format]:
        raise UserError(f"{target}: the format {format} is written to a file *{_SUFFIXES[format]}.")
    if os.path.lexists(target):
        raise UserError(f"{target}: exists already; choose another path.")
    return target


@contextlib.contextmanager
def _export_errors(format: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"The format {format} needs a package that is not installed ({error}): pip install 'cytokeras[export]'"
        ) from error
    except NotImplementedError as error:
        raise UserError(f"Keras cannot export to {format} on this backend ({error}).") from error
