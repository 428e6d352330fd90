"""A picture of a training's log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from cytokeras._files import atomic_path

_NOT_DRAWN = ("phase", "step", "seconds")
_COLUMNS = 3


def draw_curves(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Draw every number of the log against the steps, training and validation of one quantity together.

    Args:
        rows: Lines of the log with ``phase`` (from 1) and ``step`` (of the phase); other columns may be empty.
        path: A ``.png`` file.
    """
    # The pictures are drawn without pyplot, which would choose a window system for the user's process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name not in _NOT_DRAWN]
    groups = [name for name in names if name.removeprefix("val_") == name or name.removeprefix("val_") not in names]
    if not groups:
        return
    steps = _steps_of_all_phases(rows)
    lines = math.ceil(len(groups) / _COLUMNS)
    figure = Figure((4.2 * min(len(groups), _COLUMNS), 2.8 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, name in enumerate(groups):
        axes = figure.add_subplot(lines, min(len(groups), _COLUMNS), number + 1)
        for column, label in ((name, "training"), (f"val_{name}", "validation")):
            points = [(x, float(row[column])) for x, row in zip(steps, rows, strict=True) if row.get(column)]
            if points:
                own = "validation" if column.startswith("val_") else label
                axes.plot(*zip(*points, strict=True), label=own, marker="." if len(points) < 30 else None)
        axes.set_title(name.removeprefix("val_"), fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        if len(axes.lines) > 1:
            axes.legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _steps_of_all_phases(rows: Sequence[dict[str, str]]) -> list[int]:
    """Steps counted on through all phases."""
    last: dict[int, int] = {}
    for row in rows:
        last[int(row["phase"])] = int(row["step"])
    before = {phase: sum(steps for other, steps in last.items() if other < phase) for phase in last}
    return [before[int(row["phase"])] + int(row["step"]) for row in rows]
