"""Read the published numbers back from the phantom's images: cell density and layer thickness of every area.

    python benchmarks/phantom_counts.py

Flat cortex of each area is rendered at 1 µm per pixel. Cells are counted in the image and turned into cells per mm³;
the borders of layers are put where number, stain and size of the cells change from what they are in the middle of one
layer to what they are in the next; sublayers are found one by one and added up.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
from _cells import Bodies, borders, find_bodies, flat_slab, neurons_per_mm2

from cytokeras.phantom.cytoarchitecture import AREA_LAYERS, Layer, profiles_per_mm2
from cytokeras.phantom.levels import LEVELS

THRESHOLD = 0.35  # above neuropil, below the palest neuron
MARGIN_UM = 25  # laminar borders are blurred
BIN_UM = 10
GLASS_GREY = 245.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width-mm", type=float, default=8.0, help="width of the cortex rendered (%(default)s)")
    parser.add_argument("--areas", nargs="+", default=list(AREA_LAYERS), choices=list(AREA_LAYERS))
    arguments = parser.parse_args()
    glia = glia_stain(arguments.width_mm)
    print("Cells per mm³ of the area and thickness of its layers, read back / published\n")
    print("| area | cells/mm³ | of layers II-VI | thickness of layers, mm | worst layer |")
    print("|---|---|---|---|---|")
    for area in arguments.areas:
        layers = AREA_LAYERS[area]
        bodies = find_bodies(flat_slab(layers, arguments.width_mm, LEVELS["easy"], 1), GLASS_GREY, THRESHOLD)
        found = densities(bodies, layers, arguments.width_mm, glia)
        true = np.array([layer.density for layer in layers])
        thick = np.array([layer.thickness_mm for layer in layers])
        mean = (found * thick).sum() / thick.sum(), (true * thick).sum() / thick.sum()
        ratios = ", ".join(f"{n.name} {r:.2f}" for n, r in zip(layers[1:], found[1:] / true[1:], strict=True))
        parts = thickness(bodies, layers, arguments.width_mm)
        listed = ", ".join(f"{name} {got:.2f}/{want:.2f}" for name, got, want in parts)
        worst = max(abs(got / want - 1) for _, got, want in parts)
        print(f"| {area} | {mean[0] / mean[1]:.2f} ({mean[0]:.0f}/{mean[1]:.0f}) | {ratios} | {listed} | {worst:.0%} |")


def glia_stain(width_mm: float) -> float:
    """Stain of all glia in a mm², measured where there are no neurons."""
    empty = (Layer("none", 1.0, 0.0, 8.0, 8.0),)
    bodies = find_bodies(flat_slab(empty, width_mm, LEVELS["easy"], 2), GLASS_GREY, THRESHOLD)
    return float(bodies.stain.sum() / width_mm)


def densities(bodies: Bodies, layers: tuple[Layer, ...], width_mm: float, glia: float) -> np.ndarray:
    """Cells per mm³ of each layer, counted between its published limits."""
    ends = 1000 * np.cumsum([0.0, *(layer.thickness_mm for layer in layers)])
    result = []
    for layer, low, high in zip(layers, ends[:-1] + MARGIN_UM, ends[1:] - MARGIN_UM, strict=True):
        inside = (bodies.centres[:, 0] >= low) & (bodies.centres[:, 0] < high)
        count = neurons_per_mm2(bodies, inside, width_mm * (high - low) / 1000, glia)
        result.append(count / (profiles_per_mm2(1.0, layer.height_um)))
    return np.array(result)


def thickness(bodies: Bodies, layers: tuple[Layer, ...], width_mm: float) -> list[tuple[str, float, float]]:
    """Name, thickness read back and published thickness in mm of layers I to VI."""
    total_um = 1000 * sum(layer.thickness_mm for layer in layers)
    edges = np.arange(0, total_um + BIN_UM, BIN_UM)
    which = np.digitize(bodies.centres[:, 0], edges) - 1
    stain = np.bincount(which, bodies.stain, len(edges) - 1)[: len(edges) - 1]
    number = np.bincount(which, bodies.peaks, len(edges) - 1)[: len(edges) - 1]
    area = np.bincount(which, bodies.area_um2, len(edges) - 1)[: len(edges) - 1]
    values = np.column_stack([np.sqrt(number), np.sqrt(stain), np.log(np.maximum(area, 1) / np.maximum(number, 1))])
    noise = np.abs(np.diff(values, axis=0)).mean(axis=0)
    limits = np.cumsum([0.0, *(layer.thickness_mm for layer in layers)]) * 1000 / BIN_UM
    cores = [slice(int(a + 0.25 * (b - a)), int(np.ceil(b - 0.25 * (b - a)))) for a, b in pairwise(limits)]
    ends = borders(values / noise, np.array([np.median(values[core], axis=0) / noise for core in cores]))
    found: dict[str, list[float]] = {}
    for layer, bins in zip(layers, np.diff(ends), strict=True):
        total = found.setdefault(layer.name.rstrip("abc"), [0.0, 0.0])
        total[0] += bins * BIN_UM / 1000
        total[1] += layer.thickness_mm
    return [(name, got, want) for name, (got, want) in found.items()]


if __name__ == "__main__":
    main()
