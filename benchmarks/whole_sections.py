"""Whole sections: throughput against other ways, memory, a kill half-way, and two Dask workers against one.

    python benchmarks/whole_sections.py [speed] [memory] [dask]

``speed`` predicts the same section of tissue as 2025 px patches one after another and in the windows of
``segment_section``, with the network of the paper at 2 µm; the rate of the machine's own convolutions is measured on
the network's largest layers in the same run. With ``monai`` and ``torch`` installed, MONAI's sliding-window inferer on
the same network in PyTorch stands in the table. ``memory`` segments sections of 40,000 x 60,000 px and of twice the
size, the first one killed half-way and taken up again. ``dask`` needs ``distributed``.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import hashlib
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from _monai_peer import monai_ways

CLASSES, AREAS = 16, 13
PATCH = 2025
SECTION_PX = 8_192  # 1024 cells: two windows of 512 a side
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["speed", "memory", "dask"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _memory_child(**json.loads(arguments.child))
        return
    for part in arguments.parts:
        {"speed": speed, "memory": memory, "dask": dask}[part]()


# --- throughput ---


def speed() -> None:
    rows = [row for with_atlas in (True, False) for row in _speed_rows(with_atlas)]
    print(
        "\n| network | way | Mpx of section per s | CPU s per Mpx | ratio (wall, CPU) | multiply-adds per px | rate |"
    )
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


def _speed_rows(with_atlas: bool) -> list[str]:
    """Time every way in turn, several times over, and keep each one's best."""
    import cytokeras as ck
    from cytokeras.inference import plan_windows
    from cytokeras.inference._window_network import NetworkPool

    name = "with atlas" if with_atlas else "texture only"
    unet = ck.AtlasUNet(CLASSES, (PATCH, PATCH, 1), AREAS if with_atlas else 0)
    section, atlas = _tissue_section(SECTION_PX), _atlas() if with_atlas else None
    plan = plan_windows(unet.field, (SECTION_PX, SECTION_PX))
    patches = _patches(unet, section, atlas, count=12)
    pool = NetworkPool(unet)
    network = pool.network(PATCH, PATCH, with_atlas)
    patch_px = (int(unet.field.stride) * unet.field.output_size(PATCH)) ** 2 * len(patches)
    windows_px = sum((place.cells[0] * 8) * (place.cells[1] * 8) for place in plan)
    ways: dict[str, tuple[Any, float, float]] = {
        "2025 px patches, Keras": (lambda: [unet.predict_on_batch(p) for p in patches], patch_px, _macs(unet, PATCH)),
        "2025 px patches, network of segment_section": (
            lambda: [network.predict({name: array[0] for name, array in p.items()}) for p in patches],
            patch_px,
            _macs(unet, PATCH),
        ),
        f"segment_section, windows of {plan.window_px[0]} px": (
            lambda: ck.segment_section(pool, section, atlas=atlas, progress=False),
            windows_px,
            _macs(unet, plan.window_px[0]),
        ),
    }
    if not with_atlas:
        ways |= monai_ways(unet, SECTION_PX)
    best = {way: np.full(2, np.inf) for way in ways}
    rate = np.zeros(2)
    for run, _, _ in ways.values():
        run()  # building and tracing
    for _ in range(ROUNDS):
        rate = np.maximum(rate, _convolution_rate())
        for way, (run, _, _) in ways.items():
            before = _clocks()
            run()
            best[way] = np.minimum(best[way], _clocks() - before)
    pace = {way: px / best[way] for way, (_, px, _) in ways.items()}  # per second of wall clock, and of processors
    first = next(iter(ways))
    rows = []
    for way, (_, _, macs) in ways.items():
        ratio, share = pace[way] / pace[first], pace[way] * macs / rate
        rows.append(
            f"| {name} | {way} | {pace[way][0] / 1e6:.2f} | {1e6 / pace[way][1]:.3f} | {ratio[0]:.2f}, {ratio[1]:.2f} "
            f"| {macs:,.0f} | {share[0]:.0%}, {share[1]:.0%} of the convolutions' |"
        )
    rows.append(f"| {name} | convolutions alone: {rate[0] / 1e9:.1f} G multiply-adds a second | | | | | |")
    return rows


def _clocks() -> np.ndarray:
    """Seconds of the wall clock and of this process on all processors; the second tells more on a busy machine."""
    spent = os.times()
    return np.array([time.perf_counter(), spent.user + spent.system])


def _macs(unet: Any, size: int) -> float:
    """Multiply-adds of the convolutions per pixel of the section that a window's output covers."""
    import keras

    model = unet if size == PATCH else unet.with_input_shape((size, size, 1))
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            total += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.input.shape[1:3]))
        elif isinstance(layer, keras.layers.Conv2D):
            total += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
    return total / (8 * unet.field.output_size(size)) ** 2


