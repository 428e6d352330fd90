"""Batches of patch pairs with their distance and their places: the input of the self-supervised task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cytokeras.errors import UserError
from cytokeras.pipelines._checks import check_count, parallel_calls
from cytokeras.pipelines._sample_order import sample_order
from cytokeras.pipelines.patch_reader import PatchReader

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.sampling import CortexPairs

DEFAULT_CACHE_BYTES = 4 * 1024**3
"""Memory that ``cache=True`` may take: 60,000 patches of 258 px, half of the memory of a small laptop."""


def pair_dataset(
    brain: Brain,
    pairs: CortexPairs,
    patch_size: int = 1019,
    batch_size: int = 32,
    *,
    pixel_size_um: float | None = None,
    shuffle: bool = True,
    seed: int = 0,
    repeat: bool = False,
    initial_epoch: int = 0,
    drop_remainder: bool = True,
    cache: bool | int = False,
    workers: int | None = None,
    progress: bool = True,
) -> Any:
    """Return batches for ``SiameseDistanceNet.fit``: two patches, their distance, their places.

    The task is that of Spitzer et al. 2018, section 2. The order of an epoch follows from ``seed`` and the
    number of the epoch alone, whatever ``workers`` is. Every new iterator is the next epoch, starting with
    ``initial_epoch``: to resume ``fit(..., initial_epoch=n)`` build the dataset with ``initial_epoch=n`` too.

    Args:
        brain: The brain the pairs were sampled from.
        pairs: Pairs of cortex locations from ``sample_pairs``.
        patch_size: Side P of a patch in pixels; 1019 in the paper (2 µm).
        batch_size: Pairs in a batch; not stated in the paper.
        pixel_size_um: Pixel size of the network's input in µm (``net.field.pixel_size_um``), checked against
            every section in use within 1 %; None requires only that they all have the same.
        shuffle: Visit the pairs in a new order every epoch; otherwise in the order of ``pairs``.
        seed: Seed of these orders, 0 or greater.
        repeat: Go on without end; every iterator then starts at ``initial_epoch`` and runs through all later
            epochs.
        initial_epoch: Number of the first epoch.
        drop_remainder: Leave out the last batch of an epoch where it is smaller. Use False to evaluate.
        cache: True reads every patch once, before the first batch, and keeps all in memory, if they take at
            most 4 GiB; a number is another limit in bytes.
        workers: Samples read in parallel; None lets tf.data choose.
        progress: Show a progress line while the cache is filled.

    Returns:
        A ``tf.data.Dataset`` of known cardinality, of pairs (inputs, targets):
        ``{"patch_a", "patch_b"}`` each (B, P, P, 1) uint8, 0 black … 255 white;
        ``{"distance"}`` (B,) float32, mm along the surface, and ``{"coordinates_a", "coordinates_b"}`` each
        (B, 3) float32, mm on the inflated surface, right hemisphere mirrored.

    Raises:
        UserError: There are no pairs, or fewer than a batch; they name a section the brain lacks; a section
            has another pixel size; the patches do not fit into the cache; or a number is out of range.
    """
    import tensorflow as tf

    batch_size = check_count(batch_size, "batch_size")
    _check_pairs(brain, pairs, batch_size, drop_remainder)
    locations = pairs.locations
    used = np.unique(np.concatenate([pairs.i, pairs.j]))
    reader = PatchReader(
        {int(s): brain.sections[s] for s in np.unique(locations.section[used])},
        patch_size,
        pixel_size_um=pixel_size_um,
    )
    keys = [int(s) for s in locations.section]
    calls = parallel_calls(workers)
    if cache:
        _check_cache(len(used), reader.patch_size, DEFAULT_CACHE_BYTES if cache is True else int(cache))
        rows, columns = locations.row[used], locations.column[used]
        kept = reader.read_all([keys[n] for n in used], rows, columns, workers=workers, progress=progress)
        place = {int(n): k for k, n in enumerate(used)}

    def patch(n: int) -> npt.NDArray[np.uint8]:
        return kept[place[n]] if cache else reader.read(keys[n], locations.row[n], locations.column[n])

    distance = np.asarray(pairs.distance_mm, np.float32)
    coordinates_a = np.asarray(pairs.coordinates_a, np.float32)
    coordinates_b = np.asarray(pairs.coordinates_b, np.float32)

    def read_pair(k: Any) -> tuple[Any, ...]:
        a, b = patch(int(pairs.i[k])), patch(int(pairs.j[k]))
        return a[..., None], b[..., None], distance[k], coordinates_a[k], coordinates_b[k]

    shape = (reader.patch_size, reader.patch_size, 1)

    def sample(_epoch: Any, k: Any) -> Any:
        types = (tf.uint8, tf.uint8, tf.float32, tf.float32, tf.float32)
        values = tf.numpy_function(read_pair, [k], types)
        a, b, d, at_a, at_b = (
            tf.ensure_shape(value, s) for value, s in zip(values, (shape, shape, (), (3,), (3,)), strict=True)
        )
        return {"patch_a": a, "patch_b": b}, {"distance": d, "coordinates_a": at_a, "coordinates_b": at_b}

    order = sample_order(
        len(pairs),
        seed=check_count(seed, "seed", 0),
        shuffle=shuffle,
        repeat=repeat,
        initial_epoch=check_count(initial_epoch, "initial_epoch", 0),
    )
    samples = order.map(sample, num_parallel_calls=calls, deterministic=True)
    return samples.batch(batch_size, drop_remainder=drop_remainder).prefetch(tf.data.AUTOTUNE)


def _check_pairs(brain: Brain, pairs: CortexPairs, batch_size: int, drop_remainder: bool) -> None:
    if len(pairs) == 0:
        raise UserError("pairs is empty: sample some with sample_pairs(brain, locations, count).")
    if drop_remainder and len(pairs) < batch_size:
        raise UserError(
            f"{len(pairs)} pairs do not fill one batch of {batch_size}: sample more pairs, "
            "lower batch_size, or pass drop_remainder=False."
        )
    highest = int(pairs.locations.section.max())
    if highest >= len(brain.sections):
        raise UserError(
            f"pairs name section index {highest}, but those of brain {brain.name!r} are 0 to "
            f"{len(brain.sections) - 1}: pass the brain the pairs were sampled from."
        )


def _check_cache(count: int, patch_size: int, limit: int) -> None:
    needed = count * patch_size**2
    if needed > limit:
        raise UserError(
            f"cache: {count} patches of {patch_size} px take {needed / 2**30:.1f} GiB, more than the limit "
            f"of {limit / 2**30:.1f} GiB. Pass cache={needed} if the memory is there, or "
            "cache=False to read them from the sections every time."
        )
