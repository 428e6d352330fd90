"""The keras.utils.PyDataset form: the samples of the tf.data form, epochs, sharing, and training without TensorFlow."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _feeding import marked_pairs, three_class_brain
from hypothesis import given, settings
from hypothesis import strategies as st

from cytokeras.errors import UserError
from cytokeras.pipelines import pair_dataset, segmentation_dataset
from cytokeras.pipelines._feed import worker_shard
from cytokeras.pipelines._sample_order import SampleOrder

NARROW = (2, 2, 2, 2, 2, 2)


@pytest.fixture(scope="module")
def unet():
    from cytokeras.models import AtlasUNet

    return AtlasUNet(3, (258, 258, 1), 3, pixel_size_um=16.0, widths=NARROW)


def arrays(batch):
    inputs, targets = batch
    targets = targets if isinstance(targets, dict) else {"labels": targets}
    return {name: np.asarray(array) for name, array in {**inputs, **targets}.items()}


def assert_same(first, second):
    first, second = list(first), list(second)
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        a, b = arrays(a), arrays(b)
        assert list(a) == list(b)
        for name in a:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("options", [{}, {"shuffle": False, "drop_remainder": False}, {"augment": "histology"}])
def test_pairs_are_those_of_the_tf_data_form(options):
    pytest.importorskip("tensorflow")
    brain, pairs = marked_pairs()
    forms = [pair_dataset(brain, pairs, 9, 4, form=form, **options) for form in ("tf.data", "keras")]
    for _ in range(2):  # epochs
        assert_same(*forms)


@pytest.mark.parametrize("options", [{}, {"with_atlas": False}, {"augment": "histology"}, {"fixed": True}])
def test_labelled_samples_are_those_of_the_tf_data_form(unet, options):
    pytest.importorskip("tensorflow")
    brain = three_class_brain()
    forms = [segmentation_dataset(brain, unet, 2, steps_per_epoch=2, form=f, **options) for f in ("tf.data", "keras")]
    for _ in range(2):
        assert_same(*forms)


def test_repeat_gives_the_samples_of_the_tf_data_form():
    pytest.importorskip("tensorflow")
    brain, pairs = marked_pairs()
    forms = [pair_dataset(brain, pairs, 9, 4, repeat=True, form=form) for form in ("tf.data", "keras")]
    assert_same(*(itertools.islice(iter(form), 6) for form in forms))


def test_batches_may_be_taken_in_any_order():
    batches = pair_dataset(*marked_pairs(), 9, 2, form="keras")
    forwards = [arrays(batches[n]) for n in range(len(batches))]
    for n in (3, 0, 4, 4):
        np.testing.assert_array_equal(arrays(batches[n])["patch_a"], forwards[n]["patch_a"])
    with pytest.raises(IndexError):
        batches[5]


def test_an_epoch_that_was_only_looked_into_is_not_over():
    """Keras looks at the first batches to build a model, and then tells the dataset that the epoch has ended."""
    batches = pair_dataset(*marked_pairs(), 9, 2, form="keras")
    first = arrays(batches[0])["distance"]
    batches.on_epoch_end()
    np.testing.assert_array_equal(arrays(batches[0])["distance"], first)
    for n in range(1, 5):
        batches[n]
    batches.on_epoch_end()
    assert (arrays(batches[0])["distance"] != first).any()


def test_without_end_there_is_no_length():
    batches = pair_dataset(*marked_pairs(), 9, 2, form="keras", repeat=True)
    assert batches.num_batches is None
    with pytest.raises(TypeError):
        len(batches)


def test_batches_wait_on_the_device():
    import keras

    batches = pair_dataset(*marked_pairs(), 9, 2, form="keras", device="cpu:0")
    first = batches[0][0]["patch_a"]
    assert keras.ops.is_tensor(first)
    pytest.importorskip("tensorflow")
    dataset = pair_dataset(*marked_pairs(), 9, 2, form="tf.data", device="cpu:0")
    np.testing.assert_array_equal(next(iter(dataset))[0]["patch_a"], first)


def test_a_faulty_file_is_told_where_the_batch_is_asked_for():
    brain, pairs = marked_pairs()

    def fail(*_):
        raise UserError("s.tif: is truncated")

    brain.sections[0].image.read = fail
    with pytest.raises(UserError, match=r"s\.tif: is truncated"):
        list(pair_dataset(brain, pairs, 9, 10, form="keras"))


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_workers_share_every_batch(count, share, workers, epoch, shuffle):
    """Together they see the batches that one process would see, whatever their number."""
    size = share * workers
    whole = SampleOrder(count, size, 7, shuffle)
    parts = [SampleOrder(count, size, 7, shuffle, shard=(n, workers)) for n in range(workers)]
    for batch in range(whole.batches):
        together = sorted(sample for part in parts for sample in part.batch(epoch, batch))
        assert together == sorted(whole.batch(epoch, batch)) and len(together) == size


def test_shares_reach_both_forms():
    pytest.importorskip("tensorflow")
    brain, pairs = marked_pairs()
    whole = next(iter(pair_dataset(brain, pairs, 9, 10, form="keras")))[1]["distance"]
    for form in ("tf.data", "keras"):
        shares = [
            next(iter(pair_dataset(brain, pairs, 9, 10, form=form, shard=(n, 2))))[1]["distance"] for n in range(2)
        ]
        np.testing.assert_array_equal(np.stack(shares, axis=1).ravel(), whole)


def test_tf_config_gives_the_share(monkeypatch):
    assert worker_shard("auto") == worker_shard(None) == (0, 1)
    cluster = '{"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 2}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    assert worker_shard("auto") == (2, 3)
    assert worker_shard(None) == (0, 1)


@pytest.mark.parametrize("wrong", [{"shard": (2, 2)}, {"shard": (0, 3)}, {"form": "torch"}, {"workers": 0}])
def test_impossible_wishes_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        pair_dataset(*marked_pairs(), 9, 4, **{"form": "keras", **wrong})


WITHOUT_TENSORFLOW = """
import sys

