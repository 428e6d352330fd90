"""Who may import whom, and how long the light parts take to import (DESIGN: layers)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cytokeras"

SHARED = {"errors", "_auxiliary_tasks", "_files", "_progress", "_version", "_scores"}
ALLOWED = {
    "surfaces": SHARED,
    "brain": SHARED | {"surfaces"},
    "sampling": SHARED | {"surfaces", "brain"},
    "phantom": SHARED | {"surfaces", "brain"},
    "models": SHARED,
    "losses": SHARED,
    "metrics": SHARED,
    "pipelines": SHARED | {"surfaces", "brain", "sampling", "models"},
    "training": SHARED | {"surfaces", "brain", "sampling", "models", "losses", "metrics", "pipelines"},
    "hub": SHARED | {"models"},
    "inference": SHARED | {"surfaces", "brain", "sampling", "models"},
    "analysis": SHARED | {"surfaces", "brain", "models", "inference"},
}
# from_pretrained is a method of the models, and the hub knows the models: one import inside the method closes
# the circle where it is used.
EXCEPTIONS = {("models/_pretrained.py", "hub")}
KERAS_FREE = ("surfaces", "brain", "sampling", "phantom")


def imported_parts(path: Path) -> set[str]:
    """Top-level parts of cytokeras that a file imports, at module level or inside functions."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cytokeras"):
            rest = node.module.split(".")[1:]
            parts |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            parts |= {a.name.split(".")[1] for a in node.names if a.name.startswith("cytokeras.")}
    return parts


def files_of(part: str) -> list[Path]:
    folder = PACKAGE / part
    return sorted(folder.glob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_stay_within_layers(part):
    for path in files_of(part):
        name = path.relative_to(PACKAGE).as_posix()
        foreign = imported_parts(path) - ALLOWED[part] - {part}
        foreign -= {target for file, target in EXCEPTIONS if file == name}
        assert not foreign, f"{name} imports {sorted(foreign)}"


def test_every_part_has_a_rule():
    parts = {p.stem for p in PACKAGE.iterdir() if p.name != "__pycache__" and (p.is_dir() or p.suffix == ".py")}
    assert parts - set(ALLOWED) - SHARED == {"__init__", "_commands", "cli", "demo"}


def test_nothing_imports_the_command_line():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "cli.py" and path.parent.name != "_commands":
            assert not {"_commands", "cli", "demo"} & imported_parts(path), path


@pytest.mark.parametrize("part", KERAS_FREE)
def test_light_parts_import_no_keras(part):
    code = (
        f"import cytokeras.{part}, sys; "
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch', 'nilearn') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_file_is_over_400_lines():
    root = PACKAGE.parent
    long = {
        str(path): count
        for folder in ("cytokeras", "tests", "examples", "benchmarks")
        for path in (root / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert not long
