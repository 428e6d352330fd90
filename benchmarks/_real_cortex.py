"""Cell density over cortical depth, in a real image between its hand-drawn curves and in the phantom, by one code."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from _cells import flat_slab
from scipy import ndimage
from scipy.spatial import cKDTree

from cytokeras.brain import SectionImage
from cytokeras.phantom import LEVELS
from cytokeras.phantom.cytoarchitecture import AREA_LAYERS

DEPTHS = 25
PHANTOM_AREAS = ("other cortex", "FG4", "hOc1")
LARGEST_RATIO = 2.0  # mean cell densities that differ by more are called unlike
SMALLEST_CORRELATION = 0.5
DARKEST = 99.7  # percentile of the contrast taken as that of the darkest bodies
SMALLEST_UM2 = 12


def compare_profiles(folder: Path, figure: Path) -> str:
    """Plot the profiles and say whether they are alike: density within a factor of two and correlated in shape."""
    real = real_profile(folder)
    centres = (np.arange(DEPTHS) + 0.5) / DEPTHS
    fig, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot(centres, real, "k", lw=2, label="real cortex (haematoxylin nuclei)")
    lines = []
    for area in PHANTOM_AREAS:
        drawn = phantom_profile(area)
        axes.plot(centres, drawn, label=f"phantom, {area} (synthetic)")
        ratio, correlation = drawn.mean() / real.mean(), np.corrcoef(drawn, real)[0, 1]
        alike = 1 / LARGEST_RATIO < ratio < LARGEST_RATIO and correlation > SMALLEST_CORRELATION
        lines.append(
            f"{area}: mean density {ratio:.2f} of the real, correlation of the profiles {correlation:.2f}: "
            f"{'alike' if alike else 'UNLIKE'}"
        )
    axes.set(xlabel="cortical depth (0 pia, 1 white matter)", ylabel="bodies per mm²", ylim=(0, None))
    axes.legend(fontsize=8)
    fig.savefig(figure, dpi=90)
    plt.close(fig)
    return "\n".join(lines)


def phantom_profile(area: str) -> np.ndarray:
    """Bodies per mm² at ``DEPTHS`` depths of flat cortex, level standard."""
    grey = flat_slab(AREA_LAYERS[area], 3.0, LEVELS["standard"], 1)
    return per_mm2(stained_bodies(grey)[:, 0] / len(grey), np.full(DEPTHS, grey.size / DEPTHS))


def real_profile(folder: Path, region: str = "ROI_0") -> np.ndarray:
    """The same between the curves Top (pia) and Bottom (white matter), Left and Right of one annotated region."""
    image = SectionImage.open(folder / "example_q90.jpg", pixel_size_um=1.0)
    grey = image.read(0, 0, *image.shape)
    curves = {}
    for feature in json.loads((folder / "example.geojson").read_text())["features"]:
        if feature["properties"].get("name") == region:
            points = np.asarray(feature["geometry"]["coordinates"], float)[:, ::-1]
            curves[feature["properties"]["classification"]["name"]] = densify(points)
    rows, columns = np.indices(grey.shape)[:, ::4, ::4].reshape(2, -1)
    places = np.column_stack([rows, columns])
    top, bottom = (cKDTree(curves[name]).query(places)[0] for name in ("Top", "Bottom"))
    inside = between(places, curves)
    depth = np.full(grey[::4, ::4].shape, np.nan)
    depth.flat[inside] = (top / (top + bottom))[inside]
    at = np.clip((stained_bodies(grey) / 4).astype(int), 0, np.array(depth.shape) - 1)
    found = depth[at[:, 0], at[:, 1]]
    return per_mm2(found[~np.isnan(found)], 16 * np.histogram(depth[inside.reshape(depth.shape)], DEPTHS, (0, 1))[0])


def stained_bodies(grey: np.ndarray) -> np.ndarray:
    """Centres ``(N, 2)`` in px of bodies that stand out from what surrounds them, whatever the stain.

    A body is darker than its surroundings by half of what the darkest bodies are, over at least 12 µm².
    """
    density = -np.log(np.maximum(grey.astype(np.float32), 8) / 255)
    contrast = ndimage.gaussian_filter(density, 1.5) - ndimage.gaussian_filter(density, 10)
    body, count = ndimage.label(contrast > np.percentile(contrast, DARKEST) / 2)
    names = np.arange(1, count + 1)
    large = np.bincount(body.ravel(), minlength=count + 1)[1:] >= SMALLEST_UM2
    return np.asarray(ndimage.center_of_mass(body > 0, body, names[large])).reshape(-1, 2)


def per_mm2(depth: np.ndarray, area_px: np.ndarray) -> np.ndarray:
    """Bodies per mm² at each depth, pixels of 1 µm."""
    return 1e6 * np.histogram(depth, DEPTHS, (0, 1))[0] / area_px


def densify(line: np.ndarray) -> np.ndarray:
    """Points every pixel along a line ``(N, 2)``."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)])
    at = np.arange(0, along[-1], 1.0)
    return np.column_stack([np.interp(at, along, line[:, axis]) for axis in range(2)])


def between(places: np.ndarray, curves: dict[str, np.ndarray]) -> np.ndarray:
    """Whether places lie inside the outline of the four curves, joined end to end."""
    from matplotlib.path import Path as Outline

    outline = curves["Top"]
    rest = ["Right", "Bottom", "Left"]
    while rest:
        ends = {(n, flip): np.linalg.norm(curves[n][-1 if flip else 0] - outline[-1]) for n in rest for flip in (0, 1)}
        name, flip = min(ends, key=ends.get)
        outline = np.concatenate([outline, curves[name][::-1] if flip else curves[name]])
        rest.remove(name)
    return Outline(outline).contains_points(places)
