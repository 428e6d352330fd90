"""Centres of patches drawn from annotated sections, every class equally likely."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from _balls import brain, section

from cytokeras.errors import UserError
from cytokeras.sampling import LabelledCentres


class Labels:
    """An annotation in memory, with the interface of brain.labels."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.largest_read = 0

    def read(self, row: float, column: float, height: int, width: int, step: float = 1) -> np.ndarray:
        self.largest_read = max(self.largest_read, height * width)
        rows = (row + step * np.arange(height)).astype(int)
        columns = (column + step * np.arange(width)).astype(int)
        inside = (rows >= 0)[:, None] & (rows < self.array.shape[0])[:, None]
        inside = inside & (columns >= 0) & (columns < self.array.shape[1])
        picked = self.array[np.ix_(rows.clip(0, self.array.shape[0] - 1), columns.clip(0, self.array.shape[1] - 1))]
        return np.where(inside, picked, 255).astype(np.uint8)


def annotated() -> np.ndarray:
    """Much background, a band of class 1, a small patch of class 3; class 2 absent; half not annotated."""
    array = np.full((400, 600), 255, np.uint8)
    array[:, :300] = 0
    array[100:140, :300] = 1
    array[200:225, 50:75] = 3
    return array


def labelled_brain(array: np.ndarray, split: str = "train") -> SimpleNamespace:
    return brain(section(0.0, split, Labels(array), array.shape), section(3.0), names=())


def test_every_class_present_is_equally_likely():
    centres = LabelledCentres(labelled_brain(annotated()), 10)
    assert centres.classes == (0, 1, 3)
    counts = np.bincount(centres.draw(3000, np.random.default_rng(0)).label, minlength=4)
    assert counts[2] == 0
    np.testing.assert_allclose(counts[[0, 1, 3]], 1000, atol=4 * np.sqrt(667))


def test_drawn_pixels_have_the_class_at_full_resolution():
    array = annotated()
    drawn = LabelledCentres(labelled_brain(array), 10).draw(1500, np.random.default_rng(0))
    np.testing.assert_array_equal(array[drawn.row, drawn.column], drawn.label)
    patch = drawn.label == 3
    assert len(np.unique(drawn.row[patch])) == 20  # cells of 10 rows around the lattice rows 205 and 215
    assert np.all(drawn.brain == 0) and np.all(drawn.section == 0)


def test_lattice_points_stay_where_hardly_any_neighbour_has_the_class():
    array = np.zeros((100, 100), np.uint8)
    array[55, 45] = 3  # one pixel, on the lattice 5, 15, 25 …
    drawn = LabelledCentres(labelled_brain(array), 10).draw(50, np.random.default_rng(0))
    assert set(zip(drawn.row[drawn.label == 3], drawn.column[drawn.label == 3], strict=True)) == {(55, 45)}


def test_several_brains_and_splits():
    train, test = labelled_brain(annotated()), labelled_brain(annotated() * 0 + 2, "test")
    assert LabelledCentres([train, test], 10).classes == (0, 1, 3)
    both = LabelledCentres([train, test], 10, split=None)
    drawn = both.draw(400, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.brain == 1, drawn.label == 2)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("cytokeras.sampling.labelled_centres._KEPT_PER_CLASS", 50)
    monkeypatch.setattr("cytokeras.sampling.labelled_centres._BLOCK", 16)
    labels = Labels(np.zeros((300, 300), np.uint8))
    subject = brain(section(0.0, labels=labels, shape=(300, 300)), names=())
    drawn = LabelledCentres(subject, 3).draw(2000, np.random.default_rng(0))
    assert labels.largest_read == 256
    assert len(np.unique(np.stack([drawn.row // 3, drawn.column // 3]), axis=1).T) <= 50
    assert drawn.row.mean() == pytest.approx(150, abs=50)  # a sample of all, not the first ones


def test_equal_states_give_equal_centres():
    centres = LabelledCentres(labelled_brain(annotated()), 10)
    first, second = (centres.draw(20, np.random.default_rng(1)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_annotated_is_an_error():
    with pytest.raises(UserError, match=r"no annotated pixel.*1 sections"):
        LabelledCentres(labelled_brain(np.full((50, 50), 255, np.uint8)), 10)


def test_brains_of_other_classes_are_refused():
    other = labelled_brain(annotated())
    other.labels = SimpleNamespace(names=("background", "gray"))
    with pytest.raises(UserError, match="all brains must have the classes"):
        LabelledCentres([labelled_brain(annotated()), other], 10)


@pytest.mark.parametrize(("step", "split", "message"), [(0, "train", "step_px"), (4, "both", "split must be")])
def test_invalid_centre_arguments_are_refused(step, split, message):
    with pytest.raises(UserError, match=message):
        LabelledCentres(labelled_brain(annotated()), step, split=split)
