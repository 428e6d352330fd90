"""Puts cell bodies and vessels on the pixels of a window (compiled with Numba).

Amounts are summed as integers (``UNIT`` is one), because integer sums do not depend on their order: windows that
overlap agree to the last bit. For the same reason positions are computed in the section's pixels, and the window's
first pixel is only taken from whole numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from cytokeras.phantom._section_fields import BACKGROUND, OTHER_CORTEX, WHITE_MATTER

UNIT = 1 << 20
SITES = 3
"""Sites per lattice cell and direction: 8,800 per mm² of 32 µm cells; the densest layer shows 6,200 profiles."""

VESSEL_BLOCK = 4
"""A vessel may lie in every block of so many lattice cells."""

_LEAN = 0.3  # radians: pyramids point to the pia to within 17 degrees (our choice)


@njit(cache=True, nogil=True, inline="always")
def mix(key: Any, i: Any, j: Any) -> Any:
    """SplitMix64 finaliser (Steele, Lea & Flood 2014) of a key and two integers, as uint64."""
    z = key + np.uint64(i) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(j) * np.uint64(0xC2B2AE3D27D4EB4F)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True, inline="always")
def uniform(key: Any, part: Any) -> Any:
    """One of four uniform numbers in [0, 1) held by a 64-bit hash."""
    return np.float32((key >> np.uint64(16 * part)) & np.uint64(0xFFFF)) * np.float32(1.0 / 65536.0)


@njit(cache=True, nogil=True)
def draw_cells(sums: Any, place: Any, seed: Any, window: Any, lattice: Any, tables: Any, look: Any) -> None:
    """Add the optical density of every cell body of a lattice window.

    Args:
        sums: ``(H, W)`` int32, the pixels; receives optical density times ``UNIT``.
        place: (row, column, pixel_mm, site_mm): first pixel of the window, widths.
        seed: uint64, the section's.
        window: (first row, first column, end row, end column) on the lattice.
        lattice: (labels, texture, neighbour, share, depth, gradients, columns, angle) of ``SectionFields``.
        tables: (present, height, width, giant share, giant height, giant width, taper, compartment), each
            ``(textures, bins)``; present is the chance that a site holds a neuron; ``(3, 256)`` factors on it by
            compartment and gradient.
        look: (laminar swing, glia per site, glia_um, neuron density, glia density, column contrast, defocus,
            shapes below µm).
    """
    row, column, pixel_mm, site_mm = place
    labels, texture, neighbour, share, depth, gradients, columns, angle = lattice
    present, compartment, swing = tables[0], tables[7], tables[8]
    bins = present.shape[1]
    laminar_swing, glia, column_contrast = look[0], look[1], look[5]
    half_site = (SITES - 1) / 2
    for i in range(window[0], window[2]):
        for j in range(window[1], window[3]):
            label = labels[i, j]
            if label == BACKGROUND:
                continue
            neurons = np.float32(0.0)
            own, other, depth_bin = 0, 0, 0
            mixed = False
            if label >= OTHER_CORTEX:
                own, other = texture[i, j], neighbour[i, j]
                rho = depth[i, j] * np.float32(1 / 255)
                shift = laminar_swing * 4 * rho * (1 - rho) * gradients[3, i, j] * np.float32(1 / 32)
                depth_bin = min(max(int((rho + shift) * bins), 0), bins - 1)
                mixed = share[i, j] > 0
                part = compartment[own, depth_bin]
                neurons = present[own, depth_bin] * swing[part, gradients[part, i, j] + 128]
                if mixed:
                    part = compartment[other, depth_bin]
                    foreign = present[other, depth_bin] * swing[part, gradients[part, i, j] + 128]
                    weight = share[i, j] * np.float32(1 / 255)
                    neurons = (1 - weight) * neurons + weight * foreign
                if column_contrast > 0:
                    neurons *= 1 + column_contrast * columns[i, j] * np.float32(1 / 127)
            for site in range(SITES * SITES):
                si, sj = SITES * i + site // SITES, SITES * j + site % SITES
                key = mix(seed, si, sj)
                chance = uniform(key, 0)
                if chance >= neurons + glia:
                    continue
                key = mix(key, si, sj)
                kind = own
                if mixed and uniform(mix(key, 1, 0), 0) * 255 < share[i, j]:
                    kind = other
                centre_row = (si - half_site + uniform(key, 0) - 0.5) * site_mm / pixel_mm
                centre_column = (sj - half_site + uniform(key, 1) - 0.5) * site_mm / pixel_mm
                body = _body(key, chance < neurons, kind, depth_bin, tables, look)
                _draw_body(
                    sums, (row, column), centre_row, centre_column, body, angle, i, j, 1000 * pixel_mm, look, key
                )


@njit(cache=True, nogil=True, inline="always")
def _body(key: Any, neuron: Any, kind: Any, depth_bin: Any, tables: Any, look: Any) -> Any:
    """Height and width in µm, optical density and taper of one cell body."""
    size = np.float32(math.exp(0.25 * (2 * uniform(key, 2) - 1)))
    grade = uniform(key, 3)
    tone = np.float32(0.8) + np.float32(0.4) * grade
    if not neuron:
        return look[2] * size, look[2] * size, look[4] * tone, np.float32(0.0)
    if grade < tables[3][kind, depth_bin]:
        height, width = tables[4][kind, depth_bin], tables[5][kind, depth_bin]
    else:
        height, width = tables[1][kind, depth_bin], tables[2][kind, depth_bin]
    return height * size, width * size, look[3] * tone, tables[6][kind, depth_bin]


@njit(cache=True, nogil=True)
def _draw_body(
    sums: Any, origin: Any, y: Any, x: Any, body: Any, angle: Any, i: Any, j: Any, pixel_um: Any, look: Any, key: Any
) -> None:
    """Draw one body at (y, x) of the section: its area alone on coarse pixels, its shape on fine ones."""
    height, width, density, taper = body
    row, column = origin
    rows, columns = sums.shape
    if pixel_um >= look[7]:
        amount = density * (math.pi / 4) * height * width / (pixel_um * pixel_um)
        add_point(sums, origin, y, x, amount)
        return
    turn = angle[i, j] * (2 * math.pi / 256)
    if taper > 0:
        turn += _LEAN * (2 * uniform(mix(key, 3, 0), 0) - 1)
    down, right = math.cos(turn), math.sin(turn)
    half_height, half_width = height / (2 * pixel_um), width / (2 * pixel_um)
    scale = math.sqrt(half_height * half_width)
    soft = 1.0
    if look[6] > 0:
        # A cell far from the plane of focus has a wide rim and the same mean.
        soft += look[6] * uniform(mix(key, 2, 0), 0) ** 2 / pixel_um
    reach = math.ceil(max(half_height, half_width) * (1 + taper) + 0.5 * soft)
    middle_row, middle_column = round(y) - row, round(x) - column
    for r in range(max(middle_row - reach, 0), min(middle_row + reach + 1, rows)):
        for c in range(max(middle_column - reach, 0), min(middle_column + reach + 1, columns)):
            dr, dc = (row + r) - y, (column + c) - x
            along = (dr * down + dc * right) / half_height
            across = (dr * right - dc * down) / half_width
            if taper > 0:
                # Pyramids: narrow towards the pia, broad at their base.
                across /= max(1 + taper * along, 0.15)
            # Signed distance to the rim in pixels gives an edge that is anti-aliased over ``soft`` pixels.
            covered = 0.5 + (1 - math.sqrt(along * along + across * across)) * scale / soft
            if covered > 0:
                sums[r, c] += int(density * min(covered, 1.0) * UNIT)


@njit(cache=True, nogil=True, inline="always")
def add_point(sums: Any, origin: Any, y: Any, x: Any, amount: Any) -> None:
    """Share ``amount`` among the four pixels around a point of the section."""
    rows, columns = sums.shape
    top, left = math.floor(y), math.floor(x)
    down, right = y - top, x - left
    for dr in range(2):
        for dc in range(2):
            r, c = top + dr - origin[0], left + dc - origin[1]
            if 0 <= r < rows and 0 <= c < columns:
                sums[r, c] += int(amount * abs(1 - dr - down) * abs(1 - dc - right) * UNIT)


@njit(cache=True, nogil=True)
def draw_vessels(sums: Any, place: Any, seed: Any, window: Any, labels: Any, angle: Any, chance: Any) -> None:
    """Add the covered share (times ``UNIT``) of vessels' pale lumens, mostly cut along the radial direction.

    Args:
        sums: ``(H, W)`` int32.
        place, seed, window: As in ``draw_cells``.
        labels, angle: Of ``SectionFields``.
        chance: Probability that a block of ``VESSEL_BLOCK`` lattice cells holds a vessel.
    """
    row, column, pixel_mm, site_mm = place
    lattice_mm = SITES * site_mm
    rows, columns = sums.shape
    for bi in range(window[0] // VESSEL_BLOCK - 2, window[2] // VESSEL_BLOCK + 3):
        for bj in range(window[1] // VESSEL_BLOCK - 2, window[3] // VESSEL_BLOCK + 3):
            key = mix(seed, bi, bj)
            if uniform(key, 0) >= chance:
                continue
            key = mix(key, bi, bj)
            i, j = (bi + uniform(key, 0)) * VESSEL_BLOCK, (bj + uniform(key, 1)) * VESSEL_BLOCK
            li, lj = int(i), int(j)
            if not (0 <= li < labels.shape[0] and 0 <= lj < labels.shape[1]) or labels[li, lj] == BACKGROUND:
                continue
            half_width = 0.003 * math.exp(1.6 * uniform(key, 2)) / pixel_mm  # 6 to 30 µm across
            half_length = half_width * (1 + 8 * uniform(key, 3) ** 2)
            turn = angle[li, lj] * (2 * math.pi / 256) + (uniform(mix(key, 1, 0), 0) - 0.5)
            if labels[li, lj] == WHITE_MATTER:
                turn *= 2 * math.pi  # no direction stands out there
            down, right = math.cos(turn), math.sin(turn)
            y, x = i * lattice_mm / pixel_mm, j * lattice_mm / pixel_mm
            reach = math.ceil(half_length + 0.5)
            top, left = int(y) - row, int(x) - column
            for r in range(max(top - reach, 0), min(top + reach + 2, rows)):
                for c in range(max(left - reach, 0), min(left + reach + 2, columns)):
                    dr, dc = (row + r) - y, (column + c) - x
                    along, across = dr * down + dc * right, dr * right - dc * down
                    # Coverage of a pixel by a bar with round ends, also where it is thinner than the pixel.
                    beyond = max(abs(along) - (half_length - half_width), 0.0)
                    rim = half_width - math.sqrt(beyond * beyond + across * across)
                    covered = min(max(rim + 0.5, 0.0), 1.0, 2 * half_width)
                    if covered > 0:
                        sums[r, c] += int(covered * UNIT)
