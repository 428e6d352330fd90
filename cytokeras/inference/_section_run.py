"""One pass over the windows of a section: read ahead, predict, write, note what is finished."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from cytokeras._progress import progress as show_progress
from cytokeras.brain import Atlas, Section
from cytokeras.inference._map_store import Layer, MapStore
from cytokeras.inference._resampled_image import ReadableImage, ResampledImage
from cytokeras.inference._tissue_finder import TissueFinder
from cytokeras.inference._window_network import WindowNetwork
from cytokeras.inference.tiling import TilePlan, Window

_BACKGROUND_CLASS = 0
_SAMPLES, _SAMPLE_PX = 8, 32  # squares along a side by which an image is recognised, and their size

Inputs = dict[str, np.ndarray]


class SectionRun:
    """Fills the maps of a section, window by window.

    Args:
        image: The section.
        source: The section on the network's pixel grid.
        plan: The windows.
        network: Predicts them.
        tissue: Tells which of them show tissue.
        store: Takes the maps.
        classes: Number of classes.
    """

    def __init__(
        self,
        source: ResampledImage,
        plan: TilePlan,
        network: WindowNetwork,
        tissue: TissueFinder,
        store: MapStore,
        classes: int,
    ) -> None:
        self._source, self._plan, self._network = source, plan, network
        self._tissue, self._store = tissue, store
        self._background = np.eye(classes, dtype=np.float32)[_BACKGROUND_CLASS]
        self.computed = self.skipped = 0
        self.resumed = len(store.finished)

    def run(self, progress: bool, description: str = "segmenting") -> None:
        """Do the windows that are not finished."""
        missing = [number for number in range(len(self._plan)) if number not in self._store.finished]
        for number, prepared in self._read_ahead(show_progress(missing, description, enabled=progress)):
            place = self._plan.windows[number]
            maps: dict[str, np.ndarray] = {}
            if prepared is None:
                self.skipped += 1
            else:
                self.computed += 1
                inputs, glass = prepared
                predicted = self._network.predict(inputs)[: place.cells[0], : place.cells[1]]
                maps = _maps(np.where(glass[..., None], self._background, predicted), self._store)
            self._store.write(number, (place.cell_row, place.cell_column), maps)

    def _read_ahead(self, numbers: Iterable[int]) -> Iterator[tuple[int, tuple[Inputs, np.ndarray] | None]]:
        """Give every window with what was read for it, reading the next while one is in the network."""
        with ThreadPoolExecutor(1, "cytokeras-read") as reader:
            ahead: tuple[int, Future[Any]] | None = None
            for number in numbers:
                following = number, reader.submit(self._prepare, self._plan.windows[number])
                if ahead is not None:
                    yield ahead[0], ahead[1].result()
                ahead = following
            if ahead is not None:
                yield ahead[0], ahead[1].result()

    def _prepare(self, place: Window) -> tuple[Inputs, np.ndarray] | None:
        """Return the inputs of the network and which kept cells are glass; None where there is no tissue."""
        if not self._tissue.possible(place):
            return None
        pixels = self._source.read(place.row, place.column, *self._plan.window_px)
        glass = self._tissue.glass(pixels, place)
        return None if glass.all() else (self._network.inputs(pixels, place), glass)


def map_layers(classes: int, probabilities: bool, uncertainty: bool) -> dict[str, Layer]:
    """Return the maps that a run writes."""
    layers = {"labels": Layer(1, np.uint8)}
    if probabilities:
        layers["probabilities"] = Layer(classes, np.float16, first_plane=1)  # background where nothing is written
    if uncertainty:
        layers["uncertainty"] = Layer(1, np.float16)
    return layers


def run_settings(
    model: Any, image: ReadableImage, plan: TilePlan, atlas: Atlas | None, section: Section | None
) -> dict[str, Any]:
    """Return, as JSON values, what decides the result: work begun with other values must not be gone on with."""
    settings: dict[str, Any] = {
        "weights": digest(model.get_weights()),
        "image": [list(image.shape), image.pixel_size_um, int(image.background), _image_digest(image)],
        "windows": [list(plan.window_px), list(plan.shape)],
        "atlas": None,
    }
    if atlas is not None and section is not None:
        plane = section.plane
        settings["atlas"] = digest([atlas.probabilities, atlas.affine])
        settings["plane"] = digest([plane.affine, plane.origin, plane.axis_u, plane.axis_v])
    return settings


def _maps(predicted: np.ndarray, store: MapStore) -> dict[str, np.ndarray]:
    maps = {"labels": predicted.argmax(axis=-1)[None]}
    if "probabilities" in store.layers:
        maps["probabilities"] = np.moveaxis(predicted, -1, 0)
    if "uncertainty" in store.layers:
        entropy = -(predicted * np.log(np.maximum(predicted, np.finfo(np.float32).tiny))).sum(axis=-1)
        maps["uncertainty"] = np.clip(entropy / math.log(predicted.shape[-1]), 0, 1)[None]
    return maps


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 of the values of arrays."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def _image_digest(image: ReadableImage) -> str:
    """Recognise an image by squares spread over it: reading all of it would cost as much as segmenting it."""
    places = [[int((k + 0.5) * side / _SAMPLES) for k in range(_SAMPLES)] for side in image.shape]
    return digest(image.read(row, column, _SAMPLE_PX, _SAMPLE_PX, level=0) for row in places[0] for column in places[1])
