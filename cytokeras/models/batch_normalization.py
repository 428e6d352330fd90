"""Batch normalization that trains with the backend's own kernel for it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="cytokeras")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalization, of which training is one operation instead of a dozen.

    Keras computes mean, variance, shift and scale as separate passes over the maps and keeps several of them for the
    gradients. TensorFlow and PyTorch have a kernel that does it in two passes and keeps its input alone. (XLA, and so
    JAX, fuses the passes by itself.) Under ``tf.distribute`` Keras takes the variance as the difference of two means,
    which rounding spoils where the mean is large; here it is the mean square of the deviations there too. Arguments,
    variables, their names and, to rounding, the results are those of Keras' layer.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalized inputs, of their shape; in training the moving statistics are updated."""
        train = _over_replicas if _replicas() > 1 else _FUSED.get(keras.backend.backend())
        plain = self.scale and self.center and self.axis in (-1, 3) and not self.renorm and mask is None
        if not (training and self.trainable and plain and train):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = train(inputs, self.gamma, self.beta, self.epsilon)
        kept = self.momentum
        self.moving_mean.assign(self.moving_mean * kept + mean * (1.0 - kept))
        self.moving_variance.assign(self.moving_variance * kept + variance * (1.0 - kept))
        return ops.cast(outputs, self.compute_dtype)


def _with_tensorflow(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    gamma, beta = tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=epsilon)
    return y, mean, variance * _biased(tf.cast(tf.size(x) / tf.size(gamma), tf.float32))


def _with_torch(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    import torch

    mean, variance = torch.zeros_like(beta.value), torch.zeros_like(beta.value)
    # With a momentum of 1 the statistics of the batch replace those given.
    y = torch.batch_norm(x.movedim(-1, 1), gamma.value, beta.value, mean, variance, True, 1.0, epsilon, True)
    count = x.numel() // mean.numel()
    return y.movedim(1, -1), mean, variance * _biased(count) if count > 1 else torch.zeros_like(mean)


def _over_replicas(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    axes = list(range(len(x.shape) - 1))
    x = ops.cast(x, "float32")
    mean = ops.moments(x, axes, synchronized=True)[0]
    variance = ops.moments(ops.square(x - mean), axes, synchronized=True)[0]
    return ops.batch_normalization(x, mean, variance, -1, beta, gamma, epsilon), mean, variance


_FUSED = {"tensorflow": _with_tensorflow, "torch": _with_torch}


def _biased(count: Any) -> Any:
    """Factor from the variance of a sample, which both kernels give, to that of the batch, which Keras keeps."""
    return (count - 1.0) / count


def _replicas() -> int:
    """Copies of the layer that train together under ``tf.distribute``; a kernel knows the maps of one alone."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync
