"""Layer by layer, what the phantom's cortex is made of.

Cell counts and cell sizes follow von Economo & Koskinas (1925), layer thickness follows the layers measured in
BigBrain, both as tabulated for the visual areas. Where a count was published for a
whole field only (peristriate OA stands for hOc3 and hOc4, fusiform TF and basal temporo-occipital PH for FG1
to FG4), the published hallmark of the area sets it apart; those factors are ours and marked so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cytokeras.brain.labels import VISUAL_AREAS

SECTION_THICKNESS_MM = 0.02
"""Thickness of a histological section, as in BigBrain."""

DEPTH_BINS = 256
"""Resolution of the tabulated depth profiles: 256 bins are 10 µm each in a 2.6 mm cortex."""

PROFILE_BLUR_BINS = 1.5
"""Laminar borders are blurred by this many bins (our choice: about 15 µm, two small cells)."""


@dataclass(frozen=True)
class Layer:
    """One cortical layer.

    Attributes:
        name: I … VI, with a letter for a sublayer.
        thickness_mm: Mean thickness in mm.
        density: Cells per mm³.
        height_um: Mean extent of a cell body along the radial (pia to white matter) direction in µm.
        width_um: Mean extent across it in µm.
        giant_share: Share of large cells (Meynert cells in hOc1, large pyramids elsewhere).
        giant_um: Height and width of the large cells in µm.
    """

    name: str
    thickness_mm: float
    density: float
    height_um: float
    width_um: float
    giant_share: float = 0.0
    giant_um: tuple[float, float] = (30.0, 18.0)


LARGE_CELL_UM = 14.0
"""Published sizes above this are read as those of a layer's large pyramids, not of its mean cell (our reading:
taken as means, they would cover half of layer V and VI with cell bodies, where sections show a tenth)."""
_LARGE_SHARE = 0.15
_MEAN_CELL_UM = (11.0, 8.0)


def _layers(
    names: str, thickness: tuple[float, ...], cells: tuple[tuple[float, float, float], ...]
) -> tuple[Layer, ...]:
    layers = []
    for name, mm, (thousands, height, width) in zip(names.split(), thickness, cells, strict=True):
        layer = Layer(name, mm, 1000.0 * thousands, height, width)
        if height > LARGE_CELL_UM:
            mean_height, mean_width = _MEAN_CELL_UM
            layer = Layer(name, mm, layer.density, mean_height, mean_width, _LARGE_SHARE, (height, width))
        layers.append(layer)
    return tuple(layers)


# Thousand cells per mm³, cell height and width in µm (von Economo & Koskinas 1925); III and V are split into
# sublayers where the source gives several counts.
_OC = (
    (9, 5, 6), (150, 6, 6), (100, 9, 6), (150, 5, 5), (60, 5, 5), (220, 8, 8), (45, 12, 11), (140, 10, 10),
    (20, 20, 10),
)  # fmt: skip
_OB = (
    (3.5, 10, 5), (150, 7, 6), (85, 9, 8), (70, 9, 8), (60, 20, 15), (240, 8, 7), (70, 8, 7), (85, 19, 11),
    (25, 15, 5),
)  # fmt: skip
_OA = (
    (6, 7, 5), (80, 10, 6), (60, 10, 8), (45, 20, 12), (50, 19, 14), (150, 7, 7), (40, 10, 9), (55, 25, 9),
    (12, 17, 8),
)  # fmt: skip
_TF = (
    (8, 9, 9), (100, 9, 8), (45, 15, 12), (45, 15, 12), (45, 15, 12), (100, 6, 6), (50, 11, 10), (35, 32, 19),
    (28, 25, 19), (15, 25, 19),
)  # fmt: skip
_PH = (
    (10, 7, 6), (110, 8, 7), (40, 18, 12), (40, 18, 12), (40, 34, 19), (100, 7, 6), (40, 16, 15), (40, 16, 15),
    (40, 15, 12), (12, 15, 12),
)  # fmt: skip


def _occipital(thickness: tuple[float, ...], cells: tuple[tuple[float, float, float], ...]) -> tuple[Layer, ...]:
    """Layers I II IIIa IIIb IIIc IV V VIa VIb from the six measured thicknesses."""
    one, two, three, four, five, six = thickness
    parts = (one, two, three / 3, three / 3, three / 3, four, five, 0.6 * six, 0.4 * six)
    return _layers("I II IIIa IIIb IIIc IV V VIa VIb", parts, cells)


def _fusiform(thickness: tuple[float, ...], cells: tuple[tuple[float, float, float], ...]) -> tuple[Layer, ...]:
    """Layers I II IIIa IIIb IIIc IV Va Vb VIa VIb from the six measured thicknesses."""
    one, two, three, four, five, six = thickness
    parts = (one, two, three / 3, three / 3, three / 3, four, five / 2, five / 2, 0.6 * six, 0.4 * six)
    return _layers("I II IIIa IIIb IIIc IV Va Vb VIa VIb", parts, cells)


def _scaled(layers: tuple[Layer, ...], factors: dict[int, tuple[float, float]]) -> tuple[Layer, ...]:
    """Multiply (density, cell size) of the layers with the given indices: the areas' published hallmarks."""
    changed = list(layers)
    for index, (density, size) in factors.items():
        layer = changed[index]
        changed[index] = replace(
            layer,
            density=layer.density * density,
            height_um=layer.height_um * size,
            width_um=layer.width_um * size,
            giant_um=(layer.giant_um[0] * size, layer.giant_um[1] * size),
        )
    return tuple(changed)


def _striate() -> tuple[Layer, ...]:
    # BigBrain thickness of hOc1 (.15 .11 .34 .47 .22 .41); IV is divided in the proportions of the counts' source.
    thickness = (0.15, 0.11, 0.34, 0.106, 0.164, 0.20, 0.22, 0.228, 0.182)
    layers = _layers("I II III IVa IVb IVc V VIa VIb", thickness, _OC)
    meynert = replace(layers[6], giant_share=0.02, giant_um=(60.0, 30.0))
    return (*layers[:6], meynert, *layers[7:])


_UPPER, _LOWER_III, _IV, _V = 1, 4, 5, 6

# Factors (density, size) carry the hallmarks named in the literature; their amounts are ours. No thickness was
# published for hOc3v: it stands between hOc3d and hOc4v.
AREA_LAYERS: dict[str, tuple[Layer, ...]] = {
    "hOc1": _striate(),
    "hOc2": _occipital((0.23, 0.18, 0.47, 0.21, 0.26, 0.32), _OB),
    "hOc3d": _scaled(_occipital((0.16, 0.18, 0.49, 0.21, 0.37, 0.42), _OA), {_LOWER_III: (1.2, 0.8), _IV: (1.15, 1)}),
    "hOc3v": _scaled(_occipital((0.20, 0.19, 0.50, 0.21, 0.34, 0.40), _OA), {_LOWER_III: (1.3, 0.8), _V: (1.3, 1)}),
    "hOc4d": _scaled(_occipital((0.20, 0.18, 0.53, 0.19, 0.40, 0.44), _OA), {_LOWER_III: (1.0, 1.3), _IV: (0.85, 1)}),
    "hOc4v": _scaled(_occipital((0.24, 0.21, 0.58, 0.21, 0.37, 0.40), _OA), {_UPPER: (1.4, 1), _V: (0.7, 1)}),
    "hOc4la": _scaled(_occipital((0.23, 0.22, 0.60, 0.21, 0.41, 0.49), _OA), {_IV: (1.3, 1), _V: (0.8, 1.2)}),
    "hOc4lp": _scaled(_occipital((0.21, 0.22, 0.62, 0.21, 0.46, 0.54), _OA), {_UPPER: (1.2, 1), _V: (1.3, 1)}),
    "hOc5": _scaled(
        _occipital((0.23, 0.24, 0.62, 0.19, 0.49, 0.58), _OA), {_UPPER: (1.6, 1), 2: (1.4, 1), _V: (0.5, 1)}
    ),
    "FG1": _scaled(_fusiform((0.21, 0.23, 0.61, 0.24, 0.49, 0.41), _TF), {2: (1, 0.8), 3: (1, 0.8), _IV: (0.75, 1)}),
    "FG2": _scaled(_fusiform((0.23, 0.22, 0.58, 0.19, 0.41, 0.45), _TF), {_LOWER_III: (1.0, 1.4), _IV: (1.3, 1)}),
    "FG3": _scaled(_fusiform((0.23, 0.23, 0.59, 0.18, 0.37, 0.40), _PH), {_UPPER: (1.5, 1), _LOWER_III: (1.2, 1)}),
    "FG4": _scaled(_fusiform((0.20, 0.23, 0.61, 0.18, 0.50, 0.64), _PH), {i: (0.75, 1) for i in range(1, 10)}),
    "other cortex": _fusiform((0.24, 0.21, 0.57, 0.18, 0.41, 0.50), _TF),
}
"""Layers from pia to white matter of each area; other cortex has the mean thickness of the whole cortex."""

