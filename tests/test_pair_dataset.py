"""pair_dataset: what the batches hold and in which order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from _feeding import locations_of

from cytokeras.brain import VISUAL_SCHEME, ArrayImage, Brain, Section, SectionPlane
from cytokeras.errors import UserError
from cytokeras.pipelines import pair_dataset
from cytokeras.sampling import CortexPairs

tf = pytest.importorskip("tensorflow")

PLANE = SectionPlane([[0, 0.016, 0], [-0.016, 0, 0]], [0, 0, 0], [1, 0, 0], [0, 0, 1])
SIZE = 9
PIXELS = np.random.default_rng(0).integers(0, 250, (3, 60, 80), dtype=np.uint8)


class CountingImage(ArrayImage):
    """An image that counts how often it is read."""

    reads = 0

    def read(self, *args, **kwargs):
        self.reads += 1
        return super().read(*args, **kwargs)


@pytest.fixture
def brain():
    sections = [Section(f"s{n}", CountingImage(pixels, 16.0), PLANE) for n, pixels in enumerate(PIXELS)]
    return Brain("marked", "test", VISUAL_SCHEME, sections, {})


@pytest.fixture
def pairs():
    """Ten pairs whose distance is their number."""
    rng = np.random.default_rng(2)
    i, j = rng.integers(0, 15, (2, 10))  # places 15 to 19 are in no pair
    return CortexPairs(i, j, np.arange(10.0), locations_of(20))


def order(dataset, batches=None):
    """Numbers of the pairs in the order they come."""
    return [int(d) for _, targets in itertools.islice(dataset, batches) for d in targets["distance"]]


def test_every_patch_is_centred_on_its_place(brain, pairs):
    places = pairs.locations
    inputs, _ = next(iter(pair_dataset(brain, pairs, SIZE, 10, shuffle=False)))
    for name, index in (("patch_a", pairs.i), ("patch_b", pairs.j)):
        rows, columns = np.rint(places.row[index]).astype(int), np.rint(places.column[index]).astype(int)
        expected = PIXELS[places.section[index], rows, columns]
        np.testing.assert_array_equal(inputs[name][:, SIZE // 2, SIZE // 2, 0], expected)


def test_targets_are_those_of_the_pairs(brain, pairs):
    _, targets = next(iter(pair_dataset(brain, pairs, SIZE, 10, shuffle=False)))
    np.testing.assert_array_equal(targets["distance"], np.arange(10))
    np.testing.assert_allclose(targets["coordinates_a"], pairs.locations.inflated_mm[pairs.i], rtol=1e-6)
    np.testing.assert_allclose(targets["coordinates_b"], pairs.locations.inflated_mm[pairs.j], rtol=1e-6)


def test_patches_and_targets_stay_together_when_shuffled(brain, pairs):
    plain_inputs, plain = next(iter(pair_dataset(brain, pairs, SIZE, 10, shuffle=False)))
    inputs, targets = next(iter(pair_dataset(brain, pairs, SIZE, 10)))
    moved = targets["distance"].numpy().astype(int)
    np.testing.assert_array_equal(inputs["patch_b"], plain_inputs["patch_b"].numpy()[moved])
    np.testing.assert_array_equal(targets["coordinates_b"], plain["coordinates_b"].numpy()[moved])


def test_shapes_and_types_are_known_before_the_first_batch(brain, pairs):
    patch = tf.TensorSpec((4, SIZE, SIZE, 1), tf.uint8)
    place = tf.TensorSpec((4, 3), tf.float32)
    assert pair_dataset(brain, pairs, SIZE, 4).element_spec == (
        {"patch_a": patch, "patch_b": patch},
        {"distance": tf.TensorSpec((4,), tf.float32), "coordinates_a": place, "coordinates_b": place},
    )


@pytest.mark.parametrize(("drop_remainder", "batches"), [(True, 2), (False, 3)])
def test_the_number_of_batches_is_known(brain, pairs, drop_remainder, batches):
    dataset = pair_dataset(brain, pairs, SIZE, 4, drop_remainder=drop_remainder)
    assert dataset.cardinality() == batches == len(list(dataset))


def test_every_epoch_visits_every_pair_once_in_a_new_order(brain, pairs):
    dataset = pair_dataset(brain, pairs, SIZE, 5)
    first, second = order(dataset), order(dataset)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_orders_follow_from_the_seed(brain, pairs):
    def epochs(seed, workers):
        dataset = pair_dataset(brain, pairs, SIZE, 5, seed=seed, workers=workers)
        return [order(dataset) for _ in range(3)]

    assert epochs(3, 1) == epochs(3, 4)
    assert epochs(3, 1) != epochs(4, 1)


def test_orders_do_not_depend_on_the_global_generators(brain, pairs):
    first = order(pair_dataset(brain, pairs, SIZE, 5))
    np.random.seed(5)
    tf.random.set_seed(5)
    assert order(pair_dataset(brain, pairs, SIZE, 5)) == first


def test_a_resumed_run_sees_what_the_uninterrupted_run_sees(brain, pairs):
    whole = pair_dataset(brain, pairs, SIZE, 5)
    epochs = [order(whole) for _ in range(3)]
    assert order(pair_dataset(brain, pairs, SIZE, 5, initial_epoch=2)) == epochs[2]


def test_repeat_goes_through_the_epochs_without_end(brain, pairs):
    dataset = pair_dataset(brain, pairs, SIZE, 5)
    epochs = [n for _ in range(3) for n in order(dataset)]
    endless = pair_dataset(brain, pairs, SIZE, 4, repeat=True)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert order(endless, 7) == epochs[:28]
    assert order(endless, 7) == epochs[:28]


@pytest.mark.parametrize("form", ["tf.data", "keras"])
@pytest.mark.parametrize("step", [1, 4, 9])
def test_a_run_goes_on_from_any_step(brain, pairs, form, step):
    arguments = {"repeat": True, "form": form, "seed": 3, "initial_epoch": 1}
    whole = order(pair_dataset(brain, pairs, SIZE, 4, **arguments), 14)
    resumed = order(pair_dataset(brain, pairs, SIZE, 4, initial_step=step, **arguments), 14 - step)
    assert resumed == whole[4 * step :]


def test_initial_step_without_repeat_is_refused(brain, pairs):
    with pytest.raises(UserError, match="needs repeat=True"):
        pair_dataset(brain, pairs, SIZE, 4, initial_step=2)


def test_fit_takes_one_epoch_of_the_order_an_epoch(brain, pairs):
    import keras

    seen = []

    class Recorder(keras.Model):
        def train_step(self, data):
            seen.append([int(d) for d in data[1]["distance"]])
            return {"loss": tf.constant(0.0)}

    dataset = pair_dataset(brain, pairs, SIZE, 5)
    expected = [order(dataset) for _ in range(3)]
    recorder = Recorder()
    recorder.compile(run_eagerly=True)
    fresh = pair_dataset(brain, pairs, SIZE, 5)
    recorder.fit(fresh, epochs=3, verbose=0, shuffle=False)
    assert [seen[2 * n] + seen[2 * n + 1] for n in range(3)] == expected


def test_the_cache_gives_the_same_batches(brain, pairs):
    plain = next(iter(pair_dataset(brain, pairs, SIZE, 10)))
    cached = next(iter(pair_dataset(brain, pairs, SIZE, 10, cache=True, progress=False)))
    tf.nest.map_structure(np.testing.assert_array_equal, plain, cached)


def test_the_cache_reads_every_place_of_a_pair_once(brain, pairs):
    dataset = pair_dataset(brain, pairs, SIZE, 5, cache=True, progress=False)
    for _ in range(3):
        order(dataset)
    used = len(np.unique([pairs.i, pairs.j]))
    assert sum(section.image.reads for section in brain.sections) == used < 20


def test_a_cache_that_is_too_small_is_refused_with_the_size_needed(brain, pairs):
    needed = len(np.unique([pairs.i, pairs.j])) * SIZE**2
    pair_dataset(brain, pairs, SIZE, 5, cache=needed, progress=False)
    with pytest.raises(UserError, match=f"cache={needed}"):
        pair_dataset(brain, pairs, SIZE, 5, cache=needed - 1)


def test_no_pairs_are_refused(brain, pairs):
    with pytest.raises(UserError, match="pairs is empty"):
        pair_dataset(brain, pairs[:0], SIZE, 5)


def test_fewer_pairs_than_a_batch_are_refused_unless_the_remainder_counts(brain, pairs):
    with pytest.raises(UserError, match="10 pairs do not fill one batch of 32"):
        pair_dataset(brain, pairs, SIZE)
    assert len(order(pair_dataset(brain, pairs, SIZE, drop_remainder=False))) == 10


def test_a_brain_with_too_few_sections_is_refused(brain, pairs):
    small = Brain("small", "test", VISUAL_SCHEME, brain.sections[:1], {})
    with pytest.raises(UserError, match="section index 2, but those of brain 'small' are 0 to 0"):
        pair_dataset(small, pairs, SIZE, 5)


def test_another_pixel_size_than_that_of_the_network_is_refused(brain, pairs):
    with pytest.raises(UserError, match=r"'s0' has pixels of 16 µm, but the network expects 8 µm"):
        pair_dataset(brain, pairs, SIZE, 5, pixel_size_um=8.0)


def test_sections_that_no_pair_uses_may_have_another_pixel_size(brain, pairs):
    other = Section("other", ArrayImage(PIXELS[0], 2.0), PLANE)
    larger = Brain("larger", "test", VISUAL_SCHEME, [*brain.sections, other], {})
    pair_dataset(larger, pairs, SIZE, 5, pixel_size_um=16.0)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": 0}, {"seed": -1}, {"patch_size": 0}])
def test_numbers_out_of_range_are_named(brain, pairs, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        pair_dataset(brain, pairs, **{"patch_size": SIZE, "batch_size": 5, **wrong})
