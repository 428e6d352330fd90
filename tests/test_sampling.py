from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from _balls import BALL, RADIUS, brain, section
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import zeta

from cytokeras.brain.labels import VISUAL_SCHEME
from cytokeras.brain.section import Section
from cytokeras.errors import UserError
from cytokeras.phantom import PhantomBrain
from cytokeras.sampling import CortexLocations, CortexPairs, sample_cortex, sample_pairs, write_samples
from cytokeras.sampling._degree_graph import power_law_degrees, random_simple_graph

COMMON = brain(section(0.0), section(5.0, "test"), section(12.0))
LOCATIONS = sample_cortex(COMMON, 3000, seed=1, split=None)


# --- places ---------------------------------------------------------------------------------------------


def test_places_lie_on_the_mid_surface_and_on_their_section():
    centre = np.where(LOCATIONS.hemisphere[:, None] == 0, [-25.0, 0, 0], [25.0, 0, 0])
    distance = np.linalg.norm(LOCATIONS.position_mm - centre, axis=1)
    np.testing.assert_allclose(distance, RADIUS, rtol=3e-3)
    heights = np.array([0.0, 5.0, 12.0])[LOCATIONS.section]
    np.testing.assert_allclose(LOCATIONS.position_mm[:, 1], heights, atol=1e-9)


def test_pixels_and_positions_agree():
    for index, each in enumerate(COMMON.sections):
        mine = LOCATIONS[LOCATIONS.section == index]
        back = each.pixel_to_mm(np.stack([mine.row, mine.column], axis=1))
        np.testing.assert_allclose(back, mine.position_mm, atol=1e-9)


def test_obliqueness_of_a_ball_is_its_latitude():
    latitude = np.degrees(np.arcsin(np.abs(LOCATIONS.position_mm[:, 1]) / RADIUS))
    np.testing.assert_allclose(LOCATIONS.obliqueness_deg, latitude, atol=4.0)  # faces are flat, 5° wide


def test_curvature_of_a_ball():
    np.testing.assert_allclose(LOCATIONS.curvature_per_mm, 1 / RADIUS, rtol=2e-3)


def test_places_are_uniform_over_the_length_of_the_ribbon():
    circles = np.sqrt(RADIUS**2 - np.array([0.0, 5.0, 12.0]) ** 2)
    expected = 3000 * circles / circles.sum()
    counts = np.bincount(LOCATIONS.section)
    assert np.abs(counts - expected).max() < 4 * np.sqrt(1000)
    centre = np.where(LOCATIONS.hemisphere == 0, -25.0, 25.0)
    angle = np.arctan2(LOCATIONS.position_mm[:, 2], LOCATIONS.position_mm[:, 0] - centre)
    sectors = np.histogram(angle, 10, (-np.pi, np.pi))[0]
    assert ((sectors - 300) ** 2 / 300).sum() < 27.9  # chi square, 9 degrees of freedom, p = 0.001


def test_inflated_coordinates_of_the_right_hemisphere_are_mirrored():
    direction = np.where(LOCATIONS.hemisphere[:, None] == 0, [1.0, 1, 1], [-1.0, 1, 1])
    centre = np.where(LOCATIONS.hemisphere[:, None] == 0, [-25.0, 0, 0], [25.0, 0, 0])
    expected = 2 * (LOCATIONS.position_mm - centre) * direction
    np.testing.assert_allclose(LOCATIONS.inflated_mm, expected, atol=0.01)


def test_oblique_cuts_are_left_out():
    assert LOCATIONS.obliqueness_deg.max() <= 45
    with pytest.raises(UserError, match="no allowed place"):
        sample_cortex(brain(section(18.0)), 10)
    steep = sample_cortex(brain(section(18.0)), 10, max_obliqueness_deg=80)
    assert steep.obliqueness_deg.min() > 55