def _convolution_rate() -> np.ndarray:
    """Multiply-adds per second (wall, processor) of the network's largest layers, on maps as large as a window's."""
    import tensorflow as tf

    total, seconds = 0.0, np.zeros(2)
    for inputs, outputs, size in ((256, 128, 150), (192, 64, 300), (128, 128, 100), (64, 64, 300)):
        x, kernel = tf.random.normal((1, size, size, inputs)), tf.random.normal((3, 3, inputs, outputs))
        convolve = tf.function(lambda a, b: tf.nn.conv2d(a, b, 1, "VALID"))
        times = []
        for _ in range(5):
            before = _clocks()
            for _ in range(8):  # processor time comes in steps of 10 ms
                convolve(x, kernel).numpy()
            times.append(_clocks() - before)
        total += 8.0 * (size - 2) ** 2 * outputs * 9 * inputs
        seconds += np.min(times[1:], axis=0)
    return total / seconds


def _patches(unet: Any, section: Any, atlas: Any, count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    patches = []
    for row, column in rng.integers(0, SECTION_PX - PATCH, (count, 2)):
        inputs = {"image": section.image.read(row, column, PATCH, PATCH)[None, ..., None]}
        if atlas is not None:
            axes = (corner + unet.atlas_field.positions() for corner in (row, column))
            pixels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
            inputs["atlas"] = atlas.sample(section.pixel_to_mm(pixels))[None]
        patches.append(inputs)
    return patches


def _tissue_section(size: int) -> Any:
    from cytokeras.brain import ArrayImage, Section, SectionPlane

    tile = np.random.default_rng(0).integers(60, 220, (1024, 1024), dtype=np.uint8)
    pixels = np.tile(tile, (-(-size // 1024),) * 2)[:size, :size]
    plane = SectionPlane([[0, 0.002, 0], [0.002, 0, 0]], [0, 2, 0], [1, 0, 0], [0, 0, 1])
    return Section("tissue", ArrayImage(pixels, 2.0, background=245), plane)


def _atlas() -> Any:
    from cytokeras.brain import VISUAL_AREAS, Atlas

    volume = np.random.default_rng(1).random((130, 5, 90, AREAS), dtype=np.float32) / AREAS
    return Atlas(volume, np.eye(4), VISUAL_AREAS)


# --- memory, and a kill half-way ---


class SparseSection:
    """A section read on demand: cells of a phantom repeated inside an ellipse, glass around it."""

    background = 245
    levels = (1.0, 32.0)
    pixel_size_um = 2.0

    def __init__(self, shape: tuple[int, int], tissue_px: int) -> None:
        self.shape = shape
        self._radius = tissue_px
        rng = np.random.default_rng(0)
        self._tile = np.clip(rng.normal(150, 40, (512, 512)), 0, 255).astype(np.uint8)

    def read(self, row: int, column: int, height: int, width: int, level: int = 0) -> np.ndarray:
        factor = int(self.levels[level])
        rows, columns = (factor * np.arange(first, first + n) for first, n in ((row, height), (column, width)))
        pixels = self._tile[np.ix_(rows % 512, columns % 512)]
        y = ((rows - self.shape[0] / 2) / self._radius)[:, None].astype(np.float32)
        x = ((columns - self.shape[1] / 2) / self._radius)[None].astype(np.float32)
        pixels[x**2 + y**2 > 1] = self.background
        return pixels


def memory() -> None:
    print("\n| section | windows | with tissue | peak memory | time |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for shape in ((40_000, 60_000), (80_000, 60_000)):
            found = _child(Path(folder) / f"{shape[0]}-labels.ome.tif", shape)
            print(_memory_row(f"{shape[0]:,} x {shape[1]:,} px", found), flush=True)
        whole = _digest(Path(folder) / "40000-labels.ome.tif")
        output = Path(folder) / "killed-labels.ome.tif"
        done = _kill_half_way(output, (40_000, 60_000), found["windows"] // 4)
        found = _child(output, (40_000, 60_000))
        print(_memory_row(f"the first, killed after {done} windows, taken up", found))
        print(f"\ntaken up: {found['resumed']} windows kept of {done}; equal output: {_digest(output) == whole}")


def _memory_row(name: str, found: dict[str, Any]) -> str:
    return (
        f"| {name} | {found['windows']} | {found['computed']} | {found['peak_gb']:.2f} GB | {found['seconds']:.0f} s |"
    )


def _command(output: Path, shape: tuple[int, int]) -> list[str]:
    return [sys.executable, __file__, "--child", json.dumps({"output": str(output), "shape": shape})]


def _child(output: Path, shape: tuple[int, int]) -> dict[str, Any]:
    answer = subprocess.run(_command(output, shape), check=True, capture_output=True, text=True).stdout
    return dict(json.loads(answer.splitlines()[-1]))


def _kill_half_way(output: Path, shape: tuple[int, int], windows: int) -> int:
    finished = Path(f"{output}.unfinished") / "finished.txt"
    child = subprocess.Popen(_command(output, shape), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not finished.exists() or finished.read_text().count("\n") < windows:
        time.sleep(0.02)
        assert child.poll() is None, "ended before it could be killed"
    child.send_signal(signal.SIGKILL)
    child.wait()
    return finished.read_text().count("\n")


def _memory_child(output: str, shape: list[int]) -> None:
    import keras

    import cytokeras as ck
    from cytokeras.brain import Section, SectionPlane

    keras.utils.set_random_seed(0)
    unet = ck.AtlasUNet(CLASSES, (PATCH, PATCH, 1), AREAS)
    plane = SectionPlane([[0, 0.002, 0], [0.002, 0, 0]], [0, 2, 0], [1, 0, 0], [0, 0, 1])
    section = Section("large", SparseSection((shape[0], shape[1]), tissue_px=6_000), plane)
    start = time.perf_counter()
    result = ck.segment_section(unet, section, atlas=_atlas(), probabilities=True, output=output, progress=False)
    print(
        json.dumps(
            {
                "windows": result.windows_computed + result.windows_skipped + result.windows_resumed,
                "computed": result.windows_computed,
                "resumed": result.windows_resumed,
                "seconds": time.perf_counter() - start,
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            }
        )
    )


def _digest(output: Path) -> str:
    from cytokeras.inference import read_label_tiff

    probabilities = output.with_name(output.name.replace("labels", "probabilities"))
    total = hashlib.sha256(np.ascontiguousarray(read_label_tiff(output).labels).tobytes())
    with tifffile.TiffFile(probabilities) as file:
        for page in file.pages:
            total.update(page.asarray().tobytes())
    return total.hexdigest()


# --- Dask ---


def dask() -> None:
    import distributed

    import cytokeras as ck
    from cytokeras.inference._dask_cluster import dask_client

    print("\n| Dask workers (one thread each) | s for 8 sections of 8192 px | throughput |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        brain = _dask_brain(folder / "brain")
        unet = ck.AtlasUNet(CLASSES, (PATCH, PATCH, 1), 0, class_names=brain.labels.names)
        first = None
        for workers in (1, 2):
            with dask_client("local", 2) as client:  # threads are set for two, so that one has no more than either
                assert isinstance(client, distributed.Client)
                if workers == 1:
                    client.retire_workers(list(client.scheduler_info()["workers"])[:1])
                # starting TensorFlow and building the network is paid once a worker, not once a section
                ck.segment_brain(
                    unet, brain, folder / f"warm{workers}", sections=[f"w{k}" for k in range(workers)],
                    scheduler=client, outlines=False, progress=False,
                )  # fmt: skip
                seconds = np.inf
                for turn in range(ROUNDS):
                    start = time.perf_counter()
                    result = ck.segment_brain(
                        unet, brain, folder / f"out{workers}-{turn}", sections=[f"s{k}" for k in range(8)],
                        scheduler=client, outlines=False, progress=False,
                    )  # fmt: skip
                    seconds = min(seconds, time.perf_counter() - start)
                    assert len(result.computed) == 8, result.failed
            first = first or seconds
            print(f"| {workers} | {seconds:.1f} | {first / seconds:.2f} |", flush=True)


def _dask_brain(folder: Path) -> Any:
    import trimesh

    import cytokeras as ck
    from cytokeras.brain import VISUAL_SCHEME, ArrayImage, Section, SectionPlane
    from cytokeras.surfaces import Hemisphere, Mesh

    ball = trimesh.creation.icosphere(2)
    surfaces = {"left": Hemisphere("left", *(Mesh(ball.vertices * radius, ball.faces) for radius in (4, 2, 5)))}
    pixels = np.pad(_tissue_section(SECTION_PX - 64).image.array, 32, constant_values=245)  # glass all around
    sections = []
    for number, id in enumerate([f"s{k}" for k in range(8)] + ["w0", "w1"]):
        plane = SectionPlane([[0, 0.002, -4], [-0.002, 0, 4]], [0, 0.3 * number - 1.5, 0], [1, 0, 0], [0, 0, 1])
        sections.append(Section(id, ArrayImage(np.roll(pixels, number), 2.0, background=245), plane))
    ck.Brain("ball", "test", VISUAL_SCHEME, sections, surfaces, synthetic=True).save(folder, progress=False)
    return ck.Brain.open(folder)


if __name__ == "__main__":
    main()
