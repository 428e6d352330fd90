"""Random windows of a large section: cytokeras against tifffile's zarr store, tiffslide and tensorstore.

    python benchmarks/section_reading.py [--folder FOLDER] [--reads N] [--only zlib]

Needs zarr, tiffslide and tensorstore beside the ``codecs`` extra. A section of 16,000 x 12,000 px is written once for
each compression (512 px tiles) and read from the page cache, so that the table compares the readers and not the disk.
Every window is decoded from the file: the tile caches of all readers are off, and cytokeras then decodes zlib and LZW
tiles only as far down as the window reaches. The column "cached" alone has the cache of cytokeras as it is by default,
empty at the beginning, as random training patches find it (uncompressed tiles pass it by). tensorstore cannot read
single tiles of a TIFF; it reads the same tiles with the same compression from zarr and, for JPEG, from neuroglancer
precomputed.

One thread: all readers on one core, taking turns window by window, in processor time, which other load on the machine
changes least. Two threads: cytokeras on two cores, in wall time; this column needs a machine without other load.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

from cytokeras.brain import SectionImage, TileCache

SHAPE = (16_000, 12_000)
WINDOW = 1019
ROUND_S = 0.7
LOSS = 40
"""Grey levels by which two JPEG encodings of the noise may differ."""
COMPRESSIONS: dict[str, dict[str, object]] = {
    "none": {},
    "zlib": {"compression": "zlib"},
    "lzw": {"compression": "lzw"},
    "zstd": {"compression": "zstd"},
    "jpeg": {"compression": "jpeg", "compressionargs": {"level": 85}},
}
PEERS = ("tifffile zarr", "tiffslide", "tensorstore")
Read = Callable[[int, int], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the sections are kept; default: written anew and removed")
    parser.add_argument("--reads", type=int, default=60, help="windows of each reader (%(default)s)")
    parser.add_argument("--only", choices=COMPRESSIONS, help="one compression")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(f"windows of {WINDOW} px a second on one thread (ratio cytokeras / peer), then cytokeras on two threads")
        peers = "".join(f"{peer:>22}" for peer in PEERS)
        print(f"{'':6}{'cytokeras':>12}{peers}{'cached':>12}{'two threads':>20}")
        for name in [arguments.only] if arguments.only else COMPRESSIONS:
            print_row(name, write_section(folder, name), arguments.reads)


def write_section(folder: Path, name: str) -> Path:
    """A section of dark blobs on a bright ground with a camera's noise, 192 megapixels."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"section-{name}.tif"
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.standard_normal((4000, 4000), np.float32), 3, mode="wrap")
    cells = np.clip(235 - 60 * np.maximum(texture / texture.std() - 0.5, 0), 20, 235)
    patch = np.rint(cells + rng.normal(0, 1.5, cells.shape)).clip(0, 255).astype(np.uint8)
    rows = [np.hstack([np.roll(patch, 517 * (4 * r + c), axis=1) for c in range(3)]) for r in range(4)]
    pixels = np.vstack(rows)
    assert pixels.shape == SHAPE
    resolution = {"resolution": (1e4, 1e4), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(512, 512), photometric="minisblack", **resolution, **COMPRESSIONS[name])
    return path


