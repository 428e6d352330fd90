"""A segmentation network made ready for windows of one size."""

from __future__ import annotations

from typing import Any

import numpy as np

from cytokeras.brain import Atlas, Section
from cytokeras.errors import UserError
from cytokeras.inference._resampled_image import ResampledImage
from cytokeras.inference.tiling import Window


class WindowNetwork:
    """Predicts windows of one size; the network is compiled once because all have the same shape.

    Args:
        model: An AtlasUNet.
        window_px: Rows and columns of the windows, valid sizes of the model.
        source: The section on the network's pixel grid.
        atlas: The atlas to sample, or None to segment by texture alone.
        section: The section with its plane; needed with ``atlas``.

    Raises:
        UserError: The atlas does not fit the model.
    """

    def __init__(
        self,
        model: Any,
        window_px: tuple[int, int],
        source: ResampledImage,
        atlas: Atlas | None,
        section: Section | None,
    ) -> None:
        self._source = source
        self._atlas = atlas
        self._section = section
        if atlas is not None:
            check_atlas_fits(model, atlas)
        rows, columns, channels = model.get_config()["input_shape"]
        if (rows, columns) != window_px:
            model = model.with_input_shape((*window_px, channels))
        self._network = model if atlas is not None else model.without_atlas()
        grid = model.atlas_field
        self._atlas_px = None if atlas is None else (grid.positions(0), grid.positions(1))

    def predict(self, pixels: np.ndarray, place: Window) -> np.ndarray:
        """Return the probabilities (h, w, C) float32 of the window ``pixels`` (uint8) at ``place``."""
        inputs = {"image": pixels[None, ..., None]}
        if self._atlas is not None:
            inputs["atlas"] = self._atlas_patch(place)[None]
        return np.asarray(self._network.predict_on_batch(inputs))[0]

    def _atlas_patch(self, place: Window) -> np.ndarray:
        assert self._atlas is not None and self._section is not None and self._atlas_px is not None
        rows = self._source.to_pixel(place.row + self._atlas_px[0])
        columns = self._source.to_pixel(place.column + self._atlas_px[1])
        pixels = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
        return self._atlas.sample(self._section.pixel_to_mm(pixels))


def check_atlas_fits(model: Any, atlas: Atlas) -> None:
    """Raise UserError unless the atlas has one area a channel, in the order of the model's classes."""
    if len(atlas.names) != model.atlas_channels:
        raise UserError(
            f"atlas: has {len(atlas.names)} areas, the model's atlas branch takes {model.atlas_channels}; "
            "choose an atlas with one probability map for each of them."
        )
    names = getattr(model, "class_names", None)
    expected = [name for name in names or () if name in atlas.names]
    if len(expected) == len(atlas.names) and expected != list(atlas.names):
        raise UserError(
            f"atlas: its areas must be in the order of the model's classes ({', '.join(expected)}). "
            f"Received: {', '.join(atlas.names)}"
        )
