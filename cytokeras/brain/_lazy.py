"""Parts of a brain folder that are read when they are first used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain.labels import SectionLabels
from cytokeras.brain.section_images import SectionImage
from cytokeras.errors import UserError
from cytokeras.surfaces import Hemisphere

T = TypeVar("T")


class Lazy(Generic[T]):
    """A value that is loaded once, by whichever thread asks first.

    Args:
        load: Gives the value.
        where: The file and field that a ``UserError`` of ``load`` is told with.
    """

    def __init__(self, load: Callable[[], T], where: str) -> None:
        self._load = load
        self._where = where
        self._value: list[T] = []
        self._lock = threading.Lock()

    def get(self) -> T:
        """Return the value."""
        with self._lock:
            if not self._value:
                try:
                    self._value.append(self._load())
                except UserError as error:
                    raise UserError(f"{self._where}: {error}") from None
            return self._value[0]


class LazyImage(SectionImage):
    """A section image whose file is opened when anything but its pixel size is asked for."""

    def __init__(self, image: Lazy[SectionImage], pixel_size_um: float) -> None:
        self._image = image
        self.pixel_size_um = pixel_size_um

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        """(height, width) of the finest level in pixels."""
        return self._image.get().shape

    @property
    def levels(self) -> tuple[float, ...]:  # type: ignore[override]
        """Downsampling factor of each resolution."""
        return self._image.get().levels

    @property
    def level_shapes(self) -> tuple[tuple[int, int], ...]:  # type: ignore[override]
        """(height, width) of each resolution."""
        return self._image.get().level_shapes

    @property
    def background(self) -> int:
        """Grey level (0 … 255) of the surroundings."""
        return self._image.get().background

    @property
    def format(self) -> str:  # type: ignore[override]
        """What the image is stored as."""
        return self._image.get().format

    def details(self) -> dict[str, str]:
        """Return, for people to read, how the pixels are stored and what is made of them."""
        return self._image.get().details()

    def _read_inside(self, level: int, row: int, column: int, out: NDArray[np.uint8]) -> None:
        self._image.get()._read_inside(level, row, column, out)


class LazyLabels:
    """An annotation whose file is opened at the first read."""

    def __init__(self, labels: Lazy[Any]) -> None:
        self._labels = labels

    def load(self) -> SectionLabels:
        """Return the annotation itself."""
        labels: SectionLabels = self._labels.get()
        return labels

    def read(self, row: float, column: float, height: int, width: int, step: float = 1) -> NDArray[np.uint8]:
        """Return class indices; see ``SectionLabels.read``."""
        values: NDArray[np.uint8] = self._labels.get().read(row, column, height, width, step)
        return values


class LazySurfaces(Mapping[str, Hemisphere]):
    """Hemispheres by name, each read at its first use."""

    def __init__(self, hemispheres: Mapping[str, Lazy[Hemisphere]]) -> None:
        self._hemispheres = dict(hemispheres)

    def __getitem__(self, name: str) -> Hemisphere:
        return self._hemispheres[name].get()

    def __iter__(self) -> Iterator[str]:
        return iter(self._hemispheres)

    def __len__(self) -> int:
        return len(self._hemispheres)

    def __contains__(self, name: object) -> bool:
        return name in self._hemispheres