def print_row(name: str, path: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    corners = np.stack([rng.integers(0, side - WINDOW, count) for side in SHAPE], axis=1)
    with contextlib.ExitStack() as stack:
        readers = {"cytokeras": own_reader(path)}
        for peer, make in zip(PEERS, (zarr_reader, tiffslide_reader, tensorstore_reader), strict=True):
            with contextlib.suppress(ValueError, NotImplementedError):
                readers[peer] = stack.enter_context(make(path))
        with one_core():
            seconds = take_turns(readers, corners)
            alone = throughput(readers["cytokeras"], corners, 1)
            cached = take_turns({"cytokeras": own_reader(path, TileCache())}, corners, np.mean)["cytokeras"]
        ratio = throughput(readers["cytokeras"], corners, 2) / alone
    line = f"{name:6}{1 / seconds['cytokeras']:>12.0f}"
    for peer in PEERS:
        if peer in seconds:
            line += f"{1 / seconds[peer]:>14.0f} ({seconds[peer] / seconds['cytokeras']:.2f}x)"
        else:
            line += f"{'not read':>22}"
    line += f"{1 / cached:>12.0f}"
    print(f"{line}{alone * ratio:>12.0f} ({ratio:.2f}x)", flush=True)


def take_turns(
    readers: dict[str, Read], corners: np.ndarray, average: Callable[[list[float]], Any] = np.median
) -> dict[str, float]:
    """Average processor seconds a window; all readers must give the same pixels."""
    times: dict[str, list[float]] = {name: [] for name in readers}
    order = list(readers.items())
    for turn, (row, column) in enumerate(corners):
        windows = {}
        # who comes first finds the file's pages in no processor cache, so all come first in turn
        for name, read in order[turn % len(order) :] + order[: turn % len(order)]:
            started = time.process_time()
            windows[name] = read(int(row), int(column))
            times[name].append(time.process_time() - started)
        first = windows["cytokeras"].astype(int)
        for name, window in windows.items():
            # decoders of JPEG may round differently, and tensorstore's JPEG was encoded by another encoder
            allowed = LOSS if name == "tensorstore" else 2
            assert np.abs(window.reshape(first.shape) - first).max() <= allowed, name
    return {name: float(average(values)) for name, values in times.items()}


def throughput(read: Read, corners: np.ndarray, threads: int) -> float:
    """Windows a second, the best of three rounds of a second or so; every thread reads its share of the windows."""

    def read_all(share: np.ndarray) -> None:
        for row, column in share.tolist():
            read(row, column)

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(3):
            count, started = 0, time.perf_counter()
            while time.perf_counter() - started < ROUND_S:
                list(pool.map(read_all, [corners[number::threads] for number in range(threads)]))
                count += len(corners)
            best = max(best, count / (time.perf_counter() - started))
    return best


def own_reader(path: Path, cache: TileCache | None = None) -> Read:
    image = SectionImage.open(path, cache=TileCache(0) if cache is None else cache)
    image.read(0, 0, 1, 1)  # looks at the whole image once, as every first read does
    return lambda row, column: image.read(row, column, WINDOW, WINDOW)


@contextlib.contextmanager
def zarr_reader(path: Path) -> Iterator[Read]:
    import zarr

    with tifffile.imread(path, aszarr=True) as store:
        array = zarr.open(store, mode="r")
        yield lambda row, column: np.asarray(array[row : row + WINDOW, column : column + WINDOW])


@contextlib.contextmanager
def tiffslide_reader(path: Path) -> Iterator[Read]:
    from tiffslide import TiffSlide

    with TiffSlide(path) as slide:
        yield lambda row, column: slide.read_region((column, row), 0, (WINDOW, WINDOW), as_array=True)


@contextlib.contextmanager
def tensorstore_reader(path: Path) -> Iterator[Read]:
    import tensorstore

    name = path.stem.removeprefix("section-")
    copy = path.with_name(f"section-{name}.chunks")
    spec = {"kvstore": {"driver": "file", "path": str(copy)}, **chunked_spec(name)}
    if not copy.exists():
        pixels = tifffile.imread(path).T[..., None, None] if name == "jpeg" else tifffile.imread(path)
        tensorstore.open({**spec, "create": True}).result().write(pixels).result()
    # nothing is kept between reads, and one thread decodes, as with the other readers
    context = {"cache_pool": {"total_bytes_limit": 0}, "data_copy_concurrency": {"limit": 1}}
    array = tensorstore.open({**spec, "context": context}).result()
    if name == "jpeg":
        array = array[:, :, 0, 0].transpose([1, 0])
    yield lambda row, column: array[row : row + WINDOW, column : column + WINDOW].read().result()


def chunked_spec(name: str) -> dict[str, object]:
    """The section as tensorstore stores it."""
    height, width = SHAPE
    if name == "jpeg":
        return {
            "driver": "neuroglancer_precomputed",
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
            "scale_metadata": {
                "size": [width, height, 1],
                "resolution": [1000, 1000, 1000],
                "chunk_size": [512, 512, 1],
                "encoding": "jpeg",
                "jpeg_quality": 85,
            },
        }
    compressors: dict[str, object] = {"none": None, "zlib": {"id": "zlib", "level": 6}, "zstd": {"id": "zstd"}}
    if name not in compressors:
        raise NotImplementedError(f"tensorstore has no {name}")
    metadata = {"shape": SHAPE, "chunks": [512, 512], "dtype": "|u1", "compressor": compressors[name]}
    return {"driver": "zarr", "metadata": metadata}


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


if __name__ == "__main__":
    main()
