"""Columns of numbers in a CSV file that come back bit by bit."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytokeras._files import atomic_path
from cytokeras.errors import UserError


def write_table(path: str | os.PathLike[str], columns: Mapping[str, NDArray[np.generic]]) -> None:
    """Write columns of equal length; the shortest decimals that read back to the same float are written."""
    cells = [[repr(value) for value in column.tolist()] for column in columns.values()]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*cells, strict=True))


def read_table(path: str | os.PathLike[str], columns: Mapping[str, type]) -> dict[str, NDArray[Any]]:
    """Read the named columns, each as int64 (``int``) or float64 (``float``); others are left out.

    Raises:
        UserError: No such file, a missing column, or a cell that is not such a number; names the file, the
            line and the column.
    """
    source = Path(path)
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise UserError(f"{source}: no such table.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{source}: cannot be read as CSV ({error}).") from error
    header = rows[0] if rows else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise UserError(f"{source}: columns {', '.join(missing)} are missing. Received: {', '.join(header)}")
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise UserError(f"{source}, line {line}: {len(header)} cells expected. Received: {len(row)}")
    by_name = dict(zip(header, zip(*rows[1:], strict=True), strict=True)) if rows[1:] else {}
    return {name: _convert(source, name, by_name.get(name, ()), kind) for name, kind in columns.items()}


def _convert(source: Path, name: str, cells: tuple[str, ...], kind: type) -> NDArray[Any]:
    dtype = np.int64 if kind is int else np.float64
    try:
        return np.array([kind(cell) for cell in cells], dtype)
    except (ValueError, OverflowError):
        wanted = "a whole number" if kind is int else "a number"
        for line, cell in enumerate(cells, 2):
            try:
                dtype(kind(cell))
            except (ValueError, OverflowError):
                raise UserError(f"{source}, line {line}, {name}: {wanted} expected. Received: {cell!r}") from None
        raise
