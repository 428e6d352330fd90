"""Which sections of a brain are sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cytokeras.errors import UserError, nearest_name_hint

if TYPE_CHECKING:
    from cytokeras.brain.brain import Brain

HEMISPHERE_NAMES = ("left", "right")  # their order gives the hemisphere index of the tables


def select_sections(brain: Brain, split: str | None, sections: Sequence[int | str] | None) -> list[int]:
    """Return indices into ``brain.sections``, ascending, of the wanted sections that belong to ``split``.

    Raises:
        UserError: An unknown split, index or id, or no section is left.
    """
    if split not in ("train", "test", None):
        raise UserError(f"split must be 'train', 'test' or None (both). Received: split={split!r}")
    count = len(brain.sections)
    if sections is None:
        wanted = list(range(count))
    else:
        index_of = {section.id: index for index, section in enumerate(brain.sections)}
        wanted = sorted({_index(brain.name, each, count, index_of) for each in sections})
    selected = [index for index in wanted if split is None or brain.sections[index].split == split]
    if not selected:
        raise UserError(
            f"brain {brain.name!r}: none of the {len(wanted)} sections asked for belongs to split {split!r}; "
            "choose other sections or split=None."
        )
    return selected


def _index(brain_name: str, section: int | str, count: int, index_of: dict[str, int]) -> int:
    if isinstance(section, str):
        if section not in index_of:
            hint = nearest_name_hint(section, index_of)
            raise UserError(f"brain {brain_name!r}: no section with id {section!r}.{hint}")
        return index_of[section]
    if not 0 <= section < count:
        raise UserError(f"brain {brain_name!r}: section indices must lie in 0 … {count - 1}. Received: {section}")
    return int(section)
