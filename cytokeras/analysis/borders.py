"""Where neighbouring pieces of cortex differ: distances between neighbouring block means of features."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cytokeras._files import atomic_path
from cytokeras.errors import UserError
from cytokeras.inference import CorticalEmbedding, _drawing

# Low to high, blue to yellow as in Spitzer et al. 2018, Fig. 4; the steps are those of the cividis map, which
# is also even for colour-blind readers.
_COLOR_STOPS = (
    (0, 32, 76),
    (0, 56, 120),
    (64, 78, 118),
    (107, 109, 118),
    (150, 143, 116),
    (200, 182, 98),
    (255, 233, 69),
)
# The largest few distances would press all others into one colour.
_TOP_PERCENTILE = 98.0


@dataclass(frozen=True, eq=False)
class CorticalBorders:
    """Places between two neighbouring blocks along the ribbon, with the distance of the block means.

    Attributes:
        row, column: (N,) float64, position in pixels of the section image, halfway between the blocks.
        position_mm: (N, 3) float64, position in space.
        distance: (N,) float64, squared Euclidean distance of the mean features of the two blocks.
        line: (N,) int64, piece of ribbon.
        arc_mm: (N,) float64, place along that piece.
    """

    row: np.ndarray
    column: np.ndarray
    position_mm: np.ndarray
    distance: np.ndarray
    line: np.ndarray
    arc_mm: np.ndarray

    def __len__(self) -> int:
        return len(self.distance)


def cortical_borders(embedding: CorticalEmbedding, block: int = 9, stride: int | None = None) -> CorticalBorders:
    """Find how much the features change along the cortex.

    The features of ``block`` neighbouring positions are averaged, and the squared Euclidean distance between
    neighbouring averages is taken (Spitzer et al. 2018, section 4 and Fig. 4: blocks of nine, 200 µm apart).
    Large values are expected at areal borders, but also at high curvature and in oblique cuts.

    Args:
        embedding: Result of `embed_cortex`.
        block: Positions a block.
        stride: Positions from one pair of blocks to the next; default: ``block``, so that each block is used
            once as the first of a pair. 1 gives a value between any two positions (not stated in the paper).

    Raises:
        UserError: ``block`` or ``stride`` is below 1, or no piece of ribbon is as long as two blocks.
    """
    stride = block if stride is None else stride
    if block < 1 or stride < 1:
        raise UserError(f"cortical_borders: block and stride must be at least 1. Received: {block=}, {stride=}")
    pieces = []
    for line in np.unique(embedding.line):
        index = np.flatnonzero(embedding.line == line)
        closed = bool(embedding.closed[index[0]])
        if len(index) >= 2 * block:
            pieces.append(_line_borders(embedding, index, closed, block, stride))
    if not pieces:
        raise UserError(
            f"cortical_borders: no piece of ribbon has {2 * block} positions; choose smaller blocks or a smaller step."
        )
    before, after, distance = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return CorticalBorders(
        row=(embedding.row[before] + embedding.row[after]) / 2,
        column=(embedding.column[before] + embedding.column[after]) / 2,
        position_mm=(embedding.position_mm[before] + embedding.position_mm[after]) / 2,
        distance=distance,
        line=embedding.line[after],
        arc_mm=embedding.arc_mm[after],
    )


def _line_borders(
    embedding: CorticalEmbedding, index: np.ndarray, closed: bool, block: int, stride: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows before and after each border of one line and the distance of the means around it."""
    features = embedding.features[index].astype(np.float64)
    count = len(index)
    if closed:
        features = np.concatenate([features, features[: 2 * block]])
    sums = np.concatenate([np.zeros((1, features.shape[1])), np.cumsum(features, axis=0)])
    # On a closed line pairs of blocks start all around, on an open one as long as two whole blocks are left.
    starts = stride * np.arange(count // stride if closed else (count - 2 * block) // stride + 1)
    first = (sums[starts + block] - sums[starts]) / block
    second = (sums[starts + 2 * block] - sums[starts + block]) / block
    distance = ((second - first) ** 2).sum(axis=1)
    return index[(starts + block - 1) % count], index[(starts + block) % count], distance


def borders_png(image: Any, borders: CorticalBorders, path: str | os.PathLike[str], *, max_size: int = 1600) -> None:
    """Write the grey section with a point at each border, coloured from low (blue) to high (yellow) distance.

    Args:
        image: The section or its image.
        borders: Result of `cortical_borders` for this section.
        path: A ``.png`` file.
        max_size: Largest side of the section in pixels.

    Raises:
        UserError: The folder cannot be written to.
    """
    grey, factor = _drawing.thumbnail(getattr(image, "image", image), max_size)
    scale = _drawing.text_scale(grey.shape)
    top = max(float(np.percentile(borders.distance, _TOP_PERCENTILE)), 1e-12)
    # Paler tissue, so that dark points stand out too.
    panel = Image.fromarray((128 + grey.astype(np.uint16) // 2).astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(panel)
    radius = 4.5 * scale
    colors = color_of(borders.distance / top)
    # The largest are drawn last: they are what the reader looks for.
    for k in np.argsort(borders.distance):
        y, x = (borders.row[k] + 0.5) / factor - 0.5, (borders.column[k] + 0.5) / factor - 0.5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colors[k].tolist()))
    picture = _drawing.compose(
        [("Distance between neighbouring blocks of cortex", np.asarray(panel))],
        [_color_bar(top, scale)],
        scale,
    )
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def color_of(fraction: np.ndarray) -> np.ndarray:
    """Return (…, 3) uint8 colours for values 0 … 1 (clipped)."""
    stops = np.linspace(0, 1, len(_COLOR_STOPS))
    channels = [np.interp(fraction, stops, channel) for channel in zip(*_COLOR_STOPS, strict=True)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _color_bar(top: float, scale: float) -> Image.Image:
    size, width, height = round(14 * scale), round(18 * scale), round(200 * scale)
    gap, font = round(8 * scale), _drawing.font(round(14 * scale))
    marks = {f"{top:.3g} or more": 0.0, f"{top / 2:.3g}": 0.5, "0": 1.0}
    text_width = max(int(font.getlength(text)) + 1 for text in marks)
    picture = Image.new("RGB", (width + gap + text_width, height + size), _drawing.PAGE)
    ramp = color_of(np.linspace(1, 0, height))[:, None].repeat(width, axis=1)
    picture.paste(Image.fromarray(ramp), (0, size // 2))
    draw = ImageDraw.Draw(picture)
    for text, place in marks.items():
        draw.text((width + gap, size / 2 + place * height), text, fill=_drawing.INK, font=font, anchor="lm")
    return picture
