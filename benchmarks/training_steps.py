"""A training step of both networks against the same networks in plain PyTorch: time, memory, loss.

    python benchmarks/training_steps.py [time] [memory] [loss] [--networks siamese unet] [--ways NAME ...]

``time`` trains the networks of the paper at 2 µm (pairs of 1019 px, patches of 2025 px with atlas). Every way has a
process of its own on the same cores; after two steps to warm up, it and PyTorch do their steps in turn, so that other
load meets both. ``memory`` does three steps of a batch of four in a fresh process and reads its high-water mark
(VmHWM). ``loss`` starts the variants for 16 µm from equal weights and compares 50 losses. Linux; PyTorch must be
installed. A few minutes each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _training_inputs import ALPHA, CLIPPED_TO, MOMENTUM, OUTPUT_SCALE_MM, WEIGHT_DECAY, Task, draw_weight

PEER = "PyTorch"
WAYS: dict[str, dict[str, str]] = {
    PEER: {},
    "PyTorch, channels_last": {},
    "tensorflow": {"KERAS_BACKEND": "tensorflow", "TF_ENABLE_ONEDNN_OPTS": "0"},
    "tensorflow-onednn": {"KERAS_BACKEND": "tensorflow", "TF_ENABLE_ONEDNN_OPTS": "1"},
    "tensorflow-xla": {"KERAS_BACKEND": "tensorflow", "TF_ENABLE_ONEDNN_OPTS": "0"},
    "torch": {"KERAS_BACKEND": "torch"},
    "jax": {"KERAS_BACKEND": "jax"},
}
WARM_UP = 2
LOSS_STEPS = 50
LOSS_BATCH = {"siamese": 8, "unet": 2}  # statistics of four single cells are too few: rounding grows
LARGEST_LOSS_DIFFERENCE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["time", "memory", "loss"])
    parser.add_argument("--networks", nargs="+", default=["siamese", "unet"], choices=["siamese", "unet"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS)[1:], choices=list(WAYS))
    parser.add_argument("--batch", type=int, default=4, help="pairs or patches in a batch (%(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed (%(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores for every way (%(default)s)")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    if arguments.worker:
        _serve(arguments.worker[0], Task(**json.loads(arguments.worker[1])))
        return
    for part in arguments.parts:
        {"time": step_times, "memory": step_memory, "loss": equal_losses}[part](arguments)


def step_times(arguments: argparse.Namespace) -> None:
    print("\n| network | batch | way | s a step | CPU s | PyTorch s | PyTorch CPU s | ratio (wall, CPU) |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for network in arguments.networks:
        task = Task(network, batch_size=arguments.batch)
        with Worker(PEER, task, arguments.threads) as peer:
            peer.steps(WARM_UP)
            for way in (way for way in arguments.ways if way != PEER):
                with Worker(way, task, arguments.threads) as worker:
                    worker.steps(WARM_UP)
                    turns = [(worker.steps(1), peer.steps(1)) for _ in range(arguments.steps)]
                ours, theirs = (_middle([turn[side] for turn in turns]) for side in (0, 1))
                ratios = ", ".join(f"{one / two:.2f}" for one, two in zip(ours, theirs, strict=True))
                seconds = " | ".join(f"{value:.2f}" for value in (*ours, *theirs))
                print(f"| {network} | {task.batch_size} | {way} | {seconds} | {ratios} |", flush=True)


def step_memory(arguments: argparse.Namespace) -> None:
    print("\n| network | batch | way | peak memory, MB | of it before the first step | ratio |")
    print("|---|---|---|---|---|---|", flush=True)
    for network in arguments.networks:
        task, peak = Task(network, batch_size=arguments.batch), None
        for way in [PEER, *(way for way in arguments.ways if way != PEER)]:
            with Worker(way, task, arguments.threads) as worker:
                found = worker.steps(3)
            peak = peak or found["peak_mb"]
            ratio = found["peak_mb"] / peak
            row = f"{way} | {found['peak_mb']:.0f} | {found['before_mb']:.0f} | {ratio:.2f}"
            print(f"| {network} | {task.batch_size} | {row} |", flush=True)


def equal_losses(arguments: argparse.Namespace) -> None:
    print(f"\n| network | way | loss, first and after {LOSS_STEPS} steps | PyTorch | largest relative difference |")
    print("|---|---|---|---|---|", flush=True)
    for network in arguments.networks:
        task = Task(network, 16.0, LOSS_BATCH[network])
        with Worker(PEER, task, arguments.threads) as peer:
            theirs = peer.steps(LOSS_STEPS)["loss"]
        for way in (way for way in arguments.ways if way != PEER):
            with Worker(way, task, arguments.threads) as worker:
                ours = worker.steps(LOSS_STEPS)["loss"]
            difference = max(abs(one - two) / abs(two) for one, two in zip(ours, theirs, strict=True))
            verdict = "" if difference <= LARGEST_LOSS_DIFFERENCE else " (too large)"
            ends = " | ".join(f"{losses[0]:.4f}, {losses[-1]:.4f}" for losses in (ours, theirs))
            print(f"| {network} | {way} | {ends} | {difference:.1e}{verdict} |", flush=True)


def _middle(turns: list[dict[str, Any]]) -> tuple[float, float]:
    return tuple(statistics.median(turn[clock][0] for turn in turns) for clock in ("wall", "cpu"))


class Worker:
    """A process that trains one network in one way and does steps when asked."""

    def __init__(self, way: str, task: Task, threads: int) -> None:
        command = [sys.executable, __file__, "--threads", str(threads), "--worker", way, json.dumps(asdict(task))]
        environment = {**os.environ, **WAYS[way], "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._way = way
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def steps(self, count: int) -> dict[str, Any]:
        """Do so many steps; lists of their times and losses, and the memory so far."""
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self._way}: the process ended")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()


def _serve(way: str, task: Task) -> None:
    """Read numbers of steps, do them, write what they took."""
    step = _torch_step(way, task) if way.startswith(PEER) else keras_step(task, jit_compile=_jit_of(way))
    before, number = _memory_mb("VmHWM"), 0
    for line in sys.stdin:
        found: dict[str, Any] = {"wall": [], "cpu": [], "loss": [], "before_mb": before}
        for _ in range(int(line)):
            inputs, targets = task.batch(number % 8)
            number += 1
            wall, cpu = time.perf_counter(), time.process_time()
            found["loss"].append(step(inputs, targets))
            found["wall"].append(time.perf_counter() - wall)
            found["cpu"].append(time.process_time() - cpu)
        print(json.dumps({**found, "peak_mb": _memory_mb("VmHWM")}), flush=True)


def _jit_of(way: str) -> bool | str:
    return True if way.endswith("-xla") else "auto"


def _torch_step(way: str, task: Task) -> Any:
    from _torch_networks import training_step

    return training_step(task, channels_last=way.endswith("channels_last"))


def keras_step(task: Task, *, jit_compile: bool | str = "auto") -> Any:
    """A function of inputs and targets that does one step of our network and gives the loss."""
    model = keras_model(task, jit_compile=jit_compile)

    def step(inputs: Any, targets: Any) -> float:
        return float(model.train_on_batch(inputs, targets, return_dict=True)["loss"])

    return step


def keras_model(task: Task, *, jit_compile: bool | str = "auto") -> Any:
    """Our network with the common initial weights, compiled."""
    import keras

    import cytokeras as ck

    shape = (task.patch_px, task.patch_px, 1)
    arguments = {"pixel_size_um": task.pixel_size_um, "widths": task.widths}
    if task.network == "siamese":
        model = ck.SiameseDistanceNet(shape, weight_decay=WEIGHT_DECAY, output_scale_mm=OUTPUT_SCALE_MM, **arguments)
        losses = ck.siamese_losses(ALPHA, OUTPUT_SCALE_MM)
    else:
        model = ck.AtlasUNet(input_shape=shape, **arguments)
        losses = {"loss": ck.MaskedCategoricalCrossentropy()}
    for variable in model.weights:
        layer, kind = variable.path.split("/")[-2:]
        variable.assign(draw_weight(layer, kind, tuple(variable.shape)))
    optimizer = keras.optimizers.SGD(task.learning_rate, MOMENTUM, nesterov=True, global_clipnorm=CLIPPED_TO)
    model.compile(optimizer, **losses, jit_compile=jit_compile)
    return model


def _memory_mb(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
