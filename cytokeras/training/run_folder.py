"""The folder of a training run: its settings, log, curves, checkpoints and results."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytokeras._files import atomic_path, create_folder, same_settings, write_json
from cytokeras.errors import UserError

_CONFIG, _LOG, _STATE, _CURVES = "config.json", "log.csv", "state.h5", "curves.png"


class RunFolder:
    """A folder that a training writes to and goes on from.

    ``config.json`` holds the settings, ``log.csv`` a line an interval, ``curves.png`` a picture of it, ``events/`` the
    same for TensorBoard, ``state.h5`` the last checkpoint, ``best.weights.h5``
    the weights of the best validation score (for ``load_weights``) and ``preset/`` the network at the end.

    Args:
        path: The folder; made where absent.
        settings: What the run is made with, as JSON values. A run goes on only with equal ones.
        read_only: Write nothing: of several processes that train together one keeps the folder, and all go on from it.

    Raises:
        UserError: The folder holds something else, or a run with other settings.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any], *, read_only: bool = False) -> None:
        self.path = Path(path) if read_only else create_folder(path)
        self.settings = dict(settings)
        self.read_only = read_only
        config = self.path / _CONFIG
        if same_settings(config, self.settings, "holds a run", "choose another folder") or read_only:
            return
        if any(self.path.iterdir()):
            raise UserError(f"{self.path}: is not empty and holds no {_CONFIG}; choose another folder for the run.")
        write_json(config, self.settings)

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


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
