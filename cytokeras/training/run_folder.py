"""The folder of a training run: its settings, log, curves, checkpoints and results."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cytokeras._files import atomic_path, create_folder, yaml_text
from cytokeras.errors import UserError

_CONFIG, _LOG, _STATE, _CURVES = "config.yaml", "log.csv", "state.h5", "curves.png"


class RunFolder:
    """A folder that a training writes to and goes on from.

    ``config.yaml`` holds the settings, ``log.csv`` a line an interval, ``curves.png`` a picture of it, ``events/`` the
    same for TensorBoard, ``state.h5`` the last checkpoint, ``best.weights.h5``
    the weights of the best validation score (for ``load_weights``) and ``preset/`` the network at the end.

    Args:
        path: The folder; made where absent.
        settings: What the run is made with, as YAML values. A run goes on only with equal ones.

    Raises:
        UserError: The folder holds something else, or a run with other settings.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.path = create_folder(path)
        self.settings = dict(settings)
        config = self.path / _CONFIG
        if config.exists():
            self._check_settings(config)
            return
        if any(self.path.iterdir()):
            raise UserError(f"{self.path}: is not empty and holds no {_CONFIG}; choose another folder for the run.")
        with atomic_path(config) as temporary:
            temporary.write_text(yaml_text(self.settings), encoding="utf-8")

    @property
    def state(self) -> Path:
        """The last checkpoint."""
        return self.path / _STATE

    @property
    def preset(self) -> Path:
        """The preset at the end of the run."""
        return self.path / "preset"

    @property
    def best(self) -> Path:
        """Weights of the best validation score so far."""
        return self.path / "best.weights.h5"

    @property
    def events(self) -> Path:
        """Events for TensorBoard."""
        return self.path / "events"

    @property
    def samples(self) -> Path:
        """Tables of places and pairs of a pre-training."""
        return self.path / "samples"

    @property
    def curves(self) -> Path:
        """The log as a picture."""
        return self.path / _CURVES

    def rows(self) -> list[dict[str, str]]:
        """The lines of the log so far."""
        log = self.path / _LOG
        if not log.exists():
            return []
        with log.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def last_scores(self) -> dict[str, float]:
        """Validation scores of the last line of the log; empty without validation."""
        last = self.rows()[-1:]
        return {name: float(value) for row in last for name, value in row.items() if name.startswith("val_") and value}

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        self._write_log([*self.rows(), {name: _text(value) for name, value in row.items()}])

    def forget_after(self, phase: int, step: int) -> None:
        """Drop the lines of the log that lie behind the checkpoint a run goes on from."""
        rows = self.rows()
        kept = [row for row in rows if (int(row["phase"]), int(row["step"])) <= (phase, step)]
        if len(kept) != len(rows):
            self._write_log(kept)

    def _write_log(self, rows: list[dict[str, str]]) -> None:
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with atomic_path(self.path / _LOG) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")

    def draw_curves(self) -> None:
        """Draw every column of the log against the steps into ``curves.png``."""
        from cytokeras.training._curves import draw_curves

        draw_curves(self.rows(), self.curves)

    def _check_settings(self, config: Path) -> None:
        try:
            found = yaml.safe_load(config.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"{config}: cannot be read ({error}); choose another folder for the run.") from error
        wanted = yaml.safe_load(yaml_text(self.settings))
        if not isinstance(found, dict):
            raise UserError(f"{config}: holds no settings of a run; choose another folder for the run.")
        names = [name for name in wanted | found if wanted.get(name) != found.get(name)]
        if names:
            told = "; ".join(_difference(name, found.get(name), wanted.get(name)) for name in names)
            raise UserError(f"{self.path}: holds a run with other settings: {told}. Choose another folder.")


def _difference(name: str, found: Any, wanted: Any) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        parts = [part for part in wanted | found if wanted.get(part) != found.get(part)]
        return ", ".join(f"{name}.{part} {found.get(part)} (now {wanted.get(part)})" for part in parts)
    return f"{name} {found} (now {wanted})"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
