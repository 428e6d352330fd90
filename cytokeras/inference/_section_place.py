"""Whether sections lie where the atlas and the surfaces of their brain are."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from cytokeras.brain import Atlas, Brain, Section
from cytokeras.brain.check_brain import meets_surface
from cytokeras.errors import UserError
from cytokeras.inference._resampled_image import ReadableImage
from cytokeras.inference._tissue_finder import tissue_points

_POINTS = 10  # looked at along either side of a section
# An atlas may be cropped to its areas, so that much of a section lies outside; with less inside than this its place is
# more likely to be wrong. Our choice.
_SMALL_SHARE = 0.2


def check_atlas_covers(atlas: Atlas, section: Section, image: ReadableImage) -> None:
    """Compare the place of the tissue in an image of the section with the grid of the atlas.

    Raises:
        UserError: No tissue lies within it: the network would see an atlas of zeros.

    Warns:
        UserWarning: Little of the tissue lies within it.
    """
    pixels = tissue_points(image, _POINTS)
    if not len(pixels):
        return
    points = section.pixel_to_mm(pixels)
    share = float(atlas.covers(points).mean())
    if share >= _SMALL_SHARE:
        return
    low, high = points.min(axis=0), points.max(axis=0)
    place = ", ".join(f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))
    remedy = "give an atlas in the space of the section, or none to segment by texture alone"
    if not share:
        raise UserError(f"atlas: does not cover the tissue of section {section.id!r} ({place} mm); {remedy}.")
    warnings.warn(
        f"section {section.id!r}: only {share:.0%} of its tissue ({place} mm) lies within the atlas; check its "
        f"place in space, or {remedy}.",
        UserWarning,
        stacklevel=3,
    )


def warn_of_sections_outside(brain: Brain, sections: Iterable[Section]) -> None:
    """Name, in one warning, the sections whose plane meets no surface of the brain inside the image."""
    hemispheres = list(brain.surfaces.values())
    outside = []
    for section in sections if hemispheres else ():
        try:
            section.image.shape  # noqa: B018 - opens the file
        except UserError:
            continue  # told when its turn comes
        if not any(meets_surface(section, hemisphere) for hemisphere in hemispheres):
            outside.append(section.id)
    if outside:
        warnings.warn(
            f"brain {brain.name}: {_listed(outside)} no surface inside the image (see origin, axes and affine in "
            "sections.csv); nothing of it will be seen on the surfaces.",
            UserWarning,
            stacklevel=3,
        )


def _listed(ids: list[str]) -> str:
    if len(ids) == 1:
        return f"section {ids[0]} meets"
    more = f" and {len(ids) - 8} more" if len(ids) > 8 else ""
    return f"sections {', '.join(ids[:8])}{more} meet"
