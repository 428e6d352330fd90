"""Kills ``cytokeras pretrain`` at many points and compares how the runs end.

    python benchmarks/kill_points.py [--points 20]

A small synthetic brain is drawn, and one undisturbed run made. Then every run is killed (SIGKILL) at another time,
started again until it is complete, and its weights are compared with those of the undisturbed one.
"""

from __future__ import annotations

import argparse
import csv
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

STEPS = 24
FIELDS = {"patches": 48, "pairs": 96, "batch_size": 8, "epochs": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20, help="kill points (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        brain = draw_brain(folder / "brain")
        whole = folder / "whole"
        training = run(brain, whole)
        print(f"undisturbed run: {training:.0f} s of which the killed ones see a part", flush=True)
        expected = weights_of(whole)
        print("| kill after s | steps in the last checkpoint | largest difference of a weight |\n|---|---|---|")
        for number, seconds in enumerate(np.linspace(0.1, 0.95, arguments.points) * training):
            out = folder / f"run-{number}"
            run(brain, out, float(seconds))
            kept = steps_of(out)
            run(brain, out)
            difference = max(float(np.abs(a - b).max()) for a, b in zip(weights_of(out), expected, strict=True))
            print(f"| {seconds:.1f} | {kept} of {STEPS} | {difference:g} |", flush=True)


def draw_brain(folder: Path) -> Path:
    from cytokeras import PhantomBrain

    PhantomBrain(5, 20.0, [-92.0, -84.0], ["left"], "easy").save(folder)
    return folder


def run(brain: Path, out: Path, kill_after: float | None = None) -> float:
    """Run the command to its end, or kill it; returns the seconds it took."""
    fields = [argument for field, value in FIELDS.items() for argument in ("--set", f"{field}={value}")]
    widths = ["--widths", *6 * ["2"]]
    command = ["pretrain", brain, "--out", out, "--interval", "2", "--quiet", *fields, *widths]
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "cytokeras.cli", *map(str, command)], stdout=subprocess.DEVNULL)
    try:
        status = process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        status = process.wait()
    assert status in (0, 1) or kill_after is not None, f"the command ended with status {status}"
    return time.monotonic() - started


def weights_of(out: Path) -> list[np.ndarray]:
    with h5py.File(out / "state.h5", "r") as file:
        return [file["weights"][name][()] for name in sorted(file["weights"])]


def steps_of(out: Path) -> int:
    log = out / "log.csv"
    if not log.exists():
        return 0
    with log.open(newline="", encoding="utf-8") as file:
        return max((int(row["step"]) for row in csv.DictReader(file)), default=0)


if __name__ == "__main__":
    main()
