"""Draw the pictures of benchmarks/phantom_pictures.md and the comparison with a real image of cortex.

    python benchmarks/phantom_pictures.py --real ../shared/data/sana-cortex

Writes small JPEGs to benchmarks/images. The real image is shown as a depth profile only.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from _cells import flat_slab
from _real_cortex import compare_profiles
from PIL import Image, ImageDraw, ImageFont

from cytokeras.brain.labels import VISUAL_AREAS
from cytokeras.phantom import LEVELS, PhantomBrain
from cytokeras.phantom._light_kernels import DUST, FOLD, KNIFE_MARK, TEAR
from cytokeras.phantom._section_fields import BACKGROUND, LATTICE_MM, OTHER_CORTEX
from cytokeras.phantom.cytoarchitecture import AREA_LAYERS
from cytokeras.sampling import sample_cortex

IMAGES = Path(__file__).parent / "images"
SECTION_MM = -84.0
SEED = 3
GAP = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder with example_q90.jpg and example.geojson (sana-cortex)")
    arguments = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    scales()
    areas()
    folding()
    damage()
    displacement()
    batches()
    levels()
    if arguments.real:
        print(compare_profiles(arguments.real, IMAGES / "phantom-real-profile.png"))


def brain(pixel_size_um: float, level: str = "standard", seed: int = SEED) -> PhantomBrain:
    """One section of the left hemisphere."""
    return PhantomBrain(seed, pixel_size_um, [SECTION_MM], ["left"], level)


def crop(drawn: PhantomBrain, centre_mm: np.ndarray, size_px: int) -> np.ndarray:
    """A square window around a place (row, column) in mm of the section."""
    row, column = np.rint(centre_mm * 1000 / drawn.sections[0].pixel_size_um).astype(int) - size_px // 2
    return drawn.sections[0].image.read(int(row), int(column), size_px, size_px)


def scales() -> None:
    """One place of hOc1 at four pixel sizes."""
    labels = brain(16.0).sections[0].image.fields().labels
    places = np.argwhere(labels == OTHER_CORTEX + 1)
    centre = places[len(places) // 2] * LATTICE_MM
    shown = [(f"{um:g} um/px", crop(brain(um), centre, 300)) for um in (1.0, 2.0, 8.0, 20.0)]
    montage(shown, 4, "phantom-scales.jpg")


def areas() -> None:
    """Flat cortex of each area, pia up, 0.7 mm wide, 2.5 mm high."""
    undamaged = replace(LEVELS["standard"], damage=0.0)
    shown = []
    for area in (*VISUAL_AREAS, "other cortex"):
        slab = flat_slab(AREA_LAYERS[area], 0.7, undamaged, 1)
        strip = np.full((2500, 700), 235, np.uint8)
        strip[: min(len(slab), 2500)] = slab[:2500]
        shown.append((area, shrink(strip, 4)))
    montage(shown, 14, "phantom-areas.jpg")


def folding() -> None:
    """A crown, a wall, a fundus and an oblique cut at 8 µm per pixel."""
    drawn = brain(8.0)
    table = sample_cortex(drawn, 1500, seed=0, split=None, max_obliqueness_deg=90.0)
    centres = np.column_stack([table.row, table.column]) * 0.008
    straight = table.obliqueness_deg < 15
    wall = np.argmin(np.abs(table.curvature_per_mm) + 10 * ~straight)
    chosen = {
        "crown": np.argmax(np.where(straight, table.curvature_per_mm, -np.inf)),
        "wall": wall,
        "fundus": np.argmin(np.where(straight, table.curvature_per_mm, np.inf)),
        "oblique cut": np.argmax(table.obliqueness_deg),
    }
    montage([(name, crop(drawn, centres[i], 500)) for name, i in chosen.items()], 4, "phantom-folding.jpg", 0.6)


def damage() -> None:
    """One place of each kind of damage, level hard, 8 µm per pixel."""
    names = {TEAR: "tear or hole", FOLD: "fold", KNIFE_MARK: "knife mark", DUST: "dust"}
    shown = {}
    for seed in range(SEED, SEED + 8):
        drawn = brain(8.0, "hard", seed)
        image = drawn.sections[0].image
        pieces = image.renderer().damage
        for kind, name in names.items():
            mine = pieces[pieces[:, 0] == kind]
            if name not in shown and len(mine):
                largest = mine[np.argmax(mine[:, 5])]
                place, label = place_on(largest, image.fields().labels)
                if label != BACKGROUND:
                    shown[name] = crop(drawn, place, 400)
        if len(shown) == len(names):
            break
    montage([(name, shown[name]) for name in names.values() if name in shown], 4, "phantom-damage.jpg", 0.75)


def place_on(piece: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, int]:
    """A place (row, column) in mm on a damaged piece, in cortex if it crosses any, and its class."""
    along = np.linspace(0, 1, 400)[:, None]
    places = (1 - along) * piece[1:3] + along * piece[3:5]
    rows, columns = np.clip(np.rint(places / LATTICE_MM).astype(int), 0, np.array(labels.shape) - 1).T
    best = int(np.argmax(labels[rows, columns]))
    return places[best], int(labels[rows[best], columns[best]])


def displacement() -> None:
    """A displaced piece of tissue, at 8 and 2 µm per pixel, and its labels at 8; level hard."""
    coarse, fine = (brain(um, "hard") for um in (8.0, 2.0))
    section = coarse.sections[0]
    edges = section.image.fields().tears
    centre = edges[np.argmax(edges[:, 5]), 1:3]
    row, column = np.rint(centre / 0.008).astype(int) - 200
    labels = section.labels.read(int(row), int(column), 400, 400)
    grey = (255 - 255 * (labels / labels.max())).astype(np.uint8)
    shown = [("8 um/px", crop(coarse, centre, 400)), ("labels", grey), ("2 um/px", crop(fine, centre, 400))]
    montage(shown, 3, "phantom-displacement.jpg", 0.75)


def batches() -> None:
    """Ten sections 1.2 mm apart of each of two individuals, level hard."""
    shown = []
    for seed in (SEED, SEED + 1):
        drawn = PhantomBrain(seed, 20.0, SECTION_MM + 1.2 * np.arange(10), ["left"], "hard")
        for index, section in enumerate(drawn.sections):
            grey = shrink(section.image.read(0, 0, *section.image.shape), 20)
            shown.append((f"brain {seed}, {1.2 * index:.1f} mm", grey))
    montage(shown, 10, "phantom-batches.jpg")


def levels() -> None:
    """The same section of one individual at the three levels."""
    shown = []
    for level in LEVELS:
        image = brain(20.0, level).sections[0].image
        shown.append((level, shrink(image.read(0, 0, *image.shape), 6)))
    montage(shown, 3, "phantom-levels.jpg")


def shrink(grey: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks."""
    rows, columns = (length // factor * factor for length in grey.shape)
    blocks = grey[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor)
    return blocks.mean(axis=(1, 3)).astype(np.uint8)


def montage(shown: list[tuple[str, np.ndarray]], columns: int, name: str, scale: float = 1.0) -> None:
    """Write pictures with their names side by side."""
    pictures = [Image.fromarray(grey) for _, grey in shown]
    if scale != 1.0:
        sizes = [(round(p.width * scale), round(p.height * scale)) for p in pictures]
        pictures = [p.resize(size, Image.Resampling.BOX) for p, size in zip(pictures, sizes, strict=True)]
    width, height = max(p.width for p in pictures), max(p.height for p in pictures) + 18
    rows = -(-len(pictures) // columns)
    page = Image.new("L", (columns * (width + GAP), rows * (height + GAP)), 255)
    write = ImageDraw.Draw(page)
    for index, (picture, (title, _)) in enumerate(zip(pictures, shown, strict=True)):
        x, y = index % columns * (width + GAP), index // columns * (height + GAP)
        write.text((x + 2, y + 2), title, fill=0, font=ImageFont.load_default(12))
        page.paste(picture, (x, y + 18))
    page.save(IMAGES / name, quality=80)


if __name__ == "__main__":
    main()
