"""What a siamese network can learn beside distances and places, by name; off unless asked for.

The discussion of Spitzer et al. 2018 proposes the local curvature and the orientation of the cutting plane to the
surface; the contrast is ours (see ``SpatialContrastiveLoss``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cytokeras.errors import UserError, nearest_name_hint


@dataclass(frozen=True)
class PlaceTask:
    """A property of the place of a patch, which a head predicts from its features.

    Attributes:
        column: Column of ``CortexLocations``.
        scale: What counts as a loss of 1, in the unit of the column. Chosen so that the best constant guess costs
            about what it costs with distances in units of 50 mm, 0.5: on fsaverage5 it is 0.53 for both tasks (0.9
            for the curvature of an individual's cortex, which is less smooth).
        unit: That unit.
        text: What it is, with its unit.
    """

    column: str
    scale: float
    unit: str
    text: str


PLACE_TASKS = {
    "curvature": PlaceTask("curvature_per_mm", 0.2, "1/mm", "Mean curvature of the mid surface in 1/mm"),
    "obliqueness": PlaceTask(
        "obliqueness_deg", 20.0, "degrees", "Angle between surface normal and section plane in degrees"
    ),
}
CONTRAST = "contrast"
"""Name of the task, and of the output, in which the patches of a batch are compared with each other."""

AUXILIARY_TASKS = (*PLACE_TASKS, CONTRAST)


def check_auxiliary(auxiliary: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the tasks as a tuple.

    Raises:
        UserError: A name is unknown or comes twice.
    """
    names = (auxiliary,) if isinstance(auxiliary, str) else tuple(auxiliary)
    for name in names:
        if name not in AUXILIARY_TASKS:
            raise UserError(
                f"auxiliary: there is no task {name!r}.{nearest_name_hint(str(name), AUXILIARY_TASKS)} "
                f"There are: {', '.join(AUXILIARY_TASKS)}. Received: auxiliary={auxiliary!r}"
            )
    if len(set(names)) < len(names):
        raise UserError(f"auxiliary: every task may be named once. Received: auxiliary={auxiliary!r}")
    return names


def auxiliary_weights(auxiliary: Mapping[str, float] | Iterable[str]) -> dict[str, float]:
    """Return task -> weight of its loss; 1 where only names are given.

    Raises:
        UserError: A name is unknown or a weight is negative.
    """
    names = check_auxiliary(auxiliary)
    weights = {name: float(auxiliary[name]) if isinstance(auxiliary, Mapping) else 1.0 for name in names}
    for name, weight in weights.items():
        if not weight >= 0:
            raise UserError(f"auxiliary: the weight of {name} must not be negative. Received: {weight}")
    return weights


def require_tasks(wanted: Iterable[str], built: Iterable[str]) -> None:
    """Raise UserError where a network was built without a task that is to be trained."""
    missing = [name for name in check_auxiliary(wanted) if name not in built]
    if missing:
        raise UserError(
            f"the network was built without the auxiliary tasks {', '.join(missing)}: build it with "
            f"auxiliary={(*built, *missing)!r}."
        )


def outputs_of(task: str) -> tuple[str, ...]:
    """Return the names of the outputs, targets and losses of a task."""
    return (CONTRAST,) if task == CONTRAST else (f"{task}_a", f"{task}_b")
