"""An optimizer with a learning rate per branch of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.training.replica_clipping import clip_over_replicas


@keras.saving.register_keras_serializable(package="cytokeras")
class BranchRates(keras.optimizers.Optimizer):
    """Multiplies the learning rate of another optimizer in chosen branches of the network.

    Spitzer et al. 2018, section 3: phase 2 trains the atlas branch with ten times the rate of the rest (0.25
    and 0.025). Everything else is that of the given optimizer: its rule, momentum, schedule, gradient
    clipping (over all variables together), accumulation and averaging. Its decoupled ``weight_decay`` keeps
    the rate without multiplier.

    Args:
        optimizer: Keras optimizer, name or configuration. It is copied, and must not have been used yet.
        multipliers: Name prefix to positive multiplier. A prefix stands for every variable in whose path (as
            ``"atlas_block1_conv1/kernel"``) a part begins with it; of several the longest counts. Other
            variables have the multiplier 1.
        name: Name of the optimizer.

    Raises:
        UserError: A multiplier is not positive, the optimizer was used already, or is a loss-scaling one.
            When training
            starts: a prefix stands for no variable of the model.

    Example:
        >>> sgd = keras.optimizers.SGD(0.025, momentum=0.9, nesterov=True)
        >>> optimizer = BranchRates(sgd, {"atlas_": 10.0})
    """

    def __init__(
        self,
        optimizer: Any,
        multipliers: Mapping[str, float],
        name: str = "branch_rates",
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(f"BranchRates takes rates and clipping from its optimizer alone. Received: {unknown}")
        # The rate of this object is never read; learning_rate is that of the inner optimizer.
        super().__init__(learning_rate=0.0, name=name)
        self.multipliers = _checked_multipliers(multipliers)
        self.inner_optimizer = _copy_unused(optimizer)

    def build(self, variables: Sequence[Any]) -> None:
        """Create the state of the inner optimizer and find the multiplier of every variable."""
        if self.built:
            return
        matched = {variable.path: self._multiplier_of(variable.path) for variable in variables}
        self._check_every_prefix_matches(list(matched))
        clip_over_replicas(self.inner_optimizer).build(variables)
        # The one step through which every optimizer of every backend goes (the foreach updates of PyTorch and
        # the merge_call of tf.distribute included), after clipping and with the rate as an argument.
        self.inner_optimizer._backend_update_step = _scaled_update(self.inner_optimizer._backend_update_step, matched)
        super().build(variables)

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Update the variables with their gradients."""
        if not self.built:
            self.build(list(trainable_variables))
        self.inner_optimizer.apply(grads, trainable_variables)

    @property
    def variables(self) -> list[Any]:
        """State of this and of the inner optimizer."""
        return self._variables + self.inner_optimizer.variables

    @property
    def iterations(self) -> Any:
        """Steps done so far."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """Rate without multiplier."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    def scale_loss(self, loss: Any) -> Any:
        """Scale the loss as the inner optimizer unscales its gradients."""
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Put averaged values into the variables at the end of training, where the inner optimizer averages."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "multipliers": dict(self.multipliers),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> BranchRates:
        """Build the optimizer from the result of ``get_config``."""
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects=custom_objects)
        return cls(**{**config, "optimizer": optimizer})

    def _multiplier_of(self, path: str) -> float:
        prefixes = [prefix for prefix in self.multipliers if _matches(prefix, path)]
        return self.multipliers[max(prefixes, key=len)] if prefixes else 1.0

    def _check_every_prefix_matches(self, paths: Sequence[str]) -> None:
        for prefix in self.multipliers:
            if not any(_matches(prefix, path) for path in paths):
                layers = sorted({path.split("/")[-2] for path in paths if "/" in path})
                raise UserError(
                    f"BranchRates: no trainable layer of the model begins with {prefix!r}; without that branch no "
                    f"multiplier is needed.{nearest_name_hint(prefix, layers)}"
                )


def _scaled_update(update: Callable[..., None], multiplier_of_path: Mapping[str, float]) -> Callable[..., None]:
    """The update step of an optimizer, called once for every multiplier."""

    def scaled(grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any) -> None:
        groups: dict[float, list[int]] = {}
        for index, variable in enumerate(trainable_variables):
            groups.setdefault(multiplier_of_path[variable.path], []).append(index)
        for multiplier, indices in groups.items():
            rate = learning_rate if multiplier == 1.0 else learning_rate * multiplier
            update([grads[i] for i in indices], [trainable_variables[i] for i in indices], rate)

    return scaled


def _matches(prefix: str, path: str) -> bool:
    return path.startswith(prefix) or f"/{prefix}" in path


def _checked_multipliers(multipliers: Mapping[str, float]) -> dict[str, float]:
    if not multipliers:
        raise UserError("multipliers must name at least one branch, as {'atlas_': 10.0}. Received: {}")
    for prefix, multiplier in multipliers.items():
        if not prefix or not (multiplier > 0 and math.isfinite(multiplier)):
            raise UserError(
                "multipliers must be positive, by name prefix (to freeze, set layer.trainable = False). "
                f"Received: {prefix!r}: {multiplier}"
            )
    return {prefix: float(multiplier) for prefix, multiplier in multipliers.items()}


def _copy_unused(optimizer: Any) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.get(optimizer)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer | BranchRates):
        raise UserError(f"BranchRates goes around a plain optimizer. Received: {type(optimizer).__name__}")
    if optimizer.built:
        raise UserError("BranchRates needs an optimizer that has not been used yet; create a new one.")
    return type(optimizer).from_config(optimizer.get_config())
