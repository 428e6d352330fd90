"""The tables of a pre-training in a folder: written once, read again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cytokeras._files import same_settings, write_json
from cytokeras.errors import UserError
from cytokeras.sampling.cortex_locations import CortexLocations, sample_cortex
from cytokeras.sampling.pairs import CortexPairs, sample_pairs

if TYPE_CHECKING:
    from cytokeras.brain.brain import Brain

_LOCATIONS, _PAIRS, _SETTINGS = "locations.csv", "pairs.csv", "sample.json"


def write_samples(
    brain: Brain,
    folder: Path,
    *,
    patches: int,
    pairs: int,
    split: Literal["train", "test"] = "train",
    seed: int = 0,
    workers: int | None = None,
    progress: bool = False,
) -> CortexPairs:
    """Draw places and pairs into ``locations.csv`` and ``pairs.csv``; read those that are there already.

    ``sample.json`` keeps what was asked for. An interrupted run goes on with what is missing.

    Args:
        brain: The brain.
        folder: An existing folder.
        patches: Number of places, as ``count`` of `sample_cortex`.
        pairs: Number of pairs, as ``count`` of `sample_pairs`.
        split: Sections used.
        seed: Seed of both.
        workers: Threads; None: one a core.
        progress: Show progress on standard error.

    Raises:
        UserError: The folder holds tables of another brain or of other settings, or as the two functions say.
    """
    settings = {"brain": brain.name, "patches": patches, "pairs": pairs, "split": split, "seed": seed}
    _check_settings(folder / _SETTINGS, settings)
    if (folder / _LOCATIONS).exists():
        locations = CortexLocations.from_csv(folder / _LOCATIONS)
    else:
        locations = sample_cortex(brain, patches, seed=seed, split=split, progress=progress)
        locations.to_csv(folder / _LOCATIONS)
    if (folder / _PAIRS).exists():
        return CortexPairs.from_csv(folder / _PAIRS, locations)
    table = sample_pairs(brain, locations, pairs, seed=seed, workers=workers, progress=progress)
    table.to_csv(folder / _PAIRS)
    return table


def _check_settings(path: Path, settings: dict[str, object]) -> None:
    """Keep ``settings`` in ``path``, or raise UserError where others are kept there."""
    if same_settings(path, settings, "holds tables made", "choose another folder"):
        return
    for name in (_LOCATIONS, _PAIRS):
        if (path.parent / name).exists():
            raise UserError(f"{path.parent}: holds {name} but no {path.name}; choose an empty folder.")
    write_json(path, settings)
