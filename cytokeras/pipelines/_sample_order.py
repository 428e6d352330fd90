"""The order in which samples are visited: a function of the seed and the epoch, and of nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt


def sample_order(
    count: int, *, seed: int, shuffle: bool, repeat: bool, fixed: bool = False, initial_epoch: int = 0
) -> Any:
    """Return a tf.data.Dataset of pairs (epoch, index) of scalar int64, ``count`` of them an epoch.

    Every new iterator is the next epoch, from ``initial_epoch`` on: ``fit`` opens one an epoch. With
    ``repeat`` each iterator runs through all epochs from ``initial_epoch`` on. With ``fixed`` the first epoch
    is repeated.

    tf.data's own ``shuffle`` is not used: its orders depend on how often it was iterated before, so that a
    run resumed at epoch n would not see what the uninterrupted run sees.
    """
    import tensorflow as tf

    started = itertools.count(initial_epoch)

    def this_epoch() -> np.int64:
        return np.int64(initial_epoch if fixed or repeat else next(started))

    def indices(epoch: Any) -> npt.NDArray[np.int64]:
        if not shuffle:
            return np.arange(count, dtype=np.int64)
        return np.random.default_rng([seed, int(epoch)]).permutation(count).astype(np.int64)

    def samples_of(epoch: Any) -> Any:
        order = tf.ensure_shape(tf.numpy_function(indices, [epoch], tf.int64), (count,))
        return tf.data.Dataset.from_tensor_slices(order).map(lambda index: (epoch, index))

    epochs = tf.data.Dataset.range(1).map(lambda _: tf.ensure_shape(tf.numpy_function(this_epoch, [], tf.int64), ()))
    if repeat:
        later = tf.data.Dataset.counter(step=0 if fixed else 1)
        epochs = epochs.flat_map(lambda epoch: later.map(lambda step: epoch + step))
    cardinality = tf.data.INFINITE_CARDINALITY if repeat else count
    return epochs.flat_map(samples_of).apply(tf.data.experimental.assert_cardinality(cardinality))
