"""The two networks and what belongs to them; only Keras is needed, on any of its backends."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cytokeras.models.field_geometry import AtlasGrid, FieldGeometry

# Not lazy: the submodule would take the name of the function as soon as it is imported.
from cytokeras.models.transfer_weights import TransferReport, transfer_weights

if TYPE_CHECKING:
    from cytokeras.models.atlas_unet import AtlasUNet
    from cytokeras.models.siamese_distance_net import SiameseDistanceNet

__all__ = [
    "AtlasGrid",
    "AtlasUNet",
    "FieldGeometry",
    "SiameseDistanceNet",
    "TransferReport",
    "transfer_weights",
]

_KERAS_MODELS = {"AtlasUNet": "atlas_unet", "SiameseDistanceNet": "siamese_distance_net"}


def __getattr__(name: str) -> Any:
    if name not in _KERAS_MODELS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_KERAS_MODELS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