def test_split_and_sections_choose():
    assert set(sample_cortex(COMMON, 50, split="test").section) == {1}
    assert set(sample_cortex(COMMON, 50).section) == {0, 2}
    assert set(sample_cortex(COMMON, 50, split=None, sections=["s12", 1]).section) == {1, 2}
    with pytest.raises(UserError, match="none of the 1 sections"):
        sample_cortex(COMMON, 50, split="test", sections=[0])
    with pytest.raises(UserError, match=r"no section with id 's13'\. Did you mean"):
        sample_cortex(COMMON, 50, sections=["s13"])
    with pytest.raises(UserError, match=r"0 … 2\. Received: 3"):
        sample_cortex(COMMON, 50, sections=[3])


def test_equal_seeds_give_equal_places():
    first, second, other = (sample_cortex(COMMON, 20, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.position_mm, second.position_mm)
    assert not np.array_equal(first.position_mm, other.position_mm)


def test_places_lie_inside_the_image():
    small = section(0.0, shape=(100, 700))  # 10 mm x 70 mm of a plane in which the balls are 40 mm high
    found = sample_cortex(brain(small), 200)
    assert len(found) == 200
    assert found.row.min() >= -0.5 and found.row.max() < 99.5
    assert np.abs(found.position_mm[:, 2]).max() <= 5.05


def test_thin_cortex_is_left_out():
    thickness = np.where(BALL.vertices[:, 2] > 0, 3.0, 0.0)
    found = sample_cortex(brain(section(1.0), thickness=thickness), 300)
    assert found.position_mm[:, 2].min() > -0.1 * RADIUS
    with pytest.raises(UserError, match="no allowed place"):
        sample_cortex(brain(section(1.0), thickness=0.2), 1)


def test_one_hemisphere_suffices_and_none_is_an_error():
    assert set(sample_cortex(brain(section(0.0), names=("right",)), 20).hemisphere) == {1}
    with pytest.raises(UserError, match="no surfaces"):
        sample_cortex(brain(section(0.0), names=()), 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": -1}, "count must be"),
        ({"count": 1, "max_obliqueness_deg": 91}, "max_obliqueness_deg"),
        ({"count": 1, "split": "validation"}, "split must be"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        sample_cortex(COMMON, **arguments)


def test_no_places_is_an_empty_table():
    assert len(sample_cortex(COMMON, 0)) == 0


def test_locations_reload_exactly(tmp_path):
    LOCATIONS.to_csv(tmp_path / "locations.csv")
    again = CortexLocations.from_csv(tmp_path / "locations.csv")
    for name in (
        "section",
        "row",
        "column",
        "hemisphere",
        "face",
        "barycentric",
        "position_mm",
        "inflated_mm",
    ):
        np.testing.assert_array_equal(getattr(again, name), getattr(LOCATIONS, name))
        assert getattr(again, name).dtype == getattr(LOCATIONS, name).dtype
    header = (tmp_path / "locations.csv").read_text().splitlines()[0]
    assert "row_px" in header and "position_x_mm" in header and "obliqueness_deg" in header


def test_empty_locations_reload(tmp_path):
    LOCATIONS[:0].to_csv(tmp_path / "none.csv")
    assert len(CortexLocations.from_csv(tmp_path / "none.csv")) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("row_px", "row"), "columns row_px are missing"),
        (lambda text: text.replace("\n0,", "\nzero,", 1), "line 2, section: a whole number expected"),
        (lambda text: text + "1,2\n", "line 4: 16 cells expected. Received: 2"),
    ],
)
def test_damaged_tables_are_refused_with_the_place(tmp_path, change, message):
    path = tmp_path / "locations.csv"
    LOCATIONS[:2].to_csv(path)
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=message) as caught:
        CortexLocations.from_csv(path)
    assert str(path) in str(caught.value)


# --- pairs ----------------------------------------------------------------------------------------------


