"""Batches of patch pairs with their distance and their places: the input of the self-supervised task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cytokeras._auxiliary_tasks import CONTRAST, PLACE_TASKS, check_auxiliary, outputs_of
from cytokeras.errors import UserError
from cytokeras.pipelines._checks import check_count
from cytokeras.pipelines._feed import Form, Shard, feed, worker_shard
from cytokeras.pipelines._sample_order import SampleOrder
from cytokeras.pipelines._sample_source import Arrays, ArraySpec, Sample, random_of
from cytokeras.pipelines.augmentation import Augmentation, find_augmentation
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
    initial_step: int = 0,
    drop_remainder: bool = True,
    cache: bool | int = False,
    augment: str | Augmentation | None = None,
    auxiliary: Iterable[str] = (),
    form: Form = None,
    shard: Shard = None,
    device: str | None = None,
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
        seed: Seed of these orders and of the augmentation, 0 or greater.
        repeat: Go on without end; every iterator then starts at ``initial_epoch`` and runs through all later
            epochs.
        initial_epoch: Number of the first epoch.
        initial_step: With ``repeat``, number of the first batch, counted from ``initial_epoch`` on through all epochs:
            where a run goes on that was stopped.
        drop_remainder: Leave out the last batch of an epoch where it is smaller. Use False to evaluate.
        cache: True reads every patch once, before the first batch, and keeps all in memory, if they take at
            most 4 GiB; a number is another limit in bytes. Augmentation that moves places doubles what they take.
        augment: Random changes of every patch, drawn anew each epoch: a name ("turn", "stain", "histology") or an
            ``Augmentation``; None as in the paper.
        auxiliary: Tasks beside distance and places whose targets are wanted, as a rule ``net.auxiliary``.
        form: "tf.data" for a ``tf.data.Dataset``, "keras" for a ``keras.utils.PyDataset`` with the same samples,
            which needs no TensorFlow (call ``fit`` with ``shuffle=False``); None: "tf.data" where TensorFlow is
            installed.
        shard: Where several processes train together, the share of this one: (index, processes), or "auto" to ask
            JAX, PyTorch or ``TF_CONFIG``. ``batch_size`` is that of all together. None leaves it to
            ``tf.distribute`` or ``keras.distribution``, for which every process reads everything.
        device: Device ("gpu:0") that batches are copied to ahead of their use; not under a ``tf.distribute``
            strategy, which copies by itself.
        workers: Samples read in parallel; None lets tf.data choose, and takes one a processor in the Keras form.
        progress: Show a progress line while the cache is filled.

    Returns:
        Batches, known in number, of pairs (inputs, targets):
        ``{"patch_a", "patch_b"}`` each (B, P, P, 1) uint8, 0 black … 255 white;
        ``{"distance"}`` (B,) float32, mm along the surface, and ``{"coordinates_a", "coordinates_b"}`` each
        (B, 3) float32, mm on the inflated surface, right hemisphere mirrored. Auxiliary tasks add
        ``{"curvature_a", "curvature_b"}`` (B,) float32, 1/mm, ``{"obliqueness_a", "obliqueness_b"}`` (B,) float32,
        degrees, and ``{"contrast"}`` (B, 7) float32, mm: distance, coordinates_a, coordinates_b.

    Raises:
        UserError: There are no pairs, or fewer than a batch; they name a section the brain lacks; a section
            has another pixel size; the patches do not fit into the cache; a place has no curvature; or an argument
            is out of range.
    """
    batch_size = check_count(batch_size, "batch_size")
    _check_pairs(brain, pairs, batch_size, drop_remainder)
    order = SampleOrder(
        len(pairs),
        batch_size,
        check_count(seed, "seed", 0),
        shuffle,
        repeat,
        initial_epoch=check_count(initial_epoch, "initial_epoch", 0),
        initial_step=initial_step,
        drop_remainder=drop_remainder,
        shard=worker_shard(shard),
    )
    auxiliary = check_auxiliary(auxiliary)
    _check_known(pairs, auxiliary)
    targets = pair_targets(pairs, auxiliary)
    source = _PairSource(brain, pairs, targets, patch_size, pixel_size_um, find_augmentation(augment), order.seed)
    if cache:
        source.keep(DEFAULT_CACHE_BYTES if cache is True else int(cache), workers, progress)
    return feed(source, order, form=form, workers=workers, device=device)


