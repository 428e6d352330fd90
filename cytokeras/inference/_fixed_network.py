"""A network for inputs of one shape that only predicts, as fast as the machine allows."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np


class FixedNetwork(Protocol):
    """A network with one output and memory of its own for its inputs; for one thread at a time."""

    def fill(self, name: str, values: np.ndarray, first_row: int = 0) -> None:
        """Write ``values`` (rows, w, C) over the rows of an input from ``first_row`` on."""

    def predict(self) -> np.ndarray:
        """Return the output (h, w, C) float32 for the inputs as they were filled."""


def fixed_network(model: Any) -> FixedNetwork:
    """Return a functional model of fixed input shapes as a network that only predicts.

    On CPUs a TensorFlow model is translated for LiteRT (package ``ai_edge_litert``, part of cytokeras' TensorFlow
    extras): its convolutions of few channels are twice as fast, and its maps stay in the same memory from call to
    call. On GPUs, with other backends and without that package Keras predicts. Both agree to float32 rounding.
    """
    return _LiteNetwork(model) if _lite_is_faster() else _KerasNetwork(model)


def _lite_is_faster() -> bool:
    import keras

    if keras.backend.backend() != "tensorflow" or importlib.util.find_spec("ai_edge_litert") is None:
        return False
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")


class _KerasNetwork:
    def __init__(self, model: Any) -> None:
        import keras

        # XLA takes 20 s and more for a shape on CPUs; JAX knows no other way
        model.compile(jit_compile=keras.backend.backend() == "jax")
        self._model = model
        self._inputs = {tensor.name: np.zeros((1, *tensor.shape[1:]), np.float32) for tensor in model.inputs}

    def fill(self, name: str, values: np.ndarray, first_row: int = 0) -> None:
        self._inputs[name][0, first_row : first_row + len(values)] = values

    def predict(self) -> np.ndarray:
        return np.asarray(self._model.predict_on_batch(self._inputs))[0]


class _LiteNetwork:
    def __init__(self, model: Any) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with _without_notices():
            self._interpreter = Interpreter(model_content=_translated(model), num_threads=_threads())
            self._interpreter.allocate_tensors()
        self._inputs = {detail["name"]: detail["index"] for detail in self._interpreter.get_input_details()}
        self._output = self._interpreter.get_output_details()[0]["index"]

    def fill(self, name: str, values: np.ndarray, first_row: int = 0) -> None:
        # the view must not outlive this line: the interpreter does not run while there is one
        self._interpreter.tensor(self._inputs[name])()[0, first_row : first_row + len(values)] = values

    def predict(self) -> np.ndarray:
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]


def _translated(model: Any) -> bytes:
    """Return a model of LiteRT with the weights as constants in it."""
    import tensorflow as tf

    names = [tensor.name for tensor in model.inputs]
    weights = [[v.numpy() for v in group] for group in (model.trainable_variables, model.non_trainable_variables)]

    def predict(*tensors: Any) -> Any:
        constants = [[tf.constant(value) for value in group] for group in weights]
        return model.stateless_call(*constants, dict(zip(names, tensors, strict=True)), training=False)[0]

    signature = [tf.TensorSpec((1, *t.shape[1:]), tf.float32, name=t.name) for t in model.inputs]
    function = tf.function(predict, input_signature=signature).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()


def _threads() -> int:
    """Return the number of threads that TensorFlow would use."""
    import tensorflow as tf

    asked = int(os.environ.get("TF_NUM_INTRAOP_THREADS") or 0) or tf.config.threading.get_intra_op_parallelism_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or cores


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Keep off the terminal what a C++ library writes there about itself and has no setting for."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
