"""Read the published numbers back from the phantom's images: cell density and layer thickness of every area.

    python benchmarks/phantom_counts.py

Flat cortex of each area is rendered at 1 µm per pixel. Cells are counted in the image and turned into cells per mm³;
the borders of layers are put where the number of cells, and of those of each size, changes from what it is in the
middle of one layer to what it is in the next; sublayers are found one by one and added up.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
from _cells import Bodies, Glia, borders, find_bodies, flat_slab, neurons_per_mm2

from cytokeras.phantom.cytoarchitecture import AREA_LAYERS, Layer, profiles_per_mm2
from cytokeras.phantom.levels import LEVELS

THRESHOLD = 0.35  # above neuropil, below the palest neuron
LARGEST_MARGIN_UM = 45  # laminar borders are blurred
BIN_UM = 4
PIECE_MM = 8.0
SLOPE = 1 / 16  # of layers against the phantom's lattice; see flat_slab
LEVEL = replace(LEVELS["easy"], stain_spread=0.0)  # the stain of one neuron is the same in all pieces
SIZES_UM2 = (
    40,
    85,
    115,
    150,
    200,
    280,
    370,
    480,
    np.inf,
)  # classes of the area of cells, from granule cells to the large pyramids
GLASS_GREY = 245.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pieces", type=int, default=3, help=f"of {PIECE_MM:g} mm of cortex of each area (%(default)s)"
    )
    parser.add_argument("--areas", nargs="+", default=list(AREA_LAYERS), choices=list(AREA_LAYERS))
    arguments = parser.parse_args()
    glia = glia_alone(arguments.pieces)
    print("Cells per mm³ of the area and thickness of its layers, read back / published\n")
    print("| area | cells/mm³ | of layers II-VI | thickness of layers, mm | worst layer |")
    print("|---|---|---|---|---|")
    for area in arguments.areas:
        layers = AREA_LAYERS[area]
        bodies = slab_bodies(layers, arguments.pieces, 1)
        found = densities(bodies, layers, arguments.pieces * PIECE_MM, glia)
        true = np.array([layer.density for layer in layers])
        thick = np.array([layer.thickness_mm for layer in layers])
        mean = (found * thick).sum() / thick.sum(), (true * thick).sum() / thick.sum()
        ratios = ", ".join(f"{n.name} {r:.2f}" for n, r in zip(layers[1:], found[1:] / true[1:], strict=True))
        parts = thickness(bodies, layers)
        listed = ", ".join(f"{name} {got:.2f}/{want:.2f}" for name, got, want in parts)
        worst = max(abs(got / want - 1) for _, got, want in parts)
        overall = f"{mean[0] / mean[1]:.2f} ({mean[0]:.0f}/{mean[1]:.0f})"
        print(f"| {area} | {overall} | {ratios} | {listed} | {worst:.0%} |", flush=True)


def glia_alone(pieces: int) -> Glia:
    """Glia in a mm² where there are no neurons."""
    thickness_mm = 1.0
    bodies = slab_bodies((Layer("none", thickness_mm, 0.0, 8.0, 8.0),), pieces, 2)
    area_mm2 = pieces * PIECE_MM * thickness_mm
    single = bodies.stain[bodies.single]
    return Glia(
        len(bodies.rows) / area_mm2, bodies.stain.sum() / area_mm2, len(single) / area_mm2, float(single.mean())
    )


def slab_bodies(layers: tuple[Layer, ...], pieces: int, seed: int) -> Bodies:
    """All bodies of several slabs of cortex, each drawn anew."""
    slabs = (flat_slab(layers, PIECE_MM, LEVEL, seed + 10 * piece, SLOPE) for piece in range(pieces))
    found = [find_bodies(slab, GLASS_GREY, THRESHOLD) for slab in slabs]
    each = {f.name: [getattr(piece, f.name) for piece in found] for f in fields(Bodies)}
    stain_of_row = np.sum(each.pop("stain_of_row"), axis=0)
    return Bodies(**{name: np.concatenate(parts) for name, parts in each.items()}, stain_of_row=stain_of_row)


def densities(bodies: Bodies, layers: tuple[Layer, ...], width_mm: float, glia: Glia) -> np.ndarray:
    """Cells per mm³ of each layer, counted between its published limits."""
    ends = 1000 * np.cumsum([0.0, *(layer.thickness_mm for layer in layers)])
    result = []
    for layer, (low, high) in zip(layers, pairwise(ends), strict=True):
        margin = min(LARGEST_MARGIN_UM, (high - low) / 3)
        count = neurons_per_mm2(bodies, low + margin, high - margin, width_mm, glia)
        result.append(count / profiles_per_mm2(1.0, layer.height_um))
    return np.array(result)


def thickness(bodies: Bodies, layers: tuple[Layer, ...]) -> list[tuple[str, float, float]]:
    """Name, thickness read back and published thickness in mm of layers I to VI.

    Layers differ in the number of cells and in how many of those that lie alone have each size. Plain numbers pass the
    middle between two layers at their border, however blurred it is; roots or sums of stain do not.
    """
    limits = np.cumsum([0.0, *(layer.thickness_mm for layer in layers)]) * 1000 / BIN_UM
    edges = np.arange(0, round(limits[-1]) + 1) * BIN_UM
    alone = bodies.peaks == 1
    number = np.histogram(bodies.rows, edges, weights=bodies.peaks)[0]
    sizes = np.histogram2d(bodies.rows[alone], bodies.area_um2[alone], [edges, SIZES_UM2])[0]
    values = np.column_stack([number, sizes])
    values /= np.abs(np.diff(values, axis=0)).mean(axis=0)
    cores = [slice(int(a + 0.25 * (b - a)), int(np.ceil(b - 0.25 * (b - a)))) for a, b in pairwise(limits)]
    ends = borders(values, np.array([values[core].mean(axis=0) for core in cores]))
    found: dict[str, list[float]] = {}
    for layer, bins in zip(layers, np.diff(ends), strict=True):
        total = found.setdefault(layer.name.rstrip("abc"), [0.0, 0.0])
        total[0] += bins * BIN_UM / 1000
        total[1] += layer.thickness_mm
    return [(name, got, want) for name, (got, want) in found.items()]


if __name__ == "__main__":
    main()
