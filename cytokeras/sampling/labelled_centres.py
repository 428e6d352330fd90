"""Centres of training patches, with every class equally likely under the centre."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cytokeras.brain.labels import UNLABELLED, SectionLabels
from cytokeras.errors import UserError

if TYPE_CHECKING:
    from cytokeras.brain.brain import Brain

Ints = NDArray[np.int64]

_BLOCK = 1024  # lattice points along each side of one read
_KEPT_PER_CLASS = 100_000  # positions; 16 bytes each
_CELL = 16  # pixels read along each side of a lattice cell when a centre is moved to full resolution


class Centres(NamedTuple):
    """Centres drawn by `LabelledCentres.draw`.

    Args:
        brain: (N,) int64, index into the brains.
        section: (N,) int64, index into that brain's sections.
        row: (N,) int64, image row in pixels.
        column: (N,) int64, image column in pixels.
        label: (N,) int64, the class at that pixel.
    """

    brain: Ints
    section: Ints
    row: Ints
    column: Ints
    label: Ints


class LabelledCentres:
    """Annotated positions of one or more brains, collected by class.

    The annotation is read on a lattice. Of each class at most 100,000 positions are kept, a random sample of
    all, so that memory does not grow with the number of sections. Classes that occur nowhere on the lattice
    are left out. Every class equally likely as the centre pixel: from the first author's published tutorial,
    not stated in the paper.

    Args:
        brains: One brain, or several with the same classes.
        step_px: Image pixels from one lattice point to the next; structures narrower than this can be missed.
        seed: Seed or generator for the sample that is kept.
        split: Sections of this split only; None takes all.

    Raises:
        UserError: ``step_px`` < 1, brains with different classes, or no annotated pixel on the lattice.
    """

    def __init__(
        self,
        brains: Brain | Sequence[Brain],
        step_px: int,
        seed: int | np.random.Generator = 0,
        *,
        split: Literal["train", "test"] | None = "train",
    ) -> None:
        self.brains: tuple[Brain, ...] = tuple(brains) if isinstance(brains, Sequence) else (brains,)
        if step_px < 1:
            raise UserError(f"LabelledCentres: step_px must be 1 or more. Received: step_px={step_px}")
        if split not in ("train", "test", None):
            raise UserError(f"LabelledCentres: split must be 'train', 'test' or None. Received: split={split!r}")
        _check_same_classes(self.brains)
        self.step_px = int(step_px)
        rng = np.random.default_rng(seed)
        reservoirs: dict[int, _Reservoir] = {}
        sections = 0
        for brain, section, labels, shape in _annotated(self.brains, split):
            sections += 1
            for rows, columns, classes in _lattice(labels, shape, self.step_px):
                for label in np.unique(classes[classes != UNLABELLED]):
                    here = np.flatnonzero(classes == label)
                    table = np.empty((len(here), 4), np.int32)
                    table[:, 0], table[:, 1] = brain, section
                    table[:, 2], table[:, 3] = rows[here], columns[here]
                    reservoirs.setdefault(int(label), _Reservoir()).add(table, rng)
        if not reservoirs:
            raise UserError(
                f"LabelledCentres: no annotated pixel on a lattice of {step_px} px in {sections} sections "
                f"with labels of split {split!r}; give annotated sections or a smaller step_px."
            )
        self._positions = {label: reservoirs[label].kept for label in sorted(reservoirs)}

    @property
    def classes(self) -> tuple[int, ...]:
        """The class indices that occur, ascending; `draw` gives each the same chance."""
        return tuple(self._positions)

    def draw(self, count: int, rng: np.random.Generator) -> Centres:
        """Draw centres: the class first, then a lattice point of that class, then a pixel of its cell.

        Within the lattice cell around the point one of up to 16 x 16 pixels that have the same class is taken
        (on a grid with random offset, so that every pixel has its chance); where none has, the point itself.

        Args:
            count: Number of centres N.
            rng: Where the randomness comes from; equal states give equal centres.
        """
        label = rng.choice(np.array(self.classes), count)
        table = np.empty((count, 4), np.int64)
        for each in np.unique(label):
            mine = np.flatnonzero(label == each)
            positions = self._positions[int(each)]
            table[mine] = positions[rng.integers(0, len(positions), len(mine))]
        stride = max(1, self.step_px // _CELL)
        samples = self.step_px // stride
        offsets = rng.integers(0, stride + self.step_px % stride, (count, 2)) - self.step_px // 2
        picks = rng.random(count)
        # one section after the other: annotations may be read from disk or drawn on demand
        for line in np.lexsort((table[:, 1], table[:, 0])):
            labels = self.brains[table[line, 0]].sections[table[line, 1]].labels
            row, column = table[line, 2:] + offsets[line]
            cell = labels.read(int(row), int(column), samples, samples, stride)
            matching = np.argwhere(np.asarray(cell) == label[line])
            if len(matching):
                table[line, 2:] = [row, column] + stride * matching[int(picks[line] * len(matching))]
        brain, section, row, column = table.T.copy()
        return Centres(brain, section, row, column, label.astype(np.int64))


class _Reservoir:
    """A uniform sample of bounded size of all rows added (each row with a random key; the smallest stay)."""

    def __init__(self) -> None:
        self.kept = np.empty((0, 4), np.int32)
        self._keys = np.empty(0)

    def add(self, rows: NDArray[np.int32], rng: np.random.Generator) -> None:
        keys = np.concatenate([self._keys, rng.random(len(rows))])
        table = np.concatenate([self.kept, rows])
        if len(table) > _KEPT_PER_CLASS:
            stay = np.sort(np.argpartition(keys, _KEPT_PER_CLASS)[:_KEPT_PER_CLASS])
            keys, table = keys[stay], table[stay]
        self._keys, self.kept = keys, table


def _check_same_classes(brains: tuple[Brain, ...]) -> None:
    if not brains:
        raise UserError("LabelledCentres: brains must hold at least one brain.")
    for brain in brains[1:]:
        if tuple(brain.labels.names) != tuple(brains[0].labels.names):
            raise UserError(
                f"LabelledCentres: all brains must have the classes of {brains[0].name!r} "
                f"({', '.join(brains[0].labels.names)}). "
                f"Received: {brain.name!r} with {', '.join(brain.labels.names)}"
            )


def _annotated(
    brains: tuple[Brain, ...], split: str | None
) -> Iterator[tuple[int, int, SectionLabels, tuple[int, int]]]:
    for brain_index, brain in enumerate(brains):
        for section_index, section in enumerate(brain.sections):
            if section.labels is not None and split in (None, section.split):
                yield brain_index, section_index, section.labels, tuple(section.image.shape[:2])


def _lattice(
    labels: SectionLabels, shape: tuple[int, int], step: int
) -> Iterator[tuple[Ints, Ints, NDArray[np.uint8]]]:
    """Yield rows, columns and classes (each flat) of the lattice points, block by block."""
    rows, columns = (np.arange(min(step // 2, size - 1), size, step) for size in shape)
    for top in range(0, len(rows), _BLOCK):
        for left in range(0, len(columns), _BLOCK):
            r, c = rows[top : top + _BLOCK], columns[left : left + _BLOCK]
            classes = labels.read(int(r[0]), int(c[0]), len(r), len(c), step)
            yield np.repeat(r, len(c)), np.tile(c, len(r)), np.asarray(classes, np.uint8).ravel()
