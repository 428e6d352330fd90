"""Random changes of training patches that histology brings about anyway: turning, staining, focus, dirt."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.pipelines._patch_geometry import PatchGeometry

_DARK_SHARE = 0.5
"""Share of artefacts that are dark (dust, precipitated stain); the others are holes that show the glass."""
_DARK_LEVEL = 20


@dataclass(frozen=True)
class Augmentation:
    """Which random changes a patch undergoes, and how strong they are. All are off by default.

    Not stated in the paper, which augments nothing. Turning, flipping and bending move the atlas and the labels along
    with the image; the centre of the patch stays where it is but for the bend. Grey levels are changed in the order
    blur, gamma, contrast, gain, drop-out.

    Args:
        rotation_deg: Turn by any angle from -rotation_deg to rotation_deg; 180 for all directions.
        flip: Mirror every second patch.
        gamma: g: grey levels (0 … 1) to a power from 1 / g to g, evenly on a logarithmic scale. Raising transmitted
            light to a power multiplies the optical density, as a thicker or more strongly stained section does.
        contrast: c: distances from middle grey times a factor from 1 / c to c.
        gain: g: grey levels times a factor from 1 / g to g, as another exposure.
        blur_um: Gaussian blur with a standard deviation from 0 to blur_um, in µm.
        elastic_um: Standard deviation of the shifts of the knots of an elastic deformation (at most twice it), in µm.
        elastic_scale_um: Distance of these knots, in µm.
        dropout: Most artefacts in a patch: ellipses without tissue or covered with dirt. Labels are kept there.
        dropout_share: Longest axis of an artefact as a share of the patch.

    Raises:
        UserError: A value outside its range.
    """

    rotation_deg: float = 0.0
    flip: bool = False
    gamma: float = 1.0
    contrast: float = 1.0
    gain: float = 1.0
    blur_um: float = 0.0
    elastic_um: float = 0.0
    elastic_scale_um: float = 500.0
    dropout: int = 0
    dropout_share: float = 0.15

    def __post_init__(self) -> None:
        for name in ("rotation_deg", "blur_um", "elastic_um", "dropout"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"augmentation: {name} must be 0 or more. Received: {name}={getattr(self, name)}")
        for name in ("gamma", "contrast", "gain"):
            if not 1 <= getattr(self, name) < math.inf:
                raise UserError(
                    f"augmentation: {name} is a factor of at least 1 (off). Received: {name}={getattr(self, name)}"
                )
        if not (0 < self.elastic_scale_um < math.inf and 0 < self.dropout_share <= 1):
            raise UserError(
                "augmentation: elastic_scale_um must be above 0 and dropout_share above 0 to 1. Received: "
                f"elastic_scale_um={self.elastic_scale_um}, dropout_share={self.dropout_share}"
            )
        if 4 * self.elastic_um > self.elastic_scale_um:
            raise UserError(
                f"augmentation: elastic_um must be at most a quarter of elastic_scale_um, or the patch folds over "
                f"itself. Received: elastic_um={self.elastic_um}, elastic_scale_um={self.elastic_scale_um}"
            )

    @property
    def moves(self) -> bool:
        """Whether places change, not only grey levels."""
        return bool(self.rotation_deg or self.flip or self.elastic_um)

    def geometry(self, rng: np.random.Generator, size: int, pixel_size_um: float) -> PatchGeometry | None:
        """Draw where the pixels of a patch of ``size`` px come from; None where they stay."""
        if not self.moves:
            return None
        angle = math.radians(rng.uniform(-self.rotation_deg, self.rotation_deg))
        flipped = self.flip and rng.random() < 0.5
        if not self.elastic_um:
            return PatchGeometry.turned(angle, flipped)
        knot = self.elastic_scale_um / pixel_size_um
        # one knot beyond each edge is still felt inside, and the atlas reaches a few pixels over the patch
        knots = 2 * math.ceil(0.55 * size / knot + 2) + 1
        shifts = np.clip(rng.standard_normal((knots, knots, 2)), -2, 2) * self.elastic_um / pixel_size_um
        return PatchGeometry.turned(angle, flipped, shifts, knot)

    def reach(self, size: int, pixel_size_um: float) -> int:
        """Side in px of the upright square, centred alike, that holds all a patch of ``size`` px can show."""
        if not self.moves:
            return size
        half = math.sqrt(2) * (size // 2 + 1 + 2 * self.elastic_um / pixel_size_um) + 2
        return 2 * math.ceil(half) + 1

    def recolour(
        self, patch: npt.NDArray[np.uint8], rng: np.random.Generator, pixel_size_um: float, background: int
    ) -> npt.NDArray[np.uint8]:
        """Return a patch, (H, W) uint8, with other grey levels; ``background`` is that of the glass."""
        if self.blur_um:
            sigma = rng.uniform(0, self.blur_um) / pixel_size_um
            blurred = ndimage.gaussian_filter(patch, sigma, output=np.float32, mode="nearest", truncate=3)
            patch = np.rint(blurred).astype(np.uint8)
        if max(self.gamma, self.contrast, self.gain) > 1:
            from cytokeras.pipelines._resampling_kernels import look_up

            patch = patch.copy()
            look_up(self._table(rng), patch)
        if self.dropout:
            patch = self._drop_out(patch.copy(), rng, background)
        return patch

    def _table(self, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        gamma, contrast, gain = (
            math.exp(rng.uniform(-1, 1) * math.log(most)) for most in (self.gamma, self.contrast, self.gain)
        )
        level = ((np.arange(256) / 255) ** gamma - 0.5) * contrast + 0.5
        return np.rint(np.clip(gain * level, 0, 1) * 255).astype(np.uint8)

    def _drop_out(
        self, patch: npt.NDArray[np.uint8], rng: np.random.Generator, background: int
    ) -> npt.NDArray[np.uint8]:
        size = max(patch.shape)
        for _ in range(rng.integers(0, self.dropout + 1)):
            centre = rng.random(2) * patch.shape
            long, short = np.sort(rng.uniform(0.1, 1, 2))[::-1] * self.dropout_share * size / 2
            angle = rng.uniform(0, math.pi)
            low = np.maximum(np.floor(centre - long), 0).astype(int)
            high = np.minimum(np.ceil(centre + long) + 1, patch.shape).astype(int)
            box = patch[low[0] : high[0], low[1] : high[1]]
            r, c = (np.arange(low[k], high[k]) - centre[k] for k in range(2))
            along = math.cos(angle) * r[:, None] + math.sin(angle) * c
            aside = math.cos(angle) * c - math.sin(angle) * r[:, None]
            level = _DARK_LEVEL if rng.random() < _DARK_SHARE else background
            box[(along / long) ** 2 + (aside / short) ** 2 <= 1] = level
        return patch


AUGMENTATIONS: Final[Mapping[str, Augmentation]] = MappingProxyType(
    {
        "turn": Augmentation(rotation_deg=180, flip=True),
        "stain": Augmentation(gamma=1.4, contrast=1.15, gain=1.1),
        "histology": Augmentation(
            rotation_deg=180, flip=True, gamma=1.4, contrast=1.15, gain=1.1, blur_um=2, elastic_um=10, dropout=2
        ),
    }
)
"""Augmentations by name; not stated in the paper, chosen so that patches stay plausible to the eye."""


def find_augmentation(augment: str | Augmentation | None) -> Augmentation | None:
    """Return an augmentation by its name; None, and one that changes nothing, give None.

    Raises:
        UserError: There is no augmentation of this name.
    """
    if isinstance(augment, str):
        if augment not in AUGMENTATIONS:
            raise UserError(
                f"augment: must be one of {', '.join(AUGMENTATIONS)}, an Augmentation or None. "
                f"Received: augment={augment!r}.{nearest_name_hint(augment, AUGMENTATIONS)}"
            )
        return AUGMENTATIONS[augment]
    if augment is None or augment == Augmentation():
        return None
    if not isinstance(augment, Augmentation):
        names = ", ".join(field.name for field in dataclasses.fields(Augmentation))
        raise UserError(f"augment: must be a name, an Augmentation({names}) or None. Received: augment={augment!r}")
    return augment
