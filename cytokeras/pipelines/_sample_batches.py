"""Batches for Keras without TensorFlow."""

from __future__ import annotations

import os
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from cytokeras.errors import UserError
from cytokeras.pipelines._sample_order import SampleOrder
from cytokeras.pipelines._sample_source import ArraySpec, SampleSource, bare_target

_AHEAD = 2  # batches read while one is in use


class SampleBatches(keras.utils.PyDataset):
    """The batches of a source; equal to those of the ``tf.data`` form.

    A thread reads one sample at a time, straight into its place in the batch, two batches ahead of the one in use.
    Keras' own workers are not used: they would run past the end of the epoch.

    Keras opens a dataset once before training to look at the first batches; an epoch counts as over only when all its
    batches have been taken. Call ``fit`` with ``shuffle=False``: the samples are shuffled already, and Keras would
    shuffle the batches once more without a seed. With ``repeat`` give ``fit`` its ``steps_per_epoch``.

    Args:
        source: Where samples come from.
        order: In which order.
        workers: Threads; None takes one a processor.
        device: Keras device ("gpu:0") that batches are copied to ahead of their use; None leaves them in main memory.
    """

    def __init__(self, source: SampleSource, order: SampleOrder, workers: int | None, device: str | None) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._source, self._order, self._device = source, order, device
        self._passed = 0
        self._taken = 0
        self._pending: OrderedDict[tuple[int, int], Future[Any]] = OrderedDict()
        threads = workers or os.cpu_count() or 1
        self._readers = ThreadPoolExecutor(threads, "patch reader")
        self._assembler = ThreadPoolExecutor(1 + _AHEAD, "batch")

    @property
    def num_batches(self) -> int | None:
        """Batches an epoch, None without end."""
        return None if self._order.repeat else self._order.batches

    def __len__(self) -> int:
        if self._order.repeat:
            raise TypeError("batches that repeat have no length")
        return self._order.batches

    def __getitem__(self, index: int) -> Any:
        """Return batch ``index`` of the present epoch (with ``repeat``, counted on through all epochs)."""
        limit = self.num_batches
        if index < 0 or (limit is not None and index >= limit):
            raise IndexError(f"batch {index} of {limit}")
        following = range(index, index + 1 + _AHEAD)
        wanted = [(self._passed, n) for n in following if limit is None or n < limit]
        for place in [place for place in self._pending if place not in wanted]:
            self._pending.pop(place).cancel()
        for place in wanted:
            if place not in self._pending:
                self._pending[place] = self._assembler.submit(self._assemble, *place)
        batch = self._pending.pop(wanted[0]).result()
        self._taken += 1
        return batch

    def on_epoch_end(self) -> None:
        """Go on to the next epoch, where this one was taken whole."""
        if not self._order.repeat and self._taken >= self._order.batches:
            self._passed += 1
        self._taken = 0

    def __iter__(self) -> Any:
        """Go through one epoch (with ``repeat``, through all); a new iterator is the next epoch."""
        index = 0
        while self._order.repeat or index < self._order.batches:
            yield self[index]
            index += 1
        self.on_epoch_end()

    def _assemble(self, passed: int, number: int) -> Any:
        samples = self._order.batch(passed, number)

        def empty(specs: dict[str, ArraySpec]) -> dict[str, Any]:
            return {name: np.empty((len(samples), *spec.shape), spec.dtype) for name, spec in specs.items()}

        parts = [empty(specs) for specs in self._source.specs]

        def fill(row: int) -> None:
            for part, drawn in zip(parts, self._source.draw(*samples[row]), strict=True):
                for name, array in part.items():
                    if array[row].shape != np.shape(drawn[name]):
                        raise UserError(f"sample {samples[row][1]}: {name} has shape {np.shape(drawn[name])}.")
                    array[row] = drawn[name]

        list(self._readers.map(fill, range(len(samples))))
        inputs, targets = (self._to_device(part) for part in parts)
        return inputs, bare_target(targets)

    def _to_device(self, part: dict[str, Any]) -> dict[str, Any]:
        if self._device is None:
            return part
        with keras.device(self._device):
            return {name: keras.ops.convert_to_tensor(array) for name, array in part.items()}
