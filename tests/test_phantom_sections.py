"""What happens to phantom sections on the table: batches of staining, tissue displaced at tears."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("nilearn", reason="the phantom is drawn on the fsaverage5 surfaces that nilearn ships")

from cytokeras.phantom import LEVELS, PhantomBrain
from cytokeras.phantom._displacement import Flap, displaced, random_flaps
from cytokeras.phantom._section_fields import BACKGROUND, LATTICE_MM, OTHER_CORTEX, WHITE_MATTER, SectionFields
from cytokeras.phantom.cytoarchitecture import depth_profiles, texture_layers
from cytokeras.phantom.renderer import SectionRenderer
from cytokeras.phantom.staining import SECTIONS_PER_BATCH, SERIES_SPACING_MM, StainBatch

HARD = LEVELS["hard"]
BATCH_MM = SECTIONS_PER_BATCH * SERIES_SPACING_MM


def half_and_half(size=200):
    """White matter to the left, cortex to the right, with depth and direction that tell each column and row."""
    columns = np.tile(np.arange(size), (size, 1))
    zeros = np.zeros((size, size), np.uint8)
    labels = np.where(columns < size // 2, WHITE_MATTER, OTHER_CORTEX).astype(np.uint8)
    rows = columns.T.astype(np.uint8)
    return SectionFields(
        0.0, 0.0, 0.0, labels, rows, np.zeros((4, size, size), np.int8), zeros, zeros, zeros, zeros.astype(np.int8)
    )


def straight(shift_mm, turn_deg=0.0, radius_mm=3.0):
    """A piece below a horizontal crack through the middle of ``half_and_half``."""
    centre = np.full(2, 100 * LATTICE_MM)
    waves = np.array([[0.0, 1.0, 0.0]])
    return Flap(centre, np.array([0.0, 1.0]), radius_mm, np.asarray(shift_mm), np.radians(turn_deg), waves)


def test_a_shifted_piece_leaves_glass_and_takes_its_labels_along():
    """Ten lattice rows down and five to the right: known pixel by pixel where the piece is rigid."""
    before = half_and_half()
    flap = straight((10 * LATTICE_MM, 5 * LATTICE_MM))
    after = displaced(before, [(flap, np.zeros((0, 7)))])
    assert (after.labels[:101] == before.labels[:101]).all()
    assert (after.labels[101:110, 80:120] == BACKGROUND).all()
    for name in ("labels", "depth"):
        moved, still = getattr(after, name), getattr(before, name)
        assert (moved[111:122, 80:120] == still[101:112, 75:115]).all()
    assert (after.labels[195:] == before.labels[195:]).all()  # beyond the reach


@pytest.mark.parametrize("level", ["easy", "standard"])
def test_nothing_is_displaced_below_the_level_hard(level):
    assert random_flaps(np.random.default_rng(0), half_and_half(), LEVELS[level]) == []


def test_a_turned_piece_turns_its_cells():
    before = half_and_half()
    after = displaced(before, [(straight((0.3, 0.0), 5.0), np.zeros((0, 7)))])
    rigid = np.s_[112:120, 112:125]  # away from where the depth jumps
    turned = after.angle[rigid].astype(int) - before.angle[rigid]
    assert turned == pytest.approx(5.0 * 256 / 360, abs=1)
    assert (after.angle[:100] == before.angle[:100]).all()


@pytest.mark.parametrize("seed", range(20))
def test_displacement_never_folds_tissue(seed):
    flap = Flap.random(np.random.default_rng(seed), np.zeros(2))
    points = np.random.default_rng(seed).uniform(-6, 6, (2000, 2))
    h = 1e-4
    jacobian = np.stack([(flap.origin(points + h * e) - flap.origin(points - h * e)) / (2 * h) for e in np.eye(2)], -1)
    assert np.linalg.det(jacobian).min() > 0.1
    edges = flap.tears(np.random.default_rng(seed))
    still, gone = np.split(edges[:, 1:3], 2)
    assert flap.origin(gone) == pytest.approx(still, abs=1e-3)


@pytest.fixture(scope="module")
def hard():
    return PhantomBrain(3, 8.0, [-90.0, -84.0], ["left"], "hard")


def test_displaced_tissue_is_where_the_labels_say(hard):
    """Deep inside what the labels call glass no tissue is drawn, gaps of displaced pieces included."""
    image, labels = hard.sections[1].image, hard.sections[1].labels
    tears = image.fields().tears
    assert len(tears)
    seen = 0
    for row, column in np.rint(tears[:, 1:3] / 0.008).astype(int)[::10]:
        window = (int(row) - 100, int(column) - 100, 200, 200)
        gap = ndimage.binary_erosion(labels.read(*window) == BACKGROUND, iterations=8)
        dusty = image.read(*window)[gap] < image.background - 40
        seen += gap.sum()
        assert dusty.sum() <= 0.05 * max(gap.sum(), 1)
    assert seen > 1000


def test_a_hard_section_does_not_depend_on_its_neighbours(hard):
    alone = PhantomBrain(3, 8.0, [-84.0], ["left"], "hard").sections[0].image
    row, column = alone.shape[0] // 2, alone.shape[1] // 3
    both = hard.sections[1].image.read(row, column, 300, 300)
    assert (alone.read(row, column, 300, 300) == both).all()
    assert (alone.read(row + 40, column + 60, 100, 100) == both[40:140, 60:160]).all()


def test_sections_of_a_batch_share_their_staining_and_batches_differ():
    batches = [[StainBatch.at(y, seed, HARD) for y in np.arange(-100.0, -40.0, 1.2)] for seed in range(300)]
    logs = np.log([[b.strength for b in brain] for brain in batches])
    changes = (np.diff(logs, axis=1) != 0).sum(axis=1)
    assert changes.mean() == pytest.approx(58.8 / BATCH_MM, abs=0.3)  # as many borders of batches as the length has
    assert logs.std() == pytest.approx(np.sqrt(2) * HARD.batch_spread, rel=0.1)
    two_batches_on = np.diff(logs[:, ::10], axis=1)
    assert two_batches_on.std() == pytest.approx(np.sqrt(2) * HARD.batch_spread, rel=0.1)
    assert HARD.batch_spread >= 3 * HARD.stain_spread  # far less inside a batch
    assert StainBatch.at(-80.0, 0, LEVELS["easy"]) == StainBatch.at(-80.0, 0, LEVELS["standard"]) == StainBatch()


@pytest.mark.parametrize(
    ("batch", "density"),
    [
        (StainBatch(), 0.10),
        (StainBatch(strength=1.5), 0.15),
        (StainBatch(neuropil=0.7), 0.07),
        (StainBatch(contrast=1.2), 0.9 * (0.10 / 0.9) ** 1.2),
    ],
)
def test_staining_of_white_matter_follows_its_batch(batch, density):
    """Optical density 0.10 without cells, by the definition of strength, paleness and contrast."""
    white = replace(half_and_half(), labels=np.full((200, 200), WHITE_MATTER, np.uint8))
    level = replace(LEVELS["easy"], stain_spread=0.0)
    drawn = SectionRenderer(white, depth_profiles(texture_layers()), 2.0, 1, level, batch)
    grey = drawn.render(1000, 1000, 500, 500)
    assert np.log(drawn.background / np.median(grey)) == pytest.approx(density, abs=0.008)
