"""What a stack of layers does to sizes and places: receptive field, stride, valid sizes, output grid.

Everything is computed from the list of layers that the networks are built from, so that a network with
another first stride, or without its first pool, brings its own geometry. No Keras is needed here.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from cytokeras.errors import UserError


@dataclass(frozen=True)
class ConvStep:
    """A valid convolution without bias, then batch normalization and ReLU."""

    name: str
    filters: int
    kernel: int
    stride: int = 1


@dataclass(frozen=True)
class PoolStep:
    """A 2 x 2 max pool of stride 2 that keeps a last odd row or column (ceil pooling)."""

    name: str
    kernel: int = 2
    stride: int = 2


@dataclass(frozen=True)
class UpStep:
    """A 2 x 2 transposed convolution of stride 2 without bias, then batch normalization and ReLU."""

    name: str
    filters: int


Step = ConvStep | PoolStep | UpStep


@dataclass(frozen=True)
class FieldGeometry:
    """Which input pixels an output cell sees, and where it lies; the same along rows and columns.

    Output cell ``(r, c)`` is centred on the input pixel ``offset + stride * (r, c)`` (0-based pixel centres).
    The offset ends in .5 where the centre lies between two pixels. The rule (walk the layers from the output
    to the input, starting at 0: ``rf = rf * stride + (kernel - stride)``, ``rf / 2`` at an up-layer) gives
    1481 and stride 8 for the network at 2 µm, as Spitzer et al. (ISBI 2017) state; the centre follows from
    the same walk.

    Args:
        steps: The layers from the input to the output, without skip connections.
        pixel_size_um: Size of an input pixel in µm.
        exact: True where every pool must meet an even size and every strided convolution must end at the
            border, as skip connections need it; False accepts every size that leaves at least one output
            cell.
    """

    steps: tuple[Step, ...]
    pixel_size_um: float
    exact: bool = False

    @property
    def receptive_field(self) -> int | float:
        """Input pixels an output needs beside ``stride`` per cell: ``input = stride * output +
        receptive_field``."""
        margin = Fraction(0)
        for step in reversed(self.steps):
            margin = margin / 2 if isinstance(step, UpStep) else margin * step.stride + step.kernel - step.stride
        return _plain(margin)

    @property
    def stride(self) -> int | float:
        """Distance of neighbouring output cells in input pixels."""
        return _plain(self._walk_centres()[1])

    @property
    def offset(self) -> int | float:
        """Input pixel on which output cell 0 is centred, 0-based."""
        return _plain(self._walk_centres()[0])

    @property
    def output_pixel_size_um(self) -> float:
        """Distance of neighbouring output cells in µm."""
        return float(self.pixel_size_um * self.stride)

    @property
    def period(self) -> int | float:
        """Input pixels from one valid size to the next, where the network needs exact sizes: 128 at 2 µm."""
        scale = widest = Fraction(1)
        for step in self.steps:
            scale = scale / 2 if isinstance(step, UpStep) else scale * step.stride
            widest = max(widest, scale)
        return _plain(widest)

    def output_size(self, input_size: int) -> int:
        """Number of output cells along a side of ``input_size`` pixels; 0 where the size is too small."""
        size = input_size
        for step in self.steps:
            if isinstance(step, UpStep):
                size = 2 * size
            elif isinstance(step, PoolStep):
                size = -(-size // step.stride)
            else:
                size = (size - step.kernel) // step.stride + 1
            if size < 1:
                return 0
        return size

    def is_valid(self, input_size: int) -> bool:
        """Whether the network can be built for inputs with a side of ``input_size`` pixels."""
        if self.output_size(input_size) < 1:
            return False
        return not self.exact or self._divides_exactly(input_size)

    def valid_size(self, at_least: int) -> int:
        """Smallest valid input size that is not below ``at_least`` pixels."""
        enough = math.ceil(self.receptive_field + self.stride)  # for one output cell
        size = max(int(at_least), bisect.bisect_left(range(enough), 1, key=self.output_size))
        while not self.is_valid(size):
            size += 1
        return size

    def nearest_valid_sizes(self, input_size: int) -> tuple[int, ...]:
        """The largest valid size below ``input_size`` (where there is one) and the smallest above it."""
        smallest = self.valid_size(1)
        below = next((n for n in range(input_size - 1, smallest - 1, -1) if self.is_valid(n)), None)
        above = self.valid_size(input_size + 1)
        return (above,) if below is None else (below, above)

    def positions(self, count: int) -> np.ndarray:
        """Input pixels on which the output cells 0 … ``count`` - 1 are centred, (count,) float64."""
        return float(self.offset) + float(self.stride) * np.arange(count, dtype=np.float64)

    def check_input_size(self, input_size: int, what: str) -> None:
        """Raise UserError, naming the nearest valid sizes, where ``input_size`` is not valid for ``what``."""
        if not self.is_valid(input_size):
            nearest = " or ".join(str(size) for size in self.nearest_valid_sizes(input_size))
            raise UserError(
                f"{what}: no network can be built for patches with a side of {input_size} px; "
                f"the nearest valid size is {nearest} px."
            )

    def _walk_centres(self) -> tuple[Fraction, Fraction]:
        """Centre of cell 0 and distance of the cells after the last step, in input pixels."""
        offset, stride = Fraction(0), Fraction(1)
        for step in self.steps:
            if isinstance(step, UpStep):
                # A cell of the coarse grid becomes two cells, a quarter of its width to either side.
                offset, stride = offset - stride / 4, stride / 2
            else:
                offset, stride = offset + stride * Fraction(step.kernel - 1, 2), stride * step.stride
        return offset, stride

    def _divides_exactly(self, input_size: int) -> bool:
        size = input_size
        for step in self.steps:
            if isinstance(step, UpStep):
                size = 2 * size
                continue
            if (size - step.kernel) % step.stride:
                return False
            size = (size - step.kernel) // step.stride + 1
        return True


@dataclass(frozen=True)
class AtlasGrid:
    """The grid on which a network reads the probabilistic atlas.

    Atlas pixel ``j`` lies at the image pixel ``offset + stride * j`` of the patch, along rows and columns
    alike. The grid is centred on the patch and reaches beyond it where ``offset`` is negative (not stated in
    the paper; it follows from the 5 x 5 convolution that the atlas branch begins with).

    Args:
        size: Atlas pixels along a side (along a column of a rectangular patch); 256 for 2025 px at 2 µm.
        stride: Image pixels between neighbouring atlas pixels.
        offset: Image pixel of atlas pixel 0.
        columns: Atlas pixels along a row; None is ``size``.
    """

    size: int
    stride: int | float
    offset: int | float
    columns: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Atlas pixels of a patch, (rows, columns)."""
        return self.size, self.size if self.columns is None else self.columns

    def positions(self, axis: int = 0) -> np.ndarray:
        """Image pixels of the atlas pixels along an axis (0 rows, 1 columns), float64."""
        return float(self.offset) + float(self.stride) * np.arange(self.shape[axis], dtype=np.float64)


def crop_between(skip: Sequence[Step], joint: Sequence[Step]) -> int:
    """Cells to cut from either side of a skip map so that it lies under the map that ``joint`` ends in.

    Args:
        skip: The steps from the input to the skip map.
        joint: The steps from the input to the map that the skip map is joined with; of the same stride.
    """
    outer, inner = FieldGeometry(tuple(skip), 1.0), FieldGeometry(tuple(joint), 1.0)
    assert outer.stride == inner.stride, "a skip connection joins maps of one resolution"
    crop = Fraction(inner.offset - outer.offset) / Fraction(outer.stride)
    assert crop.denominator == 1 and crop >= 0, f"skip map cannot be cropped by {crop} cells"
    return int(crop)


def flatten_steps(blocks: Iterable[Iterable[Step]]) -> tuple[Step, ...]:
    """The steps of all blocks in one row."""
    return tuple(step for block in blocks for step in block)


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)
