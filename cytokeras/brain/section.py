"""One section: its image, its plane in space and its annotation."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytokeras.brain.labels import SectionLabels
from cytokeras.errors import UserError

_UNIT_TOLERANCE = 1e-3  # axes typed into a spreadsheet carry about four digits
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class SectionPlane:
    """Where the pixels of a section lie in space.

    Pixel (row, column) lies at ``(u, v) = affine @ (row, column, 1)`` mm in the plane, which is
    ``origin + u * axis_u + v * axis_v`` in space.

    Args:
        affine: ``(2, 3)`` float64, mm per pixel and mm.
        origin: ``(3,)`` float64 (x, y, z) mm.
        axis_u: ``(3,)`` unit vector.
        axis_v: ``(3,)`` unit vector, at a right angle to ``axis_u``.

    Both axes are brought to exact unit length and right angle (they may be rounded to three digits).

    Raises:
        UserError: A number is missing or not finite, the affine cannot be inverted, or the axes are not
            orthogonal unit vectors.
    """

    def __init__(self, affine: ArrayLike, origin: ArrayLike, axis_u: ArrayLike, axis_v: ArrayLike) -> None:
        self.affine = _numbers("affine", affine, (2, 3))
        self.origin = _numbers("origin", origin, (3,))
        u, v = _numbers("axis_u", axis_u, (3,)), _numbers("axis_v", axis_v, (3,))
        for name, axis in (("axis_u", u), ("axis_v", v)):
            length = float(np.linalg.norm(axis))
            if abs(length - 1) > _UNIT_TOLERANCE:
                raise UserError(f"{name}: must have length 1; received {_short(axis)} of length {length:.4g}.")
        if abs(float(u @ v)) > _UNIT_TOLERANCE:
            raise UserError(
                "axis_u and axis_v: must be at a right angle; "
                f"received {_short(u)} and {_short(v)} with cosine {float(u @ v):.4g}."
            )
        determinant = float(np.linalg.det(self.affine[:, :2]))
        if not determinant:
            raise UserError(f"affine: cannot be inverted; received {self.affine[:, :2].tolist()} mm per px.")
        u = u / np.linalg.norm(u)
        v = v - (u @ v) * u
        self.axis_u: NDArray[np.float64] = u
        self.axis_v: NDArray[np.float64] = v / np.linalg.norm(v)
        self._inverse = np.linalg.inv(self.affine[:, :2])
        self._to_space = np.stack([self.axis_u, self.axis_v]).T @ self.affine  # (3, 3)
        for array in (self.affine, self.origin, self.axis_u, self.axis_v):
            array.setflags(write=False)

    @property
    def normal(self) -> NDArray[np.float64]:
        """``(3,)`` unit vector ``axis_u x axis_v``, at a right angle to the plane."""
        return np.cross(self.axis_u, self.axis_v)

    @property
    def pixel_size_um(self) -> float:
        """Edge of a square of one pixel's area in space, in µm."""
        return 1000.0 * math.sqrt(abs(float(np.linalg.det(self.affine[:, :2]))))

    def pixel_to_mm(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the positions of pixels in space.

        Args:
            points: ``(..., 2)`` (row, column), fractions allowed.

        Returns:
            ``(..., 3)`` float64 (x, y, z) mm.
        """
        pixels = np.asarray(points, np.float64)
        return pixels @ self._to_space[:, :2].T + (self._to_space[:, 2] + self.origin)

    def mm_to_pixel(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the pixels on which points in space fall, projected at a right angle onto the plane.

        Args:
            points: ``(..., 3)`` (x, y, z) mm.

        Returns:
            ``(..., 2)`` float64 (row, column), which may lie outside the image.
        """
        relative = np.asarray(points, np.float64) - self.origin
        plane = relative @ np.stack([self.axis_u, self.axis_v], axis=1)
        return (plane - self.affine[:, 2]) @ self._inverse.T

    def distance_to_plane_mm(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the signed distance of points from the plane.

        Args:
            points: ``(..., 3)`` (x, y, z) mm.

        Returns:
            ``(...,)`` float64 mm, positive on the side to which ``normal`` points.
        """
        return (np.asarray(points, np.float64) - self.origin) @ self.normal

    def __repr__(self) -> str:
        place = f"origin={_short(self.origin)}, normal={_short(self.normal)}"
        return f"SectionPlane({place}, {self.pixel_size_um:.4g} µm)"


class Section:
    """A section of a brain.

    Args:
        id: Name within the brain; letters, digits, ``.``, ``_`` and ``-`` (it becomes a file name).
        image: A ``SectionImage``, or anything with its ``shape``, ``pixel_size_um``, ``background``,
            ``levels`` and ``read``.
        plane: Where the pixels lie in space.
        labels: The annotation (anything with the ``read`` of ``SectionLabels``), or None.
        split: ``"train"`` or ``"test"``.

    Raises:
        UserError: The id or the split is not one of these.
    """

    def __init__(
        self,
        id: str,
        image: Any,
        plane: SectionPlane,
        labels: SectionLabels | None = None,
        split: str = "train",
    ) -> None:
        if not isinstance(id, str) or not SAFE_ID.fullmatch(id):
            raise UserError(
                f"section id: must begin with a letter or digit, then letters, digits, '.', '_', '-'; received {id!r}."
            )
        if split not in ("train", "test"):
            raise UserError(f"section {id}, split: must be 'train' or 'test'; received {split!r}.")
        self.id = id
        self.image = image
        self.plane = plane
        self.labels = labels
        self.split = split

    @property
    def pixel_size_um(self) -> float:
        """Size of an image pixel in the tissue, in µm."""
        return float(self.image.pixel_size_um)

    def pixel_to_mm(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return ``(..., 3)`` float64 (x, y, z) mm of ``(..., 2)`` (row, column) pixels."""
        return self.plane.pixel_to_mm(points)

    def mm_to_pixel(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return ``(..., 2)`` float64 (row, column) onto which ``(..., 3)`` mm points project."""
        return self.plane.mm_to_pixel(points)

    def distance_to_plane_mm(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return ``(...,)`` float64 signed distances in mm of ``(..., 3)`` mm points from the plane."""
        return self.plane.distance_to_plane_mm(points)

    def __repr__(self) -> str:
        annotated = "annotated" if self.labels is not None else "not annotated"
        return f"Section({self.id!r}, {self.split}, {annotated})"


def _numbers(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{name}: must be numbers of shape {shape}; received {values!r}.") from None
    if array.shape != shape or not np.isfinite(array).all():
        raise UserError(f"{name}: must be finite numbers of shape {shape}; received {array.tolist()}.")
    return array


def _short(values: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