class _PairSource:
    """Reads the two patches of a pair."""

    def __init__(
        self,
        brain: Brain,
        pairs: CortexPairs,
        targets: Arrays,
        patch_size: int,
        pixel_size_um: float | None,
        augmentation: Augmentation | None,
        seed: int,
    ) -> None:
        locations = pairs.locations
        self._used = np.unique(np.concatenate([pairs.i, pairs.j]))
        self._sections = {int(s): brain.sections[s] for s in np.unique(locations.section[self._used])}
        self._reader = PatchReader(self._sections, patch_size, pixel_size_um=pixel_size_um)
        self._pairs, self._locations = pairs, locations
        self._keys = [int(s) for s in locations.section]
        self._augmentation, self._seed = augmentation, seed
        self._targets = targets
        self._kept: npt.NDArray[np.uint8] | None = None
        self._place: dict[int, int] = {}
        patch = ArraySpec((self._reader.patch_size, self._reader.patch_size, 1), np.uint8)
        self.specs = (
            {"patch_a": patch, "patch_b": patch},
            {name: ArraySpec(values.shape[1:], np.float32) for name, values in targets.items()},
        )

    def keep(self, limit: int, workers: int | None, progress: bool) -> None:
        """Read and keep every patch, with what turning it can show, if all take at most ``limit`` bytes."""
        side = self._reader.patch_size
        if self._augmentation is not None:
            sizes = [section.pixel_size_um for section in self._sections.values()]
            side = self._augmentation.reach(side, min(sizes))
        _check_cache(len(self._used), side, limit)
        reader = PatchReader(self._sections, side)
        rows, columns = self._locations.row[self._used], self._locations.column[self._used]
        keys = [self._keys[n] for n in self._used]
        self._kept = reader.read_all(keys, rows, columns, workers=workers, progress=progress)
        self._place = {int(n): k for k, n in enumerate(self._used)}

    def draw(self, epoch: int, index: int) -> Sample:
        """Return the patches and targets of pair ``index``."""
        first, second = (
            self._patch(int(ends[index]), (self._seed, epoch, index, end))
            for end, ends in enumerate((self._pairs.i, self._pairs.j))
        )
        targets = {name: values[index] for name, values in self._targets.items()}
        return {"patch_a": first[..., None], "patch_b": second[..., None]}, targets

    def _patch(self, n: int, key: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
        section = self._sections[self._keys[n]]
        size, augmentation = self._reader.patch_size, self._augmentation
        top, left = self._reader.corner(self._locations.row[n], self._locations.column[n])
        if augmentation is None:
            return self._window(n, top, left, size, size)
        rng, pixel_size = random_of(*key), section.pixel_size_um
        geometry = augmentation.geometry(rng, size, pixel_size)
        if geometry is None:
            patch = self._window(n, top, left, size, size)
        else:
            centre = top + size // 2, left + size // 2
            patch = geometry.read_image(lambda *window: self._window(n, *window), *centre, size)
        return augmentation.recolour(patch, rng, pixel_size, section.image.background)

    def _window(self, n: int, row: int, column: int, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Return a window of the section around place ``n``, from what was kept where that was."""
        if self._kept is None:
            patch: npt.NDArray[np.uint8] = self._sections[self._keys[n]].image.read(row, column, height, width)
            return patch
        kept = self._kept[self._place[n]]
        half = len(kept) // 2
        top = row - (round(float(self._locations.row[n])) - half)
        left = column - (round(float(self._locations.column[n])) - half)
        assert 0 <= top <= len(kept) - height and 0 <= left <= len(kept) - width, "kept too little"
        return kept[top : top + height, left : left + width]


def pair_targets(pairs: CortexPairs, auxiliary: Iterable[str] = ()) -> Arrays:
    """Return what a siamese network is to predict for all P pairs, each (P, …) float32, as ``pair_dataset`` has it.

    Curvature is NaN on the rim of an open surface.
    """
    targets = {
        "distance": pairs.distance_mm,
        "coordinates_a": pairs.coordinates_a,
        "coordinates_b": pairs.coordinates_b,
    }
    for task in auxiliary:
        if task == CONTRAST:
            targets[task] = np.column_stack([pairs.distance_mm, pairs.coordinates_a, pairs.coordinates_b])
        else:
            values = getattr(pairs.locations, PLACE_TASKS[task].column)
            targets |= dict(zip(outputs_of(task), (values[pairs.i], values[pairs.j]), strict=True))
    return {name: np.asarray(values, np.float32) for name, values in targets.items()}


def _check_known(pairs: CortexPairs, auxiliary: Iterable[str]) -> None:
    """Raise UserError where a place has no value for a task."""
    used = np.union1d(pairs.i, pairs.j)
    for task in [task for task in auxiliary if task in PLACE_TASKS]:
        column = PLACE_TASKS[task].column
        undefined = used[~np.isfinite(getattr(pairs.locations, column)[used])]
        if len(undefined):
            raise UserError(
                f"pairs: {len(undefined)} of their places have no {column}, for example place {undefined[0]}; the "
                f"rim of an open surface has none. Leave out the task {task!r}, or sample pairs of "
                f"locations[np.isfinite(locations.{column})]."
            )


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


def _check_cache(count: int, side: int, limit: int) -> None:
    needed = count * side**2
    if needed > limit:
        raise UserError(
            f"cache: {count} patches of {side} px take {needed / 2**30:.1f} GiB, more than the limit "
            f"of {limit / 2**30:.1f} GiB. Pass cache={needed} if the memory is there, or "
            "cache=False to read them from the sections every time."
        )
