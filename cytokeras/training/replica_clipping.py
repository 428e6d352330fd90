"""Clipping of gradients where several devices train together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def clip_over_replicas(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Make an optimizer clip the gradient of the whole batch under ``tf.distribute``, and return it.

    Keras clips the part of every device and sums afterwards, so that the largest step would grow with the number of
    devices. On one device, and on other backends, nothing changes.
    """
    clips = any((optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue))
    if keras.backend.backend() != "tensorflow" or not clips:
        return optimizer
    clip, all_reduce = optimizer._clip_gradients, optimizer._all_reduce_sum_gradients

    def clip_sum(grads: Sequence[Any]) -> Any:
        return clip(_sum_over_replicas(list(grads)) if _is_one_of_several() else grads)

    def reduce_unless_done(grads_and_vars: Any) -> Any:
        return list(grads_and_vars) if _is_one_of_several() else all_reduce(grads_and_vars)

    optimizer._clip_gradients, optimizer._all_reduce_sum_gradients = clip_sum, reduce_unless_done
    return optimizer


def _is_one_of_several() -> bool:
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def _sum_over_replicas(grads: list[Any]) -> list[Any]:
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, grads)
