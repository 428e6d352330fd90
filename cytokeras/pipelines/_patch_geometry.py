"""Where the pixels of a turned, flipped or bent patch come from: one map for image, labels and atlas."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ReadWindow = Callable[[int, int, int, int], npt.NDArray[np.uint8]]

_SUPPORT = 4  # knots that a cubic B-spline is felt by


@dataclass(frozen=True)
class PatchGeometry:
    """A map from places in the patch to places in the section, both (row, column) px relative to the patch's centre.

    A place p of the patch shows the section at ``matrix @ (p + bend(p))``. The centre is fixed where nothing is bent.

    Args:
        matrix: (2, 2), a rotation or reflection.
        bend: (K, K, 2) shifts in px of the knots of a cubic B-spline that lie on a square around the patch; empty
            (0, 0, 2) for none.
        knot_px: Distance of the knots in px.
    """

    matrix: Floats = field(default_factory=lambda: np.eye(2))
    bend: Floats = field(default_factory=lambda: np.zeros((0, 0, 2)))
    knot_px: float = 1.0

    @classmethod
    def turned(cls, angle: float, flipped: bool, bend: Floats | None = None, knot_px: float = 1.0) -> PatchGeometry:
        """Return a rotation by ``angle`` (radians), after a flip of the columns where ``flipped``."""
        cosine, sine = math.cos(angle), math.sin(angle)
        matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([1.0, -1.0 if flipped else 1.0])
        return cls(matrix, np.zeros((0, 0, 2)) if bend is None else bend, knot_px)

    def shifts(self, rows: Floats, columns: Floats) -> Floats:
        """Return the bend on a lattice of places of the patch, (A, D, 2) px."""
        if not self.bend.size:
            return np.zeros((len(rows), len(columns), 2))
        down, across = (_spline_weights(places / self.knot_px, len(self.bend)) for places in (rows, columns))
        return np.stack([down @ self.bend[..., k] @ across.T for k in range(2)], axis=-1)

    def places(self, rows: Floats, columns: Floats) -> Floats:
        """Return the places in the section of a lattice of places of the patch, (A, D, 2) px."""
        lattice = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1) + self.shifts(rows, columns)
        return lattice @ self.matrix.T

    def read_image(self, read: ReadWindow, row: int, column: int, size: int) -> npt.NDArray[np.uint8]:
        """Return the patch, (size, size) uint8, whose pixel ``size // 2`` is centred on a pixel of the section.

        Args:
            read: Reads (row, column, height, width) of the section.
            row: Row of the section at the centre.
            column: Column of the section at the centre.
            size: Side of the patch in px.
        """
        from cytokeras.pipelines._resampling_kernels import resample

        before = float(size // 2)
        own = np.arange(size, dtype=np.float64) - before
        ends = np.array([own[0], own[-1]])
        corners = np.stack(np.meshgrid(ends, ends, indexing="ij"), axis=-1).reshape(-1, 2) @ self.matrix.T
        reach = np.abs(self.bend).max(axis=(0, 1)) @ np.abs(self.matrix).T if self.bend.size else np.zeros(2)
        low = np.floor(corners.min(axis=0) - reach - 1e-6).astype(int)
        high = np.ceil(corners.max(axis=0) + reach + 1e-6).astype(int)
        height, width = (int(n) for n in np.maximum(high - low + 1, 2))
        window = read(row + int(low[0]), column + int(low[1]), height, width)
        origin = self.matrix @ np.array([-before, -before]) - low
        patch = np.empty((size, size), np.uint8)
        resample(window, self.matrix, float(origin[0]), float(origin[1]), *self._bend_by_pixel(own), patch)
        return patch

    def _bend_by_pixel(self, own: Floats) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
        """Return what ``resample`` takes of the bend: by row, and the four knots that each column lies between."""
        if not self.bend.size:
            return np.zeros((0, 0, 2)), np.zeros(0, np.int64), np.zeros((0, _SUPPORT))
        count = len(self.bend)
        weights = _spline_weights(own / self.knot_px, count)
        first = np.floor(own / self.knot_px + (count - 1) / 2).astype(np.int64) - 1
        first = np.clip(first, 0, count - _SUPPORT)
        near = np.take_along_axis(weights, first[:, None] + np.arange(_SUPPORT), axis=1)
        return np.einsum("nm,mkc->nkc", weights, self.bend), first, near


def _spline_weights(places: Floats, knots: int) -> Floats:
    """Cubic B-spline weights (N, knots) of places given in knot distances from the middle knot."""
    distance = np.abs(places[:, None] - (np.arange(knots) - (knots - 1) / 2))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)
