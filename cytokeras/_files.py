"""Writing files so that an interrupted run leaves nothing half-written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cytokeras.errors import UserError

_SHOWN_LENGTH = 40  # characters of a setting that a message can bear; digests are longer


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends without an error.

    The temporary name keeps the suffixes, so that writers which choose a format by suffix choose the same one.

    Raises:
        UserError: The folder of ``path`` does not exist or cannot be written to.
    """
    target = Path(path)
    check_writable_folder(target.parent)
    temporary = target.with_name(f".{uuid.uuid4().hex[:8]}.partial.{target.name}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as readable JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(dict(content), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def same_settings(path: Path, settings: Mapping[str, Any], holds: str, remedy: str) -> bool:
    """Compare what a folder is to be made with and what it was begun with.

    Args:
        path: The JSON file in the folder that `write_json` noted the settings in.
        settings: JSON values that decide what is written into the folder.
        holds: What the folder holds, as in "holds tables made".
        remedy: What to do where the settings differ.

    Returns:
        True: they are the same; False: none are noted yet.

    Raises:
        UserError: Others are noted, or the file cannot be read.
    """
    if not path.exists():
        return False
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}.") from error
    before = noted if isinstance(noted, dict) else {}
    now = json.loads(json.dumps(dict(settings)))  # tuples become lists, as in the file
    differing = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    if differing:
        changes = ", ".join(_change(name, before.get(name), now.get(name)) for name in differing)
        raise UserError(f"{path.parent}: {holds} with other settings: {changes}; {remedy}.")
    return True


def _change(name: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        parts = [part for part in {**now, **before} if before.get(part) != now.get(part)]
        return ", ".join(_change(f"{name}.{part}", before.get(part), now.get(part)) for part in parts)
    text = f"{name} {before} (now {now})"
    return text if len(text) - len(name) <= 2 * _SHOWN_LENGTH else name


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path`` that becomes ``path`` when the block ends without an error.

    Raises:
        UserError: ``path`` exists, or its parent cannot be created or written to.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise UserError(f"{target}: exists already; choose a new folder.")
    create_folder(target.parent)
    temporary = target.with_name(f".{uuid.uuid4().hex[:8]}.partial.{target.name}")
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable_folder(folder: Path) -> None:
    """Raise UserError unless ``folder`` exists and a file can be created in it."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder to write to; create it or choose another output.")
    probe = folder / f".{uuid.uuid4().hex[:8]}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); choose another output.") from error


def create_folder(folder: str | os.PathLike[str]) -> Path:
    """Create ``folder`` with its parents where absent and check that it can be written to."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be created as a folder ({error.strerror}).") from error
    check_writable_folder(path)
    return path
