"""Where and in which precision a network is trained: several devices of a host, several hosts, half precision."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from cytokeras.errors import UserError

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def training_scope(devices: int | str | Sequence[str] | None = None, precision: str | None = None) -> Iterator[None]:
    """Build, load and compile networks inside this context to train them on several devices, or in half precision.

    Batches are those of all devices together, and so are the statistics of batch normalization: the loss is that of one
    device with the same batches. TensorFlow trains through ``tf.distribute.MirroredStrategy``, JAX through
    ``keras.distribution.DataParallel``; ``fit`` may be called inside or, with TensorFlow, outside. Weights are float32
    in every precision.

    Before ``fit`` trains on several devices of TensorFlow, Keras looks at a batch through an iterator of its own, and
    datasets whose every iterator is the next epoch begin with the second. Gradients that are clipped are clipped after
    their sum where the optimizer comes from a recipe or is a ``BranchRates``; Keras' own clip those of each device.

    Args:
        devices: How many devices of this host to use (GPUs where there are any), ``"all"``, or their names as
            ``keras.distribution.list_devices`` gives them; with JAX and several hosts ``"all"`` are those of all hosts.
            None leaves the choice to Keras: one device.
        precision: ``"float32"``, ``"bfloat16"`` (computation in bfloat16; GPUs from 2020 on) or ``"float16"`` (with
            loss scaling, for older GPUs). None keeps Keras' setting.

    Raises:
        UserError: The precision is none of these, there are fewer devices, or the backend is PyTorch, for which Keras
            knows no training on several.

    Example:
        >>> with training_scope("all", "bfloat16"):
        ...     unet = AtlasUNet(num_classes=16)
        ...     unet.compile("sgd", loss=MaskedCategoricalCrossentropy())
    """
    if precision is not None and precision not in _POLICIES:
        raise UserError(f"precision must be 'float32', 'bfloat16' or 'float16'. Received: precision={precision!r}")
    with contextlib.ExitStack() as stack:
        if precision is not None:
            stack.callback(keras.config.set_dtype_policy, keras.config.dtype_policy())
            keras.config.set_dtype_policy(_POLICIES[precision])
        names = _device_names(devices)
        if len(names) > 1:
            stack.enter_context(_on_devices(names))
        yield


def join_hosts(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> int:
    """Join the other processes of a training on several hosts; JAX only, before anything else is computed.

    Every host starts the same program. Afterwards ``training_scope("all")`` spans all hosts, ``pretrain``, ``finetune``
    and the pipelines take ``shard="auto"``, and process 0 alone writes files.

    Args:
        coordinator: ``host:port`` of process 0. None: from ``KERAS_DISTRIBUTION_JOB_ADDRESSES`` or, under Slurm and
            on TPUs, as JAX finds it.
        processes: Number of processes; None as for ``coordinator``.
        process: Number of this one; None as for ``coordinator``.

    Returns:
        The number of this process, 0 for the one that writes files.

    Raises:
        UserError: The Keras backend is not JAX.
    """
    if keras.backend.backend() != "jax":
        raise UserError(
            "Keras trains on several hosts with JAX alone: set KERAS_BACKEND=jax. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    import jax

    # Without it JAX on CPUs has no way to sum over processes; GPUs have their own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    keras.distribution.initialize(coordinator, processes, process)
    return int(jax.process_index())


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one of several processes save a network inside ``training_scope``.

    Keras makes an optimizer while it saves, and what is made there waits for all processes.
    """
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def check_processes_agree(numbers: Sequence[int], what: str) -> None:
    """Raise UserError where processes that train together hold different ``numbers``; they would wait forever."""
    jax = sys.modules.get("jax")
    if keras.backend.backend() != "jax" or jax.process_count() == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    found = process_allgather(np.array(numbers))
    if (found != found[0]).any():
        raise UserError(
            f"The processes of this training have not the same {what}: all of them must see the run folder. Process "
            f"0 has {found[0].tolist()}, others {[row.tolist() for row in found if (row != found[0]).any()]}."
        )


def _device_names(devices: int | str | Sequence[str] | None) -> list[str]:
    if devices is None:
        return []
    if not isinstance(devices, int | str):
        return list(devices)
    found = _list_devices()
    if devices == "all":
        return found
    if isinstance(devices, str):
        return [devices]
    if not 1 <= devices <= len(found):
        raise UserError(f"devices: this host has {len(found)} ({', '.join(found)}). Received: devices={devices}")
    return found[:devices]


def _list_devices() -> list[str]:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name.removeprefix("/device:") for device in devices]
    return keras.distribution.list_devices() if backend == "jax" else ["the one of PyTorch"]


def _on_devices(names: Sequence[str]) -> Any:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # TensorFlow's collectives between CPU devices may pair sums that do not belong together.
        on_cpu = all(name.upper().startswith("CPU") for name in names)
        ops = tf.distribute.ReductionToOneDevice() if on_cpu else None
        return tf.distribute.MirroredStrategy([f"/device:{name.upper()}" for name in names], ops).scope()
    if backend == "jax":
        # Our pipelines deal out the samples (shard="auto"): otherwise every host would read those of all.
        return keras.distribution.DataParallel(devices=list(names), auto_shard_dataset=False).scope()
    raise UserError(
        "Keras trains on several devices with TensorFlow or JAX: set KERAS_BACKEND. "
        f"Received: KERAS_BACKEND={backend}, devices={list(names)}"
    )
