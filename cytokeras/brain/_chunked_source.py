"""One resolution of a chunked array, read through tensorstore."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytokeras.errors import UserError

DEADLINE_S = 8.0
"""A server that has sent nothing of what was asked for in this time is given up; retries included."""
_RETRIES = {"max_retries": 4, "initial_delay": "200ms", "max_delay": "1s"}
_CHUNK_BYTES_LIMIT = 1 << 28
_BLOCK_SIDE = 256
_SIDE_LIMIT = 1 << 22
_NOT_INSTALLED = 'needs tensorstore; install it with: pip install "cytokeras[tensorstore]"'


@dataclass(frozen=True)
class ChunkedLevel:
    """One resolution: ``(rows, columns)`` or ``(rows, columns, samples)`` of a tensorstore array."""

    where: str
    shape: tuple[int, int]
    samples: int
    dtype: np.dtype[Any]
    block: tuple[int, int]
    _array: Any

    @classmethod
    def of(cls, array: Any, where: str, axes: tuple[int, int, int | None], planes: dict[int, int]) -> ChunkedLevel:
        """Look at a plane of an opened array.

        Args:
            array: The tensorstore array.
            where: Its address, for messages.
            axes: Its dimensions down, across and of the samples.
            planes: The index taken in each other dimension, from the first.
        """
        down, across, channel = axes
        shape = tuple(int(array.shape[k]) for k in (down, across))
        if not all(0 < side <= _SIDE_LIMIT for side in shape):
            raise UserError(
                f"{where}: says it has {shape[0]} x {shape[1]} px; a section has 1 to {_SIDE_LIMIT} a side."
            )
        dtype = np.dtype(array.dtype.numpy_dtype)
        if dtype.newbyteorder("=") not in (np.uint8, np.uint16):
            raise UserError(f"{where}: has pixels of kind {dtype.name}; expected 8-bit or 16-bit unsigned.")
        chunk = [int(side) for side in array.chunk_layout.read_chunk.shape]
        size = math.prod(chunk) * dtype.itemsize
        if size > _CHUNK_BYTES_LIMIT:
            raise UserError(
                f"{where}: its chunks of {' x '.join(map(str, chunk))} ({size / 2**20:.0f} MiB of pixels) are too "
                f"large to read piecewise; write it again with chunks of at most {_CHUNK_BYTES_LIMIT >> 20} MiB."
            )
        origin = array.domain.origin
        index = tuple(
            planes[k] + int(origin[k]) if k in planes else slice(int(origin[k]), int(origin[k]) + int(array.shape[k]))
            for k in range(array.rank)
        )
        kept = [k for k in range(array.rank) if k not in planes]
        order = [kept.index(k) for k in (down, across, channel) if k is not None]
        samples = int(array.shape[channel]) if channel is not None else 1
        return cls(
            where=where,
            shape=(shape[0], shape[1]),
            samples=samples,
            dtype=np.dtype(dtype.newbyteorder("=")),
            block=(_block_side(chunk[down]), _block_side(chunk[across])),
            _array=_from_zero(array[index].transpose(order)),
        )

    def read_blocks(self, indices: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], NDArray[Any] | None]]:
        """Yield blocks as ``(h, w)`` or ``(h, w, samples)`` raw values; see ``BlockSource``."""
        pending = []
        for i, j in indices:
            rows = slice(i * self.block[0], min((i + 1) * self.block[0], self.shape[0]))
            columns = slice(j * self.block[1], min((j + 1) * self.block[1], self.shape[1]))
            pending.append(((i, j), self._array[rows, columns].read()))
        for index, future in pending:
            raw = np.asarray(wait(future, f"{self.where}, block {index}")).astype(self.dtype, copy=False)
            yield index, raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw


def open_array(spec: dict[str, Any]) -> Any:
    """Begin to open an array; ``wait`` for it."""
    return tensorstore(str(spec["kvstore"])).open(spec, read=True, open=True, context=_context())


def open_store(spec: dict[str, Any], where: str) -> Any:
    """Return the files of a folder or server."""
    return wait(tensorstore(where).KvStore.open(spec, context=_context()), where)


def wait(future: Any, where: str) -> Any:
    """Return the result of a tensorstore future, or say clearly why there is none."""
    try:
        return future.result(timeout=DEADLINE_S)
    except TimeoutError:
        future.cancel()
        raise UserError(f"{where}: no answer within {DEADLINE_S:g} s; try again later or copy the data.") from None
    except Exception as error:  # tensorstore raises ValueError, KeyError, OSError … with its status as text
        reason = str(error).partition(" [source locations")[0].split("\n")[0]
        raise UserError(f"{where}: cannot be read ({reason[:400]}).") from error


def tensorstore(where: str) -> Any:
    """Return the tensorstore module, an optional dependency."""
    try:
        import tensorstore as module
    except ImportError:
        raise UserError(f"{where}: reading it {_NOT_INSTALLED}") from None
    return module


def _context() -> Any:
    # tensorstore keeps nothing: decoded blocks are kept, as one cell-body channel, in the cache of all images
    settings = {"http_request_retries": _RETRIES, "cache_pool": {"total_bytes_limit": 0}}
    return tensorstore("").Context(settings)


def _from_zero(array: Any) -> Any:
    return array[tensorstore("").d[:].translate_to[0]]


def _block_side(chunk: int) -> int:
    """Small chunks are read several at once: each block costs about as much as 20,000 pixels."""
    return chunk * max(1, _BLOCK_SIDE // chunk)
