"""Smallest networks and inputs for the tests of the models."""

from __future__ import annotations

import numpy as np

from cytokeras.models import AtlasUNet, SiameseDistanceNet

WIDTHS = (4, 4, 6, 6, 8, 8)


def tiny_unet(**arguments) -> AtlasUNet:
    defaults = {"num_classes": 3, "input_shape": (194, 194, 1), "atlas_channels": 2}
    return AtlasUNet(**(defaults | {"pixel_size_um": 16.0, "widths": WIDTHS} | arguments))


def tiny_net(**arguments) -> SiameseDistanceNet:
    defaults = {"input_shape": (132, 132, 1), "pixel_size_um": 16.0, "widths": WIDTHS}
    return SiameseDistanceNet(**(defaults | arguments))


def unet_inputs(unet: AtlasUNet, count: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = {"image": rng.integers(0, 256, (count, 194, 194, 1), dtype=np.uint8)}
    if unet.atlas_field is not None:
        inputs["atlas"] = rng.random((count, *unet.atlas_field.shape, 2), dtype=np.float32)
    return inputs


def net_inputs(count: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (count, 132, 132, 1), dtype=np.uint8) for name in ("patch_a", "patch_b")}