class WithoutTensorFlow:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *arguments):
        return None if name.partition(".")[0] == "tensorflow" else self.finder.find_spec(name, *arguments)

sys.meta_path[:] = [WithoutTensorFlow(finder) for finder in sys.meta_path]
sys.path.insert(0, "tests")
import keras
import numpy as np
from _feeding import marked_pairs, three_class_brain

import cytokeras as ck

data = ck.pair_dataset(*marked_pairs(), 9, 2)
seen, draw = [], data._source.draw
data._source.draw = lambda epoch, index: (seen.append((epoch, index)), draw(epoch, index))[1]
patches = {name: keras.Input((9, 9, 1), name=name) for name in ("patch_a", "patch_b")}
both = keras.layers.Concatenate()([keras.layers.Flatten()(patch) for patch in patches.values()])
sizes = {"distance": 1, "coordinates_a": 3, "coordinates_b": 3}
net = keras.Model(patches, {name: keras.layers.Dense(size, name=name)(both) for name, size in sizes.items()})
net.compile(keras.optimizers.SGD(1e-9), dict.fromkeys(sizes, "mse"))
history = net.fit(data, epochs=2, shuffle=False, verbose=0)
assert np.isfinite(history.history["loss"]).all()
assert set(seen) == {(e, i) for e in range(2) for i in range(10)}, seen

unet = ck.AtlasUNet(3, (258, 258, 1), 0, pixel_size_um=16.0, widths=(2, 2, 2, 2, 2, 2))
images, labels = ck.segmentation_dataset(three_class_brain(), unet, 2, steps_per_epoch=1, augment="turn")[0]
assert images["image"].shape == (2, 258, 258, 1) and labels.shape == (2, 68, 68)
print("trained")
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_training_runs_where_tensorflow_is_not_installed(backend):
    pytest.importorskip(backend)
    root = Path(__file__).parent.parent
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(root)}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.stdout.strip() == "trained", result.stderr[-3000:]


def test_the_pipelines_import_no_backend():
    backends = "('tensorflow', 'keras', 'jax', 'torch')"
    code = f"import cytokeras.pipelines, sys; print([m for m in {backends} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
