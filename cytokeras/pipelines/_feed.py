"""From a source of samples to batches, as a tf.data.Dataset or as a keras.utils.PyDataset."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import sys
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cytokeras.errors import UserError
from cytokeras.pipelines._checks import check_count
from cytokeras.pipelines._sample_order import SampleOrder
from cytokeras.pipelines._sample_source import SampleSource, bare_target

Form = Literal["tf.data", "keras"] | None
Shard = tuple[int, int] | Literal["auto"] | None
_PREFETCHED = 2  # batches on the device: one in use, one on its way


def feed(source: SampleSource, order: SampleOrder, *, form: Form, workers: int | None, device: str | None) -> Any:
    """Return the batches of ``source`` in the form asked for; see ``pair_dataset``."""
    if workers is not None:
        check_count(workers, "workers")
    if form is None:
        form = "tf.data" if tensorflow_installed() else "keras"
    if form == "tf.data":
        return _tf_dataset(source, order, workers, device)
    if form == "keras":
        from cytokeras.pipelines._sample_batches import SampleBatches

        return SampleBatches(source, order, workers, device)
    raise UserError(f"form must be 'tf.data', 'keras' or None. Received: form={form!r}.")


def tensorflow_installed() -> bool:
    """Return whether TensorFlow can be imported."""
    try:
        return importlib.util.find_spec("tensorflow") is not None
    except (ImportError, ValueError):  # blocked, as by sys.modules["tensorflow"] = None
        return False


def worker_shard(shard: Shard) -> tuple[int, int]:
    """Return (index, workers); for "auto" those of this process in a training that runs on several.

    JAX, PyTorch (``torch.distributed``) and ``TF_CONFIG`` are asked.
    """
    if shard is None:
        return 0, 1
    if shard != "auto":
        return shard
    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")
    if jax is not None and jax.process_count() > 1:
        return jax.process_index(), jax.process_count()
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    configuration = json.loads(os.environ.get("TF_CONFIG") or "{}")
    hosts = configuration.get("cluster", {}).get("worker", [])
    return (int(configuration["task"]["index"]), len(hosts)) if len(hosts) > 1 else (0, 1)


def _tf_dataset(source: SampleSource, order: SampleOrder, workers: int | None, device: str | None) -> Any:
    import tensorflow as tf

    inputs, targets = source.specs
    specs = [*inputs.values(), *targets.values()]

    def draw(epoch: Any, index: Any) -> list[npt.NDArray[Any]]:
        drawn = source.draw(int(epoch), int(index))
        return [drawn[part][name] for part, names in enumerate((inputs, targets)) for name in names]

    def sample(epoch: Any, index: Any) -> Any:
        values = tf.numpy_function(draw, [epoch, index], [spec.dtype for spec in specs])
        shaped = [tf.ensure_shape(value, spec.shape) for value, spec in zip(values, specs, strict=True)]
        names = zip([*inputs, *targets], shaped, strict=True)
        first = dict(itertools.islice(names, len(inputs)))
        return first, bare_target(dict(names))

    calls = tf.data.AUTOTUNE if workers is None else workers
    samples = _tf_order(order).map(sample, num_parallel_calls=calls, deterministic=True)
    batches = samples.batch(order.own_batch_size, drop_remainder=order.drop_remainder)
    options = tf.data.Options()
    # A share that was asked for is final; otherwise tf.distribute and keras.distribution deal out the samples.
    policy = tf.data.experimental.AutoShardPolicy
    options.experimental_distribute.auto_shard_policy = policy.OFF if order.shard[1] > 1 else policy.DATA
    batches = batches.with_options(options).prefetch(tf.data.AUTOTUNE)
    if device is None:
        return batches
    name = "/" + device.lstrip("/").upper()  # Keras writes "gpu:0"
    return batches.apply(tf.data.experimental.prefetch_to_device(name, _PREFETCHED))


def _tf_order(order: SampleOrder) -> Any:
    """A tf.data.Dataset of pairs (epoch, index) of scalar int64; every new iterator is the next epoch."""
    import tensorflow as tf

    started = itertools.count()
    first_epoch, left_out = order.start()

    def this_epoch() -> np.int64:
        return np.int64(first_epoch if order.repeat else order.epoch_number(next(started)))

    def indices(epoch: Any) -> npt.NDArray[np.int64]:
        return order.epoch(int(epoch))

    count = len(order.epoch(order.initial_epoch))

    def samples_of(epoch: Any) -> Any:
        numbers = tf.ensure_shape(tf.numpy_function(indices, [epoch], tf.int64), (count,))
        return tf.data.Dataset.from_tensor_slices(numbers).map(lambda index: (epoch, index))

    epochs = tf.data.Dataset.range(1).map(lambda _: tf.ensure_shape(tf.numpy_function(this_epoch, [], tf.int64), ()))
    if order.repeat:
        later = tf.data.Dataset.counter(step=0 if order.fixed else 1)
        epochs = epochs.flat_map(lambda epoch: later.map(lambda step: epoch + step))
    cardinality = tf.data.INFINITE_CARDINALITY if order.repeat else count
    return epochs.flat_map(samples_of).skip(left_out).apply(tf.data.experimental.assert_cardinality(cardinality))
