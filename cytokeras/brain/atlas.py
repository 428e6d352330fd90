"""The probabilistic atlas: how likely each area is at each place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from cytokeras._files import atomic_path
from cytokeras.errors import UserError

_POINTS_AT_ONCE = 1 << 18
_ROUNDING = 1e-4


class Atlas:
    """Probability maps of areas on one voxel grid.

    Args:
        probabilities: ``(X, Y, Z, C)`` 0 … 1, one channel an area; kept as float32.
        affine: ``(4, 4)`` from voxel (i, j, k, 1), voxel centres being integers, to (x, y, z, 1) mm.
        names: The C areas.

    Raises:
        UserError: Values outside 0 … 1 or not finite, an affine that cannot be inverted, or another number
            of names than channels.
    """

    def __init__(self, probabilities: ArrayLike, affine: ArrayLike, names: Sequence[str]) -> None:
        volume = np.asarray(probabilities, np.float32)
        if volume.ndim != 4 or 0 in volume.shape:
            raise UserError(f"atlas: must be (X, Y, Z, areas); received shape {volume.shape}.")
        low, high = float(volume.min()), float(volume.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # also false for NaN
            raise UserError(f"atlas: probabilities must be 0 to 1; received {low:.4g} to {high:.4g}.")
        if len(names) != volume.shape[3]:
            raise UserError(f"atlas: has {volume.shape[3]} volumes but {len(names)} names; give one name a volume.")
        if len(set(names)) != len(names):
            raise UserError(f"atlas: names must differ; received {list(names)}.")
        self.names = tuple(names)
        self.affine = np.array(affine, np.float64)
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise UserError(f"atlas: the affine must be 4 x 4 finite numbers; received {affine!r}.")
        if abs(np.linalg.det(self.affine)) < 1e-12:
            raise UserError(f"atlas: the affine cannot be inverted; received {self.affine.tolist()}.")
        # A border of zeros makes the value fall to 0 within one voxel of the grid, without any case analysis.
        padded = np.zeros((*(n + 2 for n in volume.shape[:3]), volume.shape[3]), np.float32)
        np.clip(volume, 0, 1, out=padded[1:-1, 1:-1, 1:-1])
        self._padded = padded
        self._to_voxel = np.linalg.inv(self.affine)

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """``(X, Y, Z, C)`` float32 0 … 1."""
        return self._padded[1:-1, 1:-1, 1:-1]

    @property
    def voxel_size_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def sample(self, points_mm: ArrayLike) -> NDArray[np.float32]:
        """Return the probabilities at points, by trilinear interpolation.

        Args:
            points_mm: ``(..., 3)`` (x, y, z) mm.

        Returns:
            ``(..., C)`` float32 0 … 1. Outside the grid, falling within one voxel from its outermost
            centres, the value is 0 (as ``scipy.ndimage.map_coordinates(order=1, mode="grid-constant")``);
            also at points that are not finite.
        """
        points = np.asarray(points_mm, np.float64)
        if points.ndim < 1 or points.shape[-1] != 3:
            raise UserError(f"atlas: points must be (..., 3) in mm; received shape {points.shape}.")
        flat = points.reshape(-1, 3)
        result = np.empty((len(flat), len(self.names)), np.float32)
        for start in range(0, len(flat), _POINTS_AT_ONCE):
            part = slice(start, start + _POINTS_AT_ONCE)
            result[part] = self._interpolate(flat[part])
        return result.reshape(*points.shape[:-1], len(self.names))

    def covers(self, points_mm: ArrayLike) -> NDArray[np.bool_]:
        """Return which points ``(..., 3)`` mm lie within one voxel of the grid: ``sample`` is 0 at all others."""
        voxels = np.asarray(points_mm, np.float64) @ self._to_voxel[:3, :3].T + self._to_voxel[:3, 3]
        inside: NDArray[np.bool_] = ((voxels > -1) & (voxels < self.probabilities.shape[:3])).all(axis=-1)
        return inside

    def _interpolate(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """One sparse product: a row a point, its eight corner weights as entries, times (voxels, C)."""
        shape = self._padded.shape[:3]
        weights = np.ones((len(points), 8), np.float32)
        corners = np.zeros((len(points), 8), np.int64 if self._padded.size > 2**31 else np.int32)
        for axis, size in enumerate(shape):
            coordinate = points @ self._to_voxel[axis, :3] + (self._to_voxel[axis, 3] + 1)
            # fmax and fmin turn NaN into the border of zeros
            coordinate = np.fmin(np.fmax(coordinate, 0), size - 1)
            lower = np.minimum(coordinate.astype(corners.dtype), size - 2)
            upper_weight = (coordinate - lower).astype(np.float32)
            stride = int(np.prod(shape[axis + 1 :]))
            for corner in range(8):
                upper = corner >> axis & 1
                weights[:, corner] *= upper_weight if upper else 1 - upper_weight
                corners[:, corner] += (lower + upper) * stride
        starts = np.arange(0, weights.size + 1, 8, dtype=corners.dtype)
        matrix = sparse.csr_array((weights.ravel(), corners.ravel(), starts), shape=(len(points), int(np.prod(shape))))
        return np.asarray(matrix @ self._padded.reshape(-1, len(self.names)), np.float32)

    @classmethod
    def read(cls, path: str | os.PathLike[str], names: Sequence[str]) -> Atlas:
        """Read an atlas from a 4-D NIfTI file, one volume an area, or a 3-D one with a single area.

        Values from 0 to 100, as FSL's atlases have them, are percentages and divided by 100; they are
        recognised by a maximum above 2.

        Args:
            path: ``.nii`` or ``.nii.gz``, its affine in mm.
            names: The areas in the order of the volumes.

        Raises:
            UserError: The file is missing or not NIfTI, or its content does not fit.
        """
        import nibabel

        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: no such file; expected an atlas as NIfTI.")
        try:
            image = nibabel.load(path)
            volume = np.asarray(image.dataobj, np.float32)
        except Exception as error:  # nibabel, gzip and zlib each raise their own
            raise UserError(f"{path}: cannot be read as NIfTI ({error}).") from error
        unit = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else "unknown"
        if unit not in ("mm", "unknown"):
            raise UserError(f"{path}: its voxel grid is in {unit}; must be in mm.")
        if volume.ndim == 3:
            volume = volume[..., np.newaxis]
        if volume.size and 2 < float(volume.max()) <= 100 + 100 * _ROUNDING:
            volume /= 100
        try:
            return cls(volume, image.affine, names)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the atlas as 4-D float32 NIfTI (``.nii`` or ``.nii.gz``); the names are not in the file.

        Raises:
            UserError: Another suffix, or the folder cannot be written to.
        """
        import nibabel

        if not str(path).endswith((".nii", ".nii.gz")):
            raise UserError(f"{path}: an atlas is written as .nii or .nii.gz.")
        image = nibabel.Nifti1Image(np.ascontiguousarray(self.probabilities), self.affine)
        image.header.set_xyzt_units("mm")
        with atomic_path(path) as temporary:
            nibabel.save(image, temporary)

    def __repr__(self) -> str:
        shape = self.probabilities.shape[:3]
        return f"Atlas({len(self.names)} areas, {shape} voxels of {self.voxel_size_mm} mm)"
