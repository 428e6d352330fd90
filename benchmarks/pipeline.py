"""How much of the plain reading speed arrives in a training loop, and how long training waits for data.

    python benchmarks/pipeline.py [--pairs N] [--batch B] [--steps S] [--augment NAME]

Pairs of 1019 px from zlib TIFF sections, nothing kept between reads. First the ceiling: threads that read the same
patches and throw them away. Then the same pairs through ``pair_dataset``, in both forms, into a loop of batches, and
into ``model.fit`` with a model that does almost nothing. At last a siamese network of the paper's size is trained, and
the time for which ``next`` blocks is the time that training waits. Wall time: it needs a machine without other load.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from scipy import ndimage

import cytokeras as ck
from cytokeras.brain import VISUAL_SCHEME, Brain, Section, SectionImage, SectionPlane, tile_cache, write_section_tiff
from cytokeras.losses import siamese_losses
from cytokeras.sampling import CortexLocations, CortexPairs

PATCH = 1019
SIDE = 6000
SECTIONS = 3
PLANE = SectionPlane([[0, 0.002, 0], [-0.002, 0, 0]], [0, 0, 0], [1, 0, 0], [0, 0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=192, help="pairs read by each (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="pairs in a batch (%(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="training steps (%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="reading threads (%(default)s)")
    parser.add_argument("--augment", help="an augmentation by name")
    arguments = parser.parse_args()
    tile_cache.limit_bytes = 0
    with tempfile.TemporaryDirectory() as folder:
        brain = write_brain(Path(folder))
        pairs = random_pairs(arguments.pairs)
        common = {"workers": arguments.workers, "seed": 1, "augment": arguments.augment}

        def batches(form: str) -> Any:
            return ck.pair_dataset(brain, pairs, PATCH, arguments.batch, form=form, **common)

        runs: dict[str, Callable[[], None]] = {"plain reading loop": lambda: read_all(brain, pairs, arguments.workers)}
        for form in ("tf.data", "keras"):
            runs[f"{form}, batches"] = lambda form=form: exhaust(batches(form))
            runs[f"{form}, model.fit"] = lambda form=form: fit_nothing(batches(form))
        print_throughput(runs, len(pairs) // arguments.batch * arguments.batch)
        for form in ("tf.data", "keras"):
            print_waiting(form, batches(form), arguments.steps)


def write_brain(folder: Path) -> Brain:
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.standard_normal((SIDE // 2, SIDE // 2), np.float32), 3, mode="wrap")
    cells = np.clip(235 - 60 * np.maximum(texture / texture.std() - 0.5, 0), 20, 235)
    tile = np.rint(cells + rng.normal(0, 1.5, cells.shape)).clip(0, 255).astype(np.uint8)
    sections = []
    for n in range(SECTIONS):
        path = folder / f"s{n}.ome.tif"
        write_section_tiff(path, np.tile(np.roll(tile, 700 * n), (2, 2)), 2.0)
        sections.append(Section(f"s{n}", SectionImage.open(path), PLANE))
    return Brain("benchmark", "none", VISUAL_SCHEME, sections, {})


def random_pairs(count: int) -> CortexPairs:
    rng = np.random.default_rng(1)
    places = 2 * count
    locations = CortexLocations(
        section=rng.integers(0, SECTIONS, places),
        row=rng.uniform(PATCH, SIDE - PATCH, places),
        column=rng.uniform(PATCH, SIDE - PATCH, places),
        hemisphere=np.zeros(places, int),
        face=np.zeros(places, int),
        barycentric=np.full((places, 3), 1 / 3),
        position_mm=rng.normal(0, 30, (places, 3)),
        inflated_mm=rng.normal(0, 30, (places, 3)),
        obliqueness_deg=np.zeros(places),
        curvature_per_mm=np.zeros(places),
    )
    return CortexPairs(np.arange(0, places, 2), np.arange(1, places, 2), rng.uniform(0, 100, count), locations)


def read_all(brain: Brain, pairs: CortexPairs, workers: int) -> None:
    reader = ck.pipelines.PatchReader(brain.sections, PATCH)
    places = pairs.locations

    def read(k: int) -> None:
        for n in (pairs.i[k], pairs.j[k]):
            reader.read(int(places.section[n]), places.row[n], places.column[n])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, range(len(pairs))))


def exhaust(batches: Any) -> None:
    for _ in batches:
        pass


class Nothing(keras.Model):
    """Takes every batch and computes almost nothing from it."""

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs, _ = data
        return {"loss": keras.ops.cast(inputs["patch_a"][0, 0, 0, 0] + inputs["patch_b"][0, 0, 0, 0], "float32")}


def fit_nothing(batches: Any) -> None:
    model = Nothing()
    model.compile()
    model.fit(batches, verbose=0, shuffle=False)


def print_throughput(runs: dict[str, Callable[[], None]], count: int, rounds: int = 3) -> None:
    """The best of three rounds, in which the runs take turns."""
    best = dict.fromkeys(runs, 0.0)
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            best[name] = max(best[name], count / (time.perf_counter() - started))
    plain = best["plain reading loop"]
    print(f"{'':24}{'pairs/s':>10}{'of plain':>10}")
    for name, rate in best.items():
        print(f"{name:24}{rate:>10.1f}{rate / plain:>10.0%}")


def print_waiting(form: str, batches: Any, steps: int) -> None:
    net = ck.SiameseDistanceNet((PATCH, PATCH, 1))
    net.compile(keras.optimizers.SGD(0.001), **siamese_losses(10.0, 50.0))
    iterator: Iterator[Any] = iter(batches)
    net.train_on_batch(*next(iterator))  # compiles
    waited, started = 0.0, time.perf_counter()
    done = 0
    for _ in range(steps):
        before = time.perf_counter()
        batch = next(iterator, None)
        waited += time.perf_counter() - before
        if batch is None:
            break
        net.train_on_batch(*batch)
        done += 1
    total = time.perf_counter() - started
    print(f"{form}: {done} training steps in {total:.1f} s, waited for data {waited / total:.1%} of the time")


if __name__ == "__main__":
    main()
