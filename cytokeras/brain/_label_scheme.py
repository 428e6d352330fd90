"""The classes of a parcellation: their order, names and colours."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cytokeras.errors import UserError, nearest_name_hint

UNLABELLED: Final = 255
"""Label of a pixel without annotation; it takes no part in the loss (not stated in the paper)."""

VISUAL_AREAS: Final[tuple[str, ...]] = (
    "hOc1",
    "hOc2",
    "hOc3d",
    "hOc3v",
    "hOc4d",
    "hOc4v",
    "hOc4la",
    "hOc4lp",
    "hOc5",
    "FG1",
    "FG2",
    "FG3",
    "FG4",
)
"""The 13 areas of the human visual system that Spitzer et al. 2018, section 3, segment."""


@dataclass(frozen=True)
class LabelScheme:
    """The ordered classes of a parcellation.

    Args:
        names: One distinct name a class; the position is the class index, 0 … 254.
        colors: One ``(red, green, blue)`` a class, each 0 … 255.

    Raises:
        UserError: No class, more than 255, an empty or repeated name, or colours that do not fit.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        names, colors = tuple(self.names), tuple(tuple(color) for color in self.colors)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "colors", colors)
        if not 1 <= len(names) <= UNLABELLED:
            raise UserError(f"classes: there must be 1 to {UNLABELLED}; received {len(names)}.")
        for position, name in enumerate(names):
            if not isinstance(name, str) or not name.strip():
                raise UserError(f"classes: class {position} must have a name; received {name!r}.")
            if name in names[:position]:
                raise UserError(f"classes: the name {name!r} is given twice; each class needs its own.")
        if len(colors) != len(names):
            raise UserError(f"classes: {len(names)} names but {len(colors)} colours; give one a class.")
        for name, color in zip(names, colors, strict=True):
            if len(color) != 3 or not all(_is_byte(value) for value in color):
                raise UserError(
                    f"classes: the colour of {name!r} must be three whole numbers 0 to 255; received {list(color)}."
                )

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the class index of ``name``.

        Raises:
            UserError: No class has this name; the message offers the nearest one.
        """
        try:
            return self.names.index(name)
        except ValueError:
            hint = nearest_name_hint(str(name), self.names)
            known = "" if hint else f" Known classes: {', '.join(self.names)}."
            raise UserError(f"unknown class {name!r}.{hint}{known}") from None

    @classmethod
    def from_records(cls, records: Sequence[dict[str, object]]) -> LabelScheme:
        """Build the scheme from ``[{"name": "hOc1", "color": [r, g, b]}, …]`` as ``brain.json`` holds it.

        Raises:
            UserError: A record is not of this form.
        """
        if not isinstance(records, list):
            raise UserError(f'classes: must be a list of {{"name", "color"}}; received {records!r}.')
        names, colors = [], []
        for position, record in enumerate(records):
            if not isinstance(record, dict) or not isinstance(record.get("color"), list):
                raise UserError(
                    f'classes: entry {position} must be {{"name": "…", "color": [red, green, blue]}}; '
                    f"received {record!r}."
                )
            names.append(record.get("name"))
            colors.append(tuple(record["color"]))
        return cls(tuple(names), tuple(colors))  # type: ignore[arg-type]

    @classmethod
    def from_names(cls, names: Sequence[str]) -> LabelScheme:
        """Build a scheme for classes without colours: those of the visual scheme keep theirs, others get distinct ones.

        New colours step around the colour circle by the golden angle, which keeps any number of them apart.
        """
        known = dict(zip(VISUAL_SCHEME.names, VISUAL_SCHEME.colors, strict=True))
        colors = []
        for position, name in enumerate(names):
            red, green, blue = colorsys.hsv_to_rgb(position * 0.381966 % 1.0, 0.65, 0.85)
            colors.append(known.get(name, (round(255 * red), round(255 * green), round(255 * blue))))
        return cls(tuple(names), tuple(colors))

    def to_records(self) -> list[dict[str, object]]:
        """Return the classes as ``from_records`` takes them."""
        pairs = zip(self.names, self.colors, strict=True)
        return [{"name": name, "color": list(color)} for name, color in pairs]


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


# Early areas run through the warm colours, the dorsal and lateral ones through greens and blues and the
# fusiform ones through violets, so that neighbours on the cortex differ and the streams stay recognisable.
VISUAL_SCHEME: Final = LabelScheme(
    names=("background", "white matter", "other cortex", *VISUAL_AREAS),
    colors=(
        (247, 246, 242),
        (205, 205, 205),
        (150, 150, 150),
        (214, 39, 40),  # hOc1
        (255, 152, 31),  # hOc2
        (246, 214, 60),  # hOc3d
        (156, 94, 46),  # hOc3v
        (140, 190, 50),  # hOc4d
        (238, 110, 130),  # hOc4v
        (24, 128, 72),  # hOc4la
        (70, 205, 170),  # hOc4lp
        (20, 130, 180),  # hOc5
        (120, 185, 245),  # FG1
        (60, 70, 200),  # FG2
        (150, 70, 190),  # FG3
        (226, 130, 220),  # FG4
    ),
)
"""Background, white matter, other cortex and the 13 visual areas: the 16 classes of Spitzer et al. 2018."""
