"""From what a scanner writes to one cell-body channel: 8-bit grey, dark cells on a bright background."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cytokeras.errors import UserError

Channel = Literal["haematoxylin", "eosin", "dab", "grey"]
Polarity = Literal["auto", "bright", "dark"]

STAINS: Final = ("haematoxylin", "eosin", "dab")
# Optical densities in red, green and blue of the pure stains: Ruifrok & Johnston 2001, Anal. Quant. Cytol.
# Histol. 23, 291-299 (the vectors published there, one row a stain, normalised below).
_STAIN_VECTORS: Final = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# Scanners and JPEG leave a few levels between the channels of a grey picture.
_GREY_LEVELS: Final = 8
_GREY_SHARE: Final = 0.99
# A section's surroundings are nearly white in transmitted light and nearly black in fluorescence.
_DARK_LEVEL: Final = 85
_PADDED_SHARE: Final = 0.5
_BRIGHT_SHARE: Final = 0.6
_WHITE_PERCENTILE: Final = 99.0
_STRIP_PIXELS: Final = 1 << 16  # a strip stays in the second-level cache
_AMOUNT_STEPS: Final = 1 << 16  # of a stain, for each factor of e in the light
_BIT_DEPTHS: Final = (8, 10, 12, 14, 16)


@dataclass(frozen=True)
class Sample:
    """A sparse sample of an image's raw pixels.

    Args:
        values: ``(n, samples)`` raw values.
        border: ``(n,)`` bool, pixels in the outer twentieth of the image.
    """

    values: NDArray[Any]
    border: NDArray[np.bool_]


@dataclass(frozen=True)
class CellBodyChannel:
    """How raw pixels become the cell-body channel.

    Args:
        full: The raw value that becomes 255.
        zero_is_white: Whether raw values fall from white to black.
        mode: ``"grey"`` (one channel, or the luma of a nearly grey one), ``"maximum"`` of the channels
            (colour fluorescence), or a stain's name.
        invert: Whether the background is dark.
        white: Red, green and blue of unstained light, 1 … 255.
        alpha: How a fourth sample acts, None: not at all.
        background: Level of the surroundings after conversion.
    """

    full: int
    zero_is_white: bool
    mode: str
    invert: bool
    white: tuple[float, float, float]
    alpha: str | None
    background: int

    def apply(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert ``(h, w)`` or ``(h, w, 3 or 4)`` raw values to ``(h, w)`` uint8, strip by strip."""
        if raw.ndim == 2:
            return self._finish(self._bytes(raw))
        result = np.empty(raw.shape[:2], np.uint8)
        rows = max(1, _STRIP_PIXELS // max(1, raw.shape[1]))
        for top in range(0, raw.shape[0], rows):
            rgb = _opaque(self._bytes(raw[top : top + rows]), self.alpha)
            if self.mode in STAINS:
                result[top : top + rows] = _separate(rgb, self.mode, self.white)
            elif self.mode == "maximum":
                result[top : top + rows] = self._finish(np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]))
            else:
                result[top : top + rows] = self._finish(_luma(rgb))
        return result

    def __str__(self) -> str:
        kinds = {"grey": "grey levels", "maximum": "the brightest of the colours"}
        steps = [kinds.get(self.mode, f"{self.mode}, separated from the other stains")]
        if self.full != 255:
            steps.append(f"0 to {self.full} scaled to 8 bits")
        if self.zero_is_white or self.invert:
            steps.append("as stored" if self.zero_is_white and self.invert else "inverted (dark cells on bright)")
        return ", ".join(steps)

    def _bytes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        return _to_bytes(raw, self.full, self.zero_is_white)

    def _finish(self, grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return 255 - grey if self.invert else grey

    @classmethod
    def estimate(
        cls,
        sample: Sample,
        where: str,
        *,
        channel: Channel | None = None,
        polarity: Polarity = "auto",
        alpha: str | None = None,
        significant_bits: int | None = None,
        zero_is_white: bool = False,
    ) -> CellBodyChannel:
        """Choose the conversion from a sample of the image.

        Raises:
            UserError: A number of channels other than 1, 3 or 4, or a stain asked of a grey image.
        """
        count = sample.values.shape[1]
        if count not in (1, 3, 4):
            raise UserError(f"{where}: has {count} channels; expected 1 (grey), 3 (RGB) or 4 (RGBA).")
        if count == 1 and channel in STAINS:
            raise UserError(f"{where}: is grey, so the {channel} channel cannot be separated; leave channel out.")
        full = _full_scale(sample.values, significant_bits)
        values = _to_bytes(sample.values, full, zero_is_white)
        rgb = _opaque(values[:, np.newaxis], alpha)[:, 0] if count > 1 else values
        grey = _luma(rgb[:, np.newaxis])[:, 0] if count > 1 else values[:, 0]
        dark = _is_dark(grey, sample.border) if polarity == "auto" else polarity == "dark"
        mode: str = channel or "grey"
        if count > 1 and channel is None and not _is_nearly_grey(rgb):
            mode = "maximum" if dark else "haematoxylin"
        white = np.clip(np.percentile(rgb, _WHITE_PERCENTILE, axis=0), 1, 255) if count > 1 else np.full(3, 255.0)
        red, green, blue = (float(value) for value in white)
        draft = cls(full, zero_is_white, mode, dark and mode not in STAINS, (red, green, blue), alpha, 255)
        converted = draft.apply(sample.values[:, np.newaxis] if count > 1 else sample.values)[:, 0]
        return dataclasses.replace(draft, background=bright_background(converted, sample.border))


def bright_background(grey: NDArray[np.uint8], border: NDArray[np.bool_]) -> int:
    """Return the most frequent bright level (128 … 255) of the border, else of the sample, else 255.

    Not stated in the paper; the level that pixels outside an image are filled with.
    """
    for values in (grey[border], grey):
        counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
        bright = counts[128:].sum()
        if bright and bright >= 0.05 * counts.sum():
            smooth = np.convolve(counts, np.ones(5), mode="same")
            level = 128 + int(np.argmax(smooth[128:]))
            near = np.arange(max(128, level - 2), min(256, level + 3))
            # An exact white of 255 stays 255 although the window of five is cut there.
            return int(near[np.argmax(counts[near])])
    return 255


def sample_positions(shape: tuple[int, int], rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Return ``(rows, columns)`` bool, true in the outer twentieth of an image of this shape."""
    edges = []
    for positions, length in ((rows, shape[0]), (columns, shape[1])):
        margin = max(1.0, 0.05 * length)
        edges.append((positions < margin) | (positions >= length - margin))
    return edges[0][:, np.newaxis] | edges[1]


def _full_scale(values: NDArray[Any], significant_bits: int | None) -> int:
    """Return the largest value of the file's bit depth; without one of the smallest usual depth that holds the sample.

    Cameras write 10, 12 or 14 bits into 16: taken as 16 they would be black.
    """
    if values.dtype.itemsize == 1:
        return 255
    top = int(values.max()) if values.size else 0
    bits = significant_bits or next(bits for bits in _BIT_DEPTHS if top < 1 << bits)
    return (1 << min(max(bits, 8), 16)) - 1


def _to_bytes(raw: NDArray[Any], full: int, zero_is_white: bool) -> NDArray[np.uint8]:
    if raw.dtype.itemsize > 1:
        # Arithmetic is several times faster than a table of 65,536 bytes.
        scaled = np.multiply(raw, np.float32(255 / full), dtype=np.float32)
        np.minimum(np.rint(scaled, out=scaled), 255, out=scaled)
        raw = scaled.astype(np.uint8)
    return 255 - raw if zero_is_white else raw


def _opaque(rgb: NDArray[np.uint8], alpha: str | None) -> NDArray[np.uint8]:
    """Lay RGBA on white; a fourth sample that is not alpha is left out."""
    if rgb.shape[-1] == 3:
        return rgb
    color = rgb[..., :3]
    if alpha is None:
        return color
    opacity = rgb[..., 3:].astype(np.uint16)
    if alpha == "unassociated":
        return (255 - ((255 - color.astype(np.uint16)) * opacity + 127) // 255).astype(np.uint8)
    return np.minimum(color.astype(np.uint16) + (255 - opacity), 255).astype(np.uint8)


def _luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rint(rgb[..., :3].astype(np.float32) @ _LUMA).astype(np.uint8)


def _is_nearly_grey(rgb: NDArray[np.uint8]) -> bool:
    spread = rgb.max(axis=1).astype(np.int16) - rgb.min(axis=1)
    return bool(spread.size) and float(np.mean(spread <= _GREY_LEVELS)) >= _GREY_SHARE


def _is_dark(grey: NDArray[np.uint8], border: NDArray[np.bool_]) -> bool:
    edge = grey[border] if border.any() else grey
    if not edge.size or float(np.median(edge)) >= _DARK_LEVEL:
        return False
    if float(np.mean(edge == 0)) >= _PADDED_SHARE:
        # Scanners pad with exact black around a bright slide: then most of what is not black is bright.
        rest = grey[grey > 0]
        if rest.size >= 0.01 * grey.size and float(np.mean(rest >= 128)) >= _BRIGHT_SHARE:
            return False
    return True


def _separate(rgb: NDArray[np.uint8], stain: str, white: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Return the light that one stain alone would let through, 255 * 10^-amount (Ruifrok & Johnston 2001).

    The amount is the optical density along the stain's unit vector; what is below 0 counts as none. Densities
    are taken against the unstained light, pixels brighter than it as unstained.
    """
    from cytokeras.brain._stain_kernels import separate

    out = np.empty(rgb.shape[:2], np.uint8)
    separate(rgb, *_stain_tables(stain, white), out)
    return out


@functools.lru_cache(maxsize=256)
def _stain_tables(stain: str, white: tuple[float, float, float]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """What each level adds to the amount of a stain (in steps too fine for rounding to be seen), and its light."""
    vectors = _STAIN_VECTORS / np.linalg.norm(_STAIN_VECTORS, axis=1, keepdims=True)
    weights = np.linalg.inv(vectors)[:, STAINS.index(stain)]
    levels = np.maximum(np.arange(256), 1)
    densities = np.maximum(-np.log(levels / np.asarray(white)[:, np.newaxis]), 0)
    amounts = np.rint(weights[:, np.newaxis] * densities * _AMOUNT_STEPS).astype(np.int32)
    darkest = np.log(2 * 255)  # from here on the light rounds to 0
    light = 255 * np.exp(-np.arange(int(darkest * _AMOUNT_STEPS)) / _AMOUNT_STEPS)
    return amounts, np.rint(light).astype(np.uint8)