# Cortex outside the 13 areas after the five types of von Economo (1929): the mean cortex above stands for the frontal
# type; factors on (density, size) are ours.
_OTHER_TYPES = {
    "agranular": {_UPPER: (0.7, 1.1), _LOWER_III: (1.0, 1.3), _IV: (0.4, 1.1), _V: (1.0, 1.5)},
    "parietal": {_UPPER: (1.2, 0.9), 2: (1.2, 0.9), 3: (1.2, 0.9), _IV: (1.5, 0.9)},
    "polar": {i: (1.25, 0.85) for i in range(1, 10)},
}
OTHER_TEXTURES = 1 + len(_OTHER_TYPES)
"""Textures of cortex outside the areas."""

SUPRAGRANULAR, GRANULAR, INFRAGRANULAR = 0, 1, 2

_TAPER = {"II": 0.2, "III": 0.5, "V": 0.5, "VI": 0.25}
"""How much the cells of a layer narrow towards the pia (pyramids), our choice; other layers hold round cells."""


@dataclass(frozen=True)
class DepthProfiles:
    """Depth profiles of several textures, tabulated over equal-volume cortical depth.

    Every array has shape ``(textures, DEPTH_BINS)``; bin 0 lies under the pia.

    Attributes:
        profiles_per_mm2: Cell profiles visible in a section per mm² of it.
        height_um: Mean cell height in µm.
        width_um: Mean cell width in µm.
        giant_share: Share of giant cells.
        giant_height_um: Their height in µm.
        giant_width_um: Their width in µm.
        taper: How much cells narrow towards the pia, 0 … 1.
        compartment: 0 above layer IV, 1 in it, 2 below.
    """

    profiles_per_mm2: np.ndarray
    height_um: np.ndarray
    width_um: np.ndarray
    giant_share: np.ndarray
    giant_height_um: np.ndarray
    giant_width_um: np.ndarray
    taper: np.ndarray
    compartment: np.ndarray


def profiles_per_mm2(density: float | np.ndarray, height_um: float | np.ndarray) -> float | np.ndarray:
    """Profiles per mm² in a section of 20 µm (Abercrombie 1946).

    Args:
        density: Cells per mm³.
        height_um: Mean cell extent across the section in µm.
    """
    thickness_um = 1000.0 * SECTION_THICKNESS_MM
    return density * SECTION_THICKNESS_MM * (thickness_um + height_um) / thickness_um


def texture_layers(
    rng: np.random.Generator | None = None, thickness_spread: float = 0.0, density_spread: float = 0.0
) -> list[tuple[Layer, ...]]:
    """Layers of every texture, in the order of ``textures_from_territory``.

    Args:
        rng: Source of an individual's differences; None: the published values.
        thickness_spread: Standard deviation of the log of each layer's share of the cortex.
        density_spread: Standard deviation of the log of each layer's cell density.
    """
    other = AREA_LAYERS["other cortex"]
    types = [_scaled(other, factors) for factors in _OTHER_TYPES.values()]
    textures = [other, *(AREA_LAYERS[area] for area in VISUAL_AREAS), *types]
    if rng is None:
        return textures
    return [
        tuple(
            replace(
                layer,
                thickness_mm=layer.thickness_mm * float(np.exp(rng.normal(0.0, thickness_spread))),
                density=layer.density * float(np.exp(rng.normal(0.0, density_spread))),
            )
            for layer in layers
        )
        for layers in textures
    ]


def depth_profiles(textures: Sequence[tuple[Layer, ...]]) -> DepthProfiles:
    """Tabulate layers over depth, with laminar borders blurred by about one cell."""
    table = np.zeros((7, len(textures), DEPTH_BINS))
    compartment = np.zeros((len(textures), DEPTH_BINS), np.uint8)
    centres = (np.arange(DEPTH_BINS) + 0.5) / DEPTH_BINS
    for row, layers in enumerate(textures):
        ends = np.cumsum([layer.thickness_mm for layer in layers])
        index = np.searchsorted(ends / ends[-1], centres)
        columns = [
            (
                profiles_per_mm2(layer.density, layer.height_um),
                layer.height_um,
                layer.width_um,
                layer.giant_share,
                *layer.giant_um,
                _TAPER.get(layer.name.rstrip("abc"), 0.0),
            )
            for layer in layers
        ]
        table[:, row] = np.asarray(columns).T[:, index]
        main = [layer.name.rstrip("abc") for layer in layers]
        parts = [GRANULAR if n == "IV" else SUPRAGRANULAR if n in ("I", "II", "III") else INFRAGRANULAR for n in main]
        compartment[row] = np.asarray(parts)[index]
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / PROFILE_BLUR_BINS) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(table, ((0, 0), (0, 0), (6, 6)), mode="edge")
    blurred = np.apply_along_axis(np.convolve, 2, padded, kernel, "valid")
    density, height, width, share, giant_height, giant_width, taper = blurred.astype(np.float32)
    return DepthProfiles(density, height, width, share, giant_height, giant_width, taper, compartment)