def fitted_exponent(degrees: np.ndarray) -> float:
    """Maximum likelihood of the zeta law."""
    mean_log = np.log(degrees).mean()
    return minimize_scalar(lambda s: s * mean_log + np.log(zeta(s)), bounds=(1.5, 5), method="bounded").x


def test_zeta_law_of_mean_two_has_exponent_2_48():
    assert zeta(1.48) / zeta(2.48) == pytest.approx(2.0, abs=0.01)


def test_degrees_follow_the_power_law():
    degrees = power_law_degrees(20_000, 40_000, 2.48, np.random.default_rng(0))
    assert degrees.sum() == 40_000 and degrees.min() == 1
    assert fitted_exponent(degrees) == pytest.approx(2.48, abs=0.05)
    assert (degrees == 1).mean() == pytest.approx(1 / zeta(2.48), abs=0.02)


@given(st.integers(2, 40), st.floats(0, 1), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_random_graph_is_simple_and_has_its_degrees(size, share, seed):
    low, high = -(-size // 2), size * (size - 1) // 2
    count = low + round(share * (high - low))
    rng = np.random.default_rng(seed)
    degrees = power_law_degrees(size, 2 * count, 2.48, rng)
    edges = random_simple_graph(degrees, rng)
    assert edges.shape == (count, 2)
    np.testing.assert_array_equal(np.bincount(edges.ravel(), minlength=size), degrees)
    assert np.all(edges[:, 0] != edges[:, 1])
    assert len(np.unique(np.sort(edges, axis=1), axis=0)) == count
    assert degrees.min() >= 1


def test_random_graph_is_well_mixed():
    degrees = np.ones(20_000, np.int64)  # built in order, these would pair neighbours
    edges = random_simple_graph(degrees, np.random.default_rng(0))
    assert np.abs(edges[:, 0] - edges[:, 1]).mean() == pytest.approx(20_000 / 3, rel=0.03)


PAIRS = sample_pairs(COMMON, LOCATIONS, 3000, seed=2)


def test_pairs_keep_to_one_hemisphere_and_use_every_place():
    np.testing.assert_array_equal(LOCATIONS.hemisphere[PAIRS.i], LOCATIONS.hemisphere[PAIRS.j])
    assert len(PAIRS) == 3000
    assert set(PAIRS.i) | set(PAIRS.j) == set(range(3000))
    assert np.all(PAIRS.i != PAIRS.j)
    assert fitted_exponent(np.bincount(np.r_[PAIRS.i, PAIRS.j])) == pytest.approx(2.48, abs=0.12)


def test_pair_distances_follow_the_great_circle():
    centre = np.where(LOCATIONS.hemisphere[PAIRS.i][:, None] == 0, [-25.0, 0, 0], [25.0, 0, 0])
    a, b = (LOCATIONS.position_mm[each] - centre for each in (PAIRS.i, PAIRS.j))
    angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(axis=1))
    error = PAIRS.distance_mm - RADIUS * angle
    assert np.abs(error).mean() < 0.03 * RADIUS * angle.mean()


def test_pair_coordinates_are_those_of_the_places():
    np.testing.assert_array_equal(PAIRS.coordinates_a, LOCATIONS.inflated_mm[PAIRS.i])
    np.testing.assert_array_equal(PAIRS[:5].coordinates_b, LOCATIONS.inflated_mm[PAIRS.j[:5]])


def test_pairs_reload_exactly(tmp_path):
    PAIRS.to_csv(tmp_path / "pairs.csv")
    again = CortexPairs.from_csv(tmp_path / "pairs.csv", LOCATIONS)
    for name in ("i", "j", "distance_mm"):
        np.testing.assert_array_equal(getattr(again, name), getattr(PAIRS, name))
    with pytest.raises(UserError, match=r"pairs\.csv: CortexPairs: [ij] must lie in 0 … 9"):
        CortexPairs.from_csv(tmp_path / "pairs.csv", LOCATIONS[:10])


def test_equal_seeds_give_equal_pairs():
    few = LOCATIONS[:200]
    first, second = (sample_pairs(COMMON, few, 150, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.i, second.i)
    np.testing.assert_array_equal(first.distance_mm, second.distance_mm)


def one_side(count: int) -> CortexLocations:
    return LOCATIONS[np.flatnonzero(LOCATIONS.hemisphere == 0)[:count]]


@pytest.mark.parametrize("count", [3, 10])
def test_fewest_and_most_pairs_of_five_places(count):
    pairs = sample_pairs(COMMON, one_side(5), count)
    assert set(pairs.i) | set(pairs.j) == set(range(5))


@pytest.mark.parametrize(
    ("places", "count", "message"),
    [
        (one_side(5), 2, "need 3 … 10 pairs.*count=2"),
        (one_side(5), 11, "need 3 … 10 pairs.*count=11"),
        (one_side(1), 1, "left hemisphere has one place"),
    ],
)
def test_impossible_numbers_of_pairs_are_refused(places, count, message):
    with pytest.raises(UserError, match=message):
        sample_pairs(COMMON, places, count)


def test_pairs_need_the_surfaces_of_their_places():
    with pytest.raises(UserError, match="lacks the left surfaces"):
        sample_pairs(brain(section(0.0), names=("right",)), one_side(6), 6)


def test_exponent_must_exceed_one():
    with pytest.raises(UserError, match="exponent must be above 1"):
        sample_pairs(COMMON, one_side(6), 6, exponent=1.0)


def test_samples_are_written_once_and_read_again(tmp_path):
    folder_brain = brain(section(-3.0), section(4.0))
    first = write_samples(folder_brain, tmp_path, patches=40, pairs=50, seed=3)
    drawn = sample_pairs(folder_brain, sample_cortex(folder_brain, 40, seed=3), 50, seed=3)
    np.testing.assert_array_equal(first.distance_mm, drawn.distance_mm)
    stamp = (tmp_path / "locations.csv").stat().st_mtime_ns
    (tmp_path / "pairs.csv").unlink()  # as if interrupted
    again = write_samples(folder_brain, tmp_path, patches=40, pairs=50, seed=3)
    np.testing.assert_array_equal(again.distance_mm, first.distance_mm)
    assert (tmp_path / "locations.csv").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match=r"other settings: seed 3 \(now 4\); choose"):
        write_samples(folder_brain, tmp_path, patches=40, pairs=50, seed=4)


def test_samples_of_unknown_settings_are_not_taken(tmp_path):
    (tmp_path / "locations.csv").write_text("section\n")
    with pytest.raises(UserError, match=r"holds locations\.csv but no sample\.json"):
        write_samples(brain(section(-3.0)), tmp_path, patches=4, pairs=4)


@given(seed=st.integers(0, 1000), y_mm=st.floats(-95.0, -55.0))
@settings(max_examples=3)
def test_no_place_of_a_phantom_lies_outside_the_cortex_too_oblique_or_held_out(seed, y_mm):
    phantom = PhantomBrain(seed, 20.0, [y_mm, y_mm + 3.0], hemispheres=["left"], level="easy")
    sections = [
        Section(each.id, each.image, each.plane, each.labels, split)
        for each, split in zip(phantom.sections, ("train", "test"), strict=True)
    ]
    mixed = SimpleNamespace(name="mixed", sections=sections, surfaces=phantom.surfaces)
    table = sample_cortex(mixed, 200, seed=seed)
    assert set(table.section.tolist()) == {0}
    assert table.obliqueness_deg.max() <= 45.0
    labels = sections[0].labels
    found = np.array(
        [labels.read(round(r), round(c), 1, 1)[0, 0] for r, c in zip(table.row, table.column, strict=True)]
    )
    assert np.all(found >= VISUAL_SCHEME.names.index("other cortex"))
