"""The maps of a section while they are being computed: files that grow window by window and outlive a crash."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytokeras._files import same_settings, write_json
from cytokeras.errors import UserError

_SETTINGS_FILE = "settings.json"
_FINISHED_FILE = "finished.txt"
_LOCK_FILE = "lock"
_FILL_ROWS = 256


class OutputBusyError(UserError):
    """Another process is writing the same output."""


@dataclass(frozen=True)
class Layer:
    """One kind of map: so many planes of one type, all zero in the beginning but for the first."""

    planes: int
    dtype: Any
    first_plane: int = 0


class MapStore:
    """Maps of one shape on disk, written in windows, with a note of the windows that are finished.

    Every layer is one file of raw values, (planes, rows, columns). A window counts as finished when all its values
    have reached the disk; what a killed process left of an unfinished one is written again.

    Args:
        folder: Where the files lie; created, or taken up where an interrupted run left it.
        shape: Rows and columns of the maps.
        layers: The maps by name.
        settings: JSON values that decide the result; work begun with others is not taken up.

    Attributes:
        finished: Numbers of the windows that are done.

    Raises:
        UserError: The folder holds work begun with other settings or is in use by another process, or the disk has
            no room.
    """

    def __init__(
        self, folder: Path, shape: tuple[int, int], layers: Mapping[str, Layer], settings: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self.shape = shape
        self.layers = dict(layers)
        with _told(folder):
            folder.mkdir(exist_ok=True)
            self._lock = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT)
            self._files: dict[str, int] = {}
            try:
                self._open(settings)
            except BaseException:
                self.close()
                raise
        self.finished = self._read_finished()

    def write(self, number: int, corner: tuple[int, int], arrays: Mapping[str, np.ndarray]) -> None:
        """Write one window, (planes, rows, columns) a layer, with its first cell at ``corner``, and note it.

        A layer that is not given keeps what it holds from the beginning.
        """
        with _told(self.folder):
            for name, array in arrays.items():
                self._write_planes(name, corner, array)
                os.fsync(self._files[name])
            with (self.folder / _FINISHED_FILE).open("a", encoding="ascii") as file:
                file.write(f"{number}\n")
                file.flush()
                os.fsync(file.fileno())
        self.finished.add(number)

    def read(self, name: str, plane: int, row: int, rows: int) -> np.ndarray:
        """Return whole rows of one plane, (rows, columns)."""
        layer = self.layers[name]
        width = self.shape[1] * np.dtype(layer.dtype).itemsize
        content = os.pread(self._files[name], rows * width, (plane * self.shape[0] + row) * width)
        return np.frombuffer(content, layer.dtype).reshape(rows, self.shape[1])

    def array(self, name: str) -> np.ndarray:
        """Return a layer as an array (planes, rows, columns) that is read from disk as far as it is used.

        It stays valid when the folder is removed; values written into it stay in memory.
        """
        layer = self.layers[name]
        return np.memmap(self.folder / name, layer.dtype, "c", shape=(layer.planes, *self.shape))

    def close(self) -> None:
        """Release the files."""
        for file in (*self._files.values(), self._lock):
            os.close(file)
        self._files = {}

    def remove(self) -> None:
        """Remove the folder: the work is done and kept elsewhere."""
        self.close()
        shutil.rmtree(self.folder)

    def _open(self, settings: Mapping[str, Any]) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputBusyError(f"{self.folder}: another process is working on this output.") from None
        path = self.folder / _SETTINGS_FILE
        remedy = "delete this folder, or choose another output"
        begun = same_settings(path, settings, "holds unfinished work", remedy)
        if not begun:
            self._check_room()
        for name, layer in self.layers.items():
            self._files[name] = os.open(self.folder / name, os.O_RDWR | os.O_CREAT)
            os.ftruncate(self._files[name], self._bytes(layer))
        if not begun:
            for name, layer in self.layers.items():
                if layer.first_plane:
                    self._fill_first_plane(name, layer)
            write_json(path, settings)

    def _fill_first_plane(self, name: str, layer: Layer) -> None:
        row = np.full(self.shape[1], layer.first_plane, layer.dtype).tobytes()
        for first in range(0, self.shape[0], _FILL_ROWS):
            rows = min(_FILL_ROWS, self.shape[0] - first)
            _write_all(self._files[name], row * rows, first * len(row))

    def _check_room(self) -> None:
        needed = sum(self._bytes(layer) for layer in self.layers.values())
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise UserError(
                f"{self.folder}: the disk has {free / 1e9:.2f} GB left, and {needed / 1e9:.2f} GB are needed for the "
                "maps; make room or choose another output."
            )

    def _bytes(self, layer: Layer) -> int:
        return layer.planes * self.shape[0] * self.shape[1] * np.dtype(layer.dtype).itemsize

    def _read_finished(self) -> set[int]:
        path = self.folder / _FINISHED_FILE
        if not path.exists():
            return set()
        *lines, torn = path.read_text(encoding="ascii").split("\n")
        if torn:  # the line that the process was killed in; the next one must not be joined to it
            path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
        return {int(line) for line in lines}

    def _write_planes(self, name: str, corner: tuple[int, int], array: np.ndarray) -> None:
        layer, (height, width) = self.layers[name], self.shape
        values = np.ascontiguousarray(array, layer.dtype)
        for plane, content in enumerate(values):
            start = (plane * height + corner[0]) * width + corner[1]
            for offset, line in enumerate(content):
                # not through a memory map: its pages would count as this process's memory
                _write_all(self._files[name], line.tobytes(), (start + offset * width) * values.itemsize)


def _write_all(file: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(file, content, offset)
        content, offset = content[written:], offset + written


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn what the disk says into an error that tells what is kept."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror}); finished windows are kept, and the same call goes "
            "on from them when there is room."
        ) from error
