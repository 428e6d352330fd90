"""Pictures of sections: a grey thumbnail, class colours over it, borders, legends. Pillow only."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cytokeras.brain.labels import UNLABELLED, LabelScheme
from cytokeras.inference._resampled_image import ReadableImage, ResampledImage
from cytokeras.inference.tiling import OutputGrid

PAGE = (255, 255, 255)
INK = (38, 38, 38)
FAINT_INK = (120, 120, 120)

# Share of class colour over the grey section. Background stays bare and the two non-area classes weak, so
# that the areas stand out and the tissue stays visible.
_AREA_OPACITY = 0.55
_CONTEXT_OPACITY = 0.28
_CONTEXT_CLASSES = ("white matter", "other cortex")
_BORDER_DARKENING = 0.45


def thumbnail(image: ReadableImage, max_size: int) -> tuple[np.ndarray, float]:
    """Reduce a section to at most ``max_size`` pixels a side.

    Returns:
        (h, w) uint8 grey, and the number of image pixels per thumbnail pixel (thumbnail pixel k is centred on
        image pixel ``(k + 0.5) * factor - 0.5``).
    """
    factor = max(1.0, max(image.shape) / max_size)
    reduced = ResampledImage(image, image.pixel_size_um * factor)
    height, width = reduced.shape
    return reduced.read(0, 0, height, width), reduced.factor


def classes_on_thumbnail(labels: np.ndarray, grid: OutputGrid, shape: tuple[int, int], factor: float) -> np.ndarray:
    """Return the class of the nearest cell for every thumbnail pixel, uint8; UNLABELLED outside the map."""
    axes = []
    for size, cells, origin in zip(shape, labels.shape, grid.origin_px, strict=True):
        centre = (np.arange(size) + 0.5) * factor - 0.5
        cell = np.floor((centre - origin) / grid.step_px + 0.5).astype(int)
        axes.append((np.clip(cell, 0, cells - 1), (cell >= 0) & (cell < cells)))
    (rows, rows_inside), (columns, columns_inside) = axes
    classes = labels[np.ix_(rows, columns)].copy()
    classes[~rows_inside] = UNLABELLED
    classes[:, ~columns_inside] = UNLABELLED
    return classes


def colour_overlay(grey: np.ndarray, classes: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """Lay class colours with thin darker borders over a grey picture; (h, w, 3) uint8."""
    colors = np.zeros((256, 3), np.float32)
    opacity = np.zeros(256, np.float32)
    for index, (name, color) in enumerate(zip(scheme.names, scheme.colors, strict=True)):
        colors[index] = color
        opacity[index] = 0 if index == 0 else _CONTEXT_OPACITY if name in _CONTEXT_CLASSES else _AREA_OPACITY
    alpha = opacity[classes][..., None]
    picture = grey[..., None] * (1 - alpha) + colors[classes] * alpha
    border = class_borders(classes)
    picture[border] = colors[classes[border]] * _BORDER_DARKENING
    return np.rint(picture).astype(np.uint8)


def class_borders(classes: np.ndarray) -> np.ndarray:
    """Return where a pixel meets another class, bool; of the two sides one is marked, never background."""
    # Background and unannotated pixels rank lowest, so that outlines lie inside the tissue, one pixel wide.
    rank = np.where(classes == UNLABELLED, 0, classes).astype(np.int16)
    border = np.zeros(classes.shape, bool)
    for axis in (0, 1):
        ranks, marks = np.moveaxis(rank, axis, 0), np.moveaxis(border, axis, 0)
        marks[:-1] |= ranks[:-1] > ranks[1:]
        marks[1:] |= ranks[1:] > ranks[:-1]
    return border


def text_scale(shape: tuple[int, ...]) -> float:
    """Return the size of text and lines relative to a panel of 1000 pixels, never too small to read."""
    return float(np.clip(max(shape) / 1000, 0.75, 2.5))


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font at ``size`` pixels."""
    return ImageFont.load_default(size)


def present_classes(scheme: LabelScheme, *maps: np.ndarray) -> list[int]:
    """Return the classes except background that occur in any of the maps, in scheme order."""
    seen = np.zeros(256, bool)
    for classes in maps:
        seen[np.unique(classes)] = True
    return [index for index in range(1, len(scheme)) if seen[index]]


def legend(scheme: LabelScheme, classes: Sequence[int], scale: float) -> Image.Image:
    """Draw a column of colour swatches with class names."""
    text_size, line, swatch = round(15 * scale), round(25 * scale), round(15 * scale)
    gap = round(9 * scale)
    names = [scheme.names[index] for index in classes]
    text_width = max((font(text_size).getlength(name) for name in names), default=0)
    picture = Image.new("RGB", (swatch + gap + int(text_width) + gap, max(line * len(names), 1)), PAGE)
    draw = ImageDraw.Draw(picture)
    for position, (index, name) in enumerate(zip(classes, names, strict=True)):
        top = position * line
        box = (0, top + (line - swatch) // 2, swatch, top + (line - swatch) // 2 + swatch)
        draw.rounded_rectangle(box, radius=round(3 * scale), fill=scheme.colors[index], outline=FAINT_INK)
        draw.text((swatch + gap, top + line / 2), name, fill=INK, font=font(text_size), anchor="lm")
    return picture


def scale_bar(length_px: float, text: str, scale: float) -> Image.Image:
    """Draw a horizontal bar of ``length_px`` with its length as text above it."""
    size = round(14 * scale)
    width = max(round(length_px), int(font(size).getlength(text)) + 1) + 2
    picture = Image.new("RGB", (width, round(size * 1.9)), PAGE)
    draw = ImageDraw.Draw(picture)
    draw.text((0, 0), text, fill=INK, font=font(size))
    draw.rectangle((0, picture.height - round(4 * scale), round(length_px), picture.height - 1), fill=INK)
    return picture


def round_length_mm(at_most_mm: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above ``at_most_mm``."""
    power = 10.0 ** np.floor(np.log10(at_most_mm))
    return float(max(step * power for step in (1, 2, 5) if step * power <= at_most_mm * (1 + 1e-9)))


def compose(panels: Sequence[tuple[str, np.ndarray]], side: Sequence[Image.Image], scale: float) -> Image.Image:
    """Set titled panels beside each other, with pictures (legend, scale bar) stacked at the right."""
    margin, title = round(22 * scale), round(17 * scale)
    head = round(title * 1.8)
    height = max(
        max(panel.shape[0] for _, panel in panels) + head,
        head + sum(item.height + margin for item in side) - margin,
    )
    side_width = max((item.width for item in side), default=0)
    width = sum(panel.shape[1] + margin for _, panel in panels) + (side_width + margin if side else 0)
    picture = Image.new("RGB", (width + margin, height + 2 * margin), PAGE)
    draw = ImageDraw.Draw(picture)
    left = margin
    for name, panel in panels:
        draw.text((left, margin), name, fill=INK, font=font(title))
        picture.paste(Image.fromarray(panel), (left, margin + head))
        left += panel.shape[1] + margin
    top = margin + head
    for item in side:
        picture.paste(item, (left, top))
        top += item.height + margin
    return picture
