"""A segmentation network made ready for windows of one size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from cytokeras.brain import Atlas, Section
from cytokeras.errors import UserError
from cytokeras.inference._fixed_network import FixedNetwork, fixed_network
from cytokeras.inference._resampled_image import ResampledImage
from cytokeras.inference.tiling import Window

# Rows of the map after block 1 that are computed at a time.
_STRIP_ROWS = 64

# A section has windows of one shape, and of the same one turned when symmetries are averaged.
_NETWORKS_KEPT = 2

# (quarter turns, mirrored): the symmetries of the square.
_SYMMETRIES = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))


class NetworkPool:
    """Copies of one model for windows of the sizes that are asked for; the last ones are kept, as they hold memory.

    Args:
        model: An AtlasUNet.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._networks: OrderedDict[tuple[int, int, bool], SplitNetwork] = OrderedDict()
        self._lock = threading.Lock()

    def network(self, rows: int, columns: int, with_atlas: bool) -> SplitNetwork:
        """Return the network for windows of (rows, columns) pixels, with or without its atlas branch."""
        key = (rows, columns, with_atlas)
        with self._lock:
            if key not in self._networks:
                while len(self._networks) >= _NETWORKS_KEPT:
                    self._networks.popitem(last=False)
                self._networks[key] = self._build(*key)
            self._networks.move_to_end(key)
            return self._networks[key]

    def _build(self, rows: int, columns: int, with_atlas: bool) -> SplitNetwork:
        from cytokeras.models.folding import folded_copy

        stem, trunk, field = self.model.split_after_block1(with_atlas)
        maps = field.output_size(rows), field.output_size(columns)
        strip = min(_STRIP_ROWS, maps[0])
        strip_px = int(field.stride) * strip + int(field.receptive_field)
        channels = self.model.get_config()["input_shape"][2]
        shapes = {"texture": (*maps, stem.output_shape[-1])}
        if with_atlas:
            shapes["atlas"] = (*self.model.atlas_field_of((rows, columns)).shape, self.model.atlas_channels)
        return SplitNetwork(
            fixed_network(folded_copy(stem, {"image": (strip_px, columns, channels)})),
            fixed_network(folded_copy(trunk, shapes)),
            maps[0],
            (strip, strip_px, int(field.stride)),
        )


class SplitNetwork:
    """A network whose first block works on strips of the image, the rest on the whole map.

    The maps of the first block would take more memory than all others together, and fetching it from the system more
    time than filling it. Calls from several threads take turns.

    Args:
        stem: Block 1 for strips of the image.
        trunk: The rest.
        map_rows: Rows of the map after block 1.
        strip: Rows of the map from one strip, pixel rows of a strip, and pixels from one row of the map to the next.
    """

    def __init__(self, stem: FixedNetwork, trunk: FixedNetwork, map_rows: int, strip: tuple[int, int, int]) -> None:
        self._stem, self._trunk = stem, trunk
        self._map_rows, self._strip = map_rows, strip
        self._lock = threading.Lock()

    def predict(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return the probabilities (h, w, C) float32 of one window."""
        rows, height, stride = self._strip
        with self._lock:
            for first in range(0, self._map_rows, rows):
                start = min(first, self._map_rows - rows)  # the last strip goes back over rows of the one before
                self._stem.fill("image", inputs["image"][start * stride : start * stride + height])
                self._trunk.fill("texture", self._stem.predict(), start)
            for name in inputs.keys() - {"image"}:
                self._trunk.fill(name, inputs[name])
            return self._trunk.predict()


class WindowNetwork:
    """Predicts windows of one size of one section.

    Args:
        networks: The network, for windows of any size.
        window_px: Rows and columns of the windows, valid sizes of the model.
        source: The section on the network's pixel grid.
        atlas: The atlas to sample, or None to segment by texture alone.
        section: The section with its plane; needed with ``atlas``.
        symmetries: Average over the eight flips and rotations of the square.

    Raises:
        UserError: The atlas does not fit the model.
    """

    def __init__(
        self,
        networks: NetworkPool,
        window_px: tuple[int, int],
        source: ResampledImage,
        atlas: Atlas | None,
        section: Section | None,
        symmetries: bool = False,
    ) -> None:
        self._source = source
        self._atlas = atlas
        self._section = section
        self._networks = networks
        self._symmetries = _SYMMETRIES if symmetries else _SYMMETRIES[:1]
        self._atlas_px = None
        if atlas is not None:
            check_atlas_fits(networks.model, atlas)
            field = networks.model.atlas_field_of(window_px)
            self._atlas_px = field.positions(0), field.positions(1)

    def inputs(self, pixels: np.ndarray, place: Window) -> dict[str, np.ndarray]:
        """Return the inputs of the network for a window whose ``pixels`` (h, w) uint8 lie at ``place``."""
        inputs = {"image": pixels[..., None]}
        if self._atlas is not None:
            inputs["atlas"] = self._atlas_patch(place)
        return inputs

    def predict(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return the probabilities (h, w, C) float32 of a window, averaged over the symmetries."""
        total: np.ndarray | None = None
        for turns, mirrored in self._symmetries:
            seen = {name: _turned(array, turns, mirrored) for name, array in inputs.items()}
            rows, columns, _ = seen["image"].shape
            network = self._networks.network(rows, columns, self._atlas is not None)
            answer = _turned_back(network.predict(seen), turns, mirrored)
            total = answer if total is None else total + answer
        assert total is not None
        return total / len(self._symmetries) if len(self._symmetries) > 1 else total

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


def _turned(array: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(array[:, ::-1] if mirrored else array, turns))


def _turned_back(array: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    array = np.rot90(array, -turns)
    return array[:, ::-1] if mirrored else array
