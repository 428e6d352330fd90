"""Starting one network from the weights of another, by layer name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cytokeras.errors import UserError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class TransferReport:
    """What ``transfer_weights`` did; ``str()`` of it is a table.

    Args:
        transferred: Names of the layers whose weights were copied, in the order of the target.
        skipped_source: Names of the layers with weights that only the source has.
        skipped_target: Names of the layers with weights that only the target has; they keep their weights.
        weight_count: Number of copied weights, moving statistics of batch normalization included.
    """

    transferred: list[str]
    skipped_source: list[str]
    skipped_target: list[str]
    weight_count: int

    def __str__(self) -> str:
        rows = [(name, "copied") for name in self.transferred]
        rows += [(name, "only in the source") for name in self.skipped_source]
        rows += [(name, "only in the target, unchanged") for name in self.skipped_target]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {what}" for name, what in rows]
        lines.append(f"{len(self.transferred)} layers, {self.weight_count:,} weights copied")
        return "\n".join(lines)


def transfer_weights(source_model: keras.Model, target_model: keras.Model) -> TransferReport:
    """Copy the weights of every layer that both models have, by layer name, and say which.

    Spitzer et al. 2018, section 2: the texture branch of the segmentation network starts from the siamese
    network. Nested models are searched too. Nothing is copied unless all common layers agree in the names and
    shapes of their weights: ``load_weights(skip_mismatch=True)`` goes by class and position, so that one
    inserted layer silently shifts every kernel.

    Args:
        source_model: Model to copy from, for example a ``SiameseDistanceNet``.
        target_model: Model to copy to, for example an ``AtlasUNet``; changed in place.

    Returns:
        The names of the copied and of the other layers.

    Raises:
        UserError: No layer name is common to both models, a common layer has weights of another name or
            shape, or two layers of one model share a name.
    """
    source, target = _weighted_layers(source_model), _weighted_layers(target_model)
    common = [name for name in target if name in source]
    if not common:
        raise UserError(
            f"transfer_weights: {source_model.name} and {target_model.name} have no layer of the same name; "
            f"the source has {_some(source)}, the target {_some(target)}."
        )
    mismatches = [
        f"{name}: {_weight_shapes(source[name])} in the source, {_weight_shapes(target[name])} in the target"
        for name in common
        if _weight_shapes(source[name]) != _weight_shapes(target[name])
    ]
    if mismatches:
        raise UserError(
            f"transfer_weights: {len(mismatches)} of {len(common)} common layers of {source_model.name} and "
            f"{target_model.name} differ; nothing was copied. {'; '.join(mismatches[:3])}"
        )
    for name in common:
        target[name].set_weights(source[name].get_weights())
    return TransferReport(
        transferred=common,
        skipped_source=[name for name in source if name not in target],
        skipped_target=[name for name in target if name not in source],
        weight_count=sum(int(target[name].count_params()) for name in common),
    )


def _weighted_layers(model: keras.Model) -> dict[str, keras.Layer]:
    """All layers that hold weights themselves, by name, nested models opened."""
    found: dict[str, keras.Layer] = {}
    for layer in model.layers:
        inner = _weighted_layers(layer) if hasattr(layer, "layers") else {layer.name: layer}
        for name, weighted in inner.items():
            if not weighted.weights:
                continue
            if found.setdefault(name, weighted) is not weighted:
                raise UserError(f"transfer_weights: {model.name} has two layers named {name!r}.")
    return found


def _weight_shapes(layer: keras.Layer) -> dict[str, tuple[int, ...]]:
    return {weight.name: tuple(weight.shape) for weight in layer.weights}


def _some(layers: dict[str, keras.Layer]) -> str:
    names = list(layers)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "") if names else "no weights"
