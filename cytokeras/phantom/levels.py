"""How hard a phantom is: three levels from a clean drawing to variation and damage as in real sections."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cytokeras.errors import UserError, nearest_name_hint


@dataclass(frozen=True)
class PhantomLevel:
    """What varies between individuals, inside areas and between sections. All amounts are our choice unless said.

    Attributes:
        name: Name of the level.
        folding_mm: Root mean square displacement of an individual's surfaces from the average's; 0: one folding.
        size_spread: Standard deviation of the log of an individual's size, per axis.
        thickness_spread: Standard deviation of the log of a layer's share of the cortex, by individual and area.
        density_spread: The same for its cell density.
        gradient_factor: Factor on the smooth gradients inside areas.
        border_mm: Half width of gradual borders; hOc1/hOc2 stays sharp.
        other_textures: Whether cortex outside the 13 areas varies over the surface.
        column_contrast: Relative swing of cell density between columns perpendicular to the surface.
        taper: Factor on the taper of pyramids; 0: all cells are ellipses.
        defocus_um: Rim of the cells farthest from the plane of focus.
        vessels_per_mm2: Lumens of vessels.
        stain_spread: Standard deviation of the log of a section's staining, inside its batch.
        batch_spread: The same between batches of sections and again between individuals; contrast and the paleness
            of neuropil differ with it.
        stain_wave: Relative amplitude of smooth stain differences inside a section.
        damage: Mean number of places of each kind of damage in a section.
        displaced: Mean number of pieces of tissue in a section that lie shifted and turned at a tear.
        tilt_deg: Standard deviation of the cutting plane's tilt about two axes, per individual.
    """

    name: str
    folding_mm: float = 0.0
    size_spread: float = 0.0
    thickness_spread: float = 0.0
    density_spread: float = 0.0
    gradient_factor: float = 1.0
    border_mm: float = 0.0
    other_textures: bool = False
    column_contrast: float = 0.0
    taper: float = 0.0
    defocus_um: float = 0.0
    vessels_per_mm2: float = 0.0
    stain_spread: float = 0.10
    batch_spread: float = 0.0
    stain_wave: float = 0.0
    damage: float = 0.0
    displaced: float = 0.0
    tilt_deg: float = 0.0


_STANDARD = PhantomLevel(
    "standard",
    folding_mm=2.5,
    size_spread=0.03,
    thickness_spread=0.05,
    density_spread=0.05,
    gradient_factor=0.5,
    border_mm=0.4,
    other_textures=True,
    column_contrast=0.35,
    taper=1.0,
    defocus_um=3.0,
    vessels_per_mm2=6.0,
    stain_spread=0.12,
    stain_wave=0.05,
    damage=2.0,
    tilt_deg=4.0,
)

LEVELS = {
    level.name: level
    for level in (
        PhantomLevel("easy"),
        _STANDARD,
        replace(
            _STANDARD,
            name="hard",
            folding_mm=3.5,
            size_spread=0.05,
            thickness_spread=0.14,
            density_spread=0.15,
            gradient_factor=1.3,
            border_mm=0.8,
            stain_spread=0.06,
            batch_spread=0.2,
            stain_wave=0.10,
            damage=6.0,
            displaced=3.0,
            tilt_deg=8.0,
        ),
    )
}
"""The levels by name; the published spread inside an area is a fifth to a third of a layer's thickness.

"easy" keeps the gradients the bundled weights were trained on, twice those of "standard", which varies elsewhere.
"""


def phantom_level(name: str) -> PhantomLevel:
    """The level of that name; UserError with the nearest name where there is none."""
    if name not in LEVELS:
        raise UserError(
            f"No phantom level is called {name!r}.{nearest_name_hint(name, LEVELS)} There are: {', '.join(LEVELS)}."
        )
    return LEVELS[name]
