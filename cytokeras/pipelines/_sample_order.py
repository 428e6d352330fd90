"""The order in which samples are visited: a function of the seed and the epoch, and of nothing else.

tf.data's own ``shuffle`` is not used: its orders depend on how often it was iterated before, so that a run resumed at
epoch n would not see what the uninterrupted run sees.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytokeras.errors import UserError
from cytokeras.pipelines._checks import check_count


@dataclass(frozen=True)
class SampleOrder:
    """Which samples make up which batch of which epoch.

    Args:
        count: Samples an epoch.
        batch_size: Samples in a batch, of all workers together.
        seed: Seed of the orders.
        shuffle: A new order every epoch; otherwise 0, 1, 2, …
        repeat: Epoch after epoch without end.
        fixed: The first epoch again and again.
        initial_epoch: Number of the first epoch.
        initial_step: Batches left out at the beginning, counted on through all epochs; needs ``repeat``.
        drop_remainder: Leave out the last batch where it is smaller.
        shard: (index, workers): of every batch this worker takes each ``workers``-th sample from ``index`` on, so that
            the batches of all workers together do not depend on their number.

    Raises:
        UserError: A number is out of range, or the batches cannot be shared evenly.
    """

    count: int
    batch_size: int
    seed: int
    shuffle: bool
    repeat: bool = False
    fixed: bool = False
    initial_epoch: int = 0
    initial_step: int = 0
    drop_remainder: bool = True
    shard: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        check_count(self.batch_size, "batch_size")
        check_count(self.seed, "seed", 0)
        check_count(self.initial_epoch, "initial_epoch", 0)
        if check_count(self.initial_step, "initial_step", 0) and not self.repeat:
            raise UserError(
                "initial_step counts through all epochs and needs repeat=True; otherwise pass initial_epoch. "
                f"Received: initial_step={self.initial_step}, repeat=False."
            )
        index, workers = self.shard
        if not 0 <= index < workers:
            raise UserError(f"shard must be (index, workers) with 0 <= index < workers. Received: shard={self.shard}.")
        if self.batch_size % workers or (workers > 1 and not self.drop_remainder):
            raise UserError(
                f"shard: {workers} workers share batches evenly only where batch_size is a multiple of {workers} and "
                f"drop_remainder is set. Received: batch_size={self.batch_size}, drop_remainder={self.drop_remainder}."
            )

    @property
    def own_batch_size(self) -> int:
        """Samples of this worker in a batch."""
        return self.batch_size // self.shard[1]

    @property
    def batches(self) -> int:
        """Batches an epoch."""
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 0 and not self.drop_remainder)

    def start(self) -> tuple[int, int]:
        """Return the number of the epoch that the first sample comes from, and how many of its samples are left out."""
        passed, left_out = divmod(self.initial_step * self.own_batch_size, len(self.epoch(self.initial_epoch)))
        return self.epoch_number(passed), left_out

    def epoch_number(self, passed: int) -> int:
        """Return the number of the epoch after ``passed`` earlier ones."""
        return self.initial_epoch + (0 if self.fixed else passed)

    def epoch(self, number: int) -> npt.NDArray[np.int64]:
        """Return the samples of this worker in an epoch, batch after batch."""
        index, workers = self.shard
        indices = _permutation(self.count, self.seed, number) if self.shuffle else np.arange(self.count, dtype=np.int64)
        if workers == 1:
            return indices
        whole = indices[: self.batches * self.batch_size]
        return whole.reshape(-1, self.batch_size)[:, index::workers].ravel()

    def batch(self, passed: int, number: int) -> list[tuple[int, int]]:
        """Return (epoch, sample) of a batch of the epoch after ``passed`` earlier ones.

        With ``repeat`` batches are counted on through all epochs, from ``initial_step`` on, and one may begin in one
        and end in the next.
        """
        first, size = (self.initial_step + number) * self.own_batch_size, self.own_batch_size
        if not self.repeat:
            epoch = self.epoch_number(passed)
            return [(epoch, int(index)) for index in self.epoch(epoch)[first : first + size]]
        count = len(self.epoch(self.initial_epoch))
        places = ((self.epoch_number(k // count), k % count) for k in range(first, first + size))
        return [(epoch, int(self.epoch(epoch)[k])) for epoch, k in places]


@functools.lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    order = np.random.default_rng([seed, epoch]).permutation(count).astype(np.int64)
    order.setflags(write=False)
    return order
