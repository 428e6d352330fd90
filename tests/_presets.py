"""Smallest networks for the tests of preset folders."""

from __future__ import annotations

from typing import Any

import numpy as np

from cytokeras.models.atlas_unet import AtlasUNet

# Smallest networks: 16 µm/px, 2 channels, one cell (siamese) and 4 x 4 cells (segmentation).
TINY = {"pixel_size_um": 16.0, "widths": (2, 2, 2, 2, 2, 2)}
NAMES = ("background", "white matter", "hOc1")


def tiny_unet(**arguments: Any) -> Any:
    return AtlasUNet(3, (194, 194, 1), 2, class_names=NAMES, **{**TINY, **arguments})


def randomise(model: Any, seed: int = 0) -> Any:
    """Give every weight a value of its own, so that a swap or a loss of weights changes the predictions."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 1.0, weight.shape) for weight in model.get_weights()])
    return model


def predictions(model: Any) -> dict[str, np.ndarray]:
    """Outputs of a model for one example."""
    from cytokeras.hub.golden import GoldenPair

    return GoldenPair.of(model).outputs
