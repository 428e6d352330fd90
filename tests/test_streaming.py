"""Sections whose maps go to disk window by window: files, interruptions, averaging over symmetries."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tifffile
from _small_brain import SHAPE, network, section_image

from cytokeras.brain import ArrayImage
from cytokeras.errors import UserError
from cytokeras.inference import plan_windows, read_label_tiff, segment_section
from cytokeras.inference._map_store import Layer, MapStore
from cytokeras.models.folding import folded_copy


@pytest.fixture(scope="module")
def unet():
    return network(0)


@pytest.fixture(scope="module")
def image():
    return section_image()


@pytest.fixture(scope="module")
def expected(unet, image):
    return segment_section(unet, image, probabilities=True, uncertainty=True, window=274, progress=False)


def test_folding_changes_rounding_only():
    model = network()
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.integers(0, 256, (1, 194, 194, 1), dtype=np.uint8),
        "atlas": rng.random((1, *model.atlas_field.shape, 2), dtype=np.float32),
    }
    shapes = {name: array.shape[1:] for name, array in inputs.items()}
    folded = folded_copy(model, shapes)
    assert not any("Normalization" in type(layer).__name__ for layer in folded.layers)
    np.testing.assert_allclose(folded.predict_on_batch(inputs), model.predict_on_batch(inputs), atol=2e-6)
    without = folded_copy(model.without_atlas(), {"image": shapes["image"]})
    expected = model.without_atlas().predict_on_batch({"image": inputs["image"]})
    np.testing.assert_allclose(without.predict_on_batch({"image": inputs["image"]}), expected, atol=2e-6)


def test_files_hold_what_the_result_holds(unet, image, expected, tmp_path):
    output = tmp_path / "s1-labels.ome.tif"
    result = segment_section(
        unet, image, output=output, probabilities=True, uncertainty=True, window=274, progress=False
    )
    names = ["s1-labels.ome.tif", "s1-probabilities.ome.tif", "s1-uncertainty.ome.tif"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    np.testing.assert_array_equal(read_label_tiff(output).labels, expected.labels)
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)
    maps = tifffile.imread(tmp_path / names[1])
    np.testing.assert_allclose(np.moveaxis(maps, 0, -1) / 255, expected.probabilities, atol=0.5 / 255 + 1e-3)
    np.testing.assert_allclose(tifffile.imread(tmp_path / names[2]) / 255, expected.uncertainty, atol=0.5 / 255 + 1e-3)


def test_uncertainty_is_the_entropy_of_the_probabilities(expected):
    probabilities = expected.probabilities.astype(np.float64)
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=-1) / np.log(4)
    np.testing.assert_allclose(expected.uncertainty, entropy, atol=5e-3)


def test_an_output_that_exists_is_kept_unless_told(unet, image, tmp_path):
    output = tmp_path / "labels.ome.tif"
    output.write_text("mine")
    with pytest.raises(UserError, match=r"labels.ome.tif: exists already"):
        segment_section(unet, image, output=output, progress=False)
    assert output.read_text() == "mine"
    segment_section(unet, image, output=output, overwrite=True, progress=False)
    assert read_label_tiff(output).labels.shape == SHAPE


def test_averaging_is_the_mean_over_eight_symmetries(unet):
    size = 194
    pixels = np.random.default_rng(2).integers(0, 200, (size, size), dtype=np.uint8)
    cells = unet.field.output_size(size)
    offset = int(unet.field.offset)
    image = ArrayImage(pixels[offset : offset + cells, offset : offset + cells], 16.0, background=255)
    padded = np.full((size, size), 255, np.uint8)
    padded[offset : offset + cells, offset : offset + cells] = image.array
    answers = []
    for mirrored in (False, True):
        for turns in range(4):
            seen = np.rot90(padded[:, ::-1] if mirrored else padded, turns)
            answer = np.rot90(unet.predict_on_batch({"image": seen[None, ..., None]})[0], -turns)
            answers.append(answer[:, ::-1] if mirrored else answer)
    from cytokeras.inference._resampled_image import ResampledImage
    from cytokeras.inference._window_network import NetworkPool, WindowNetwork

    averaging = WindowNetwork(NetworkPool(unet), (size, size), ResampledImage(image, 16.0), None, None, symmetries=True)
    np.testing.assert_allclose(averaging.predict({"image": padded[..., None]}), np.mean(answers, axis=0), atol=1e-5)


def test_windows_of_an_averaged_section_leave_no_seams(unet, image):
    narrow, wide = (
        segment_section(unet, image, tta=True, probabilities=True, window=window, progress=False)
        for window in (274, 498)
    )
    assert wide.windows_computed == 1 < narrow.windows_computed
    np.testing.assert_allclose(narrow.probabilities, wide.probabilities, atol=1e-3)


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from _small_brain import network, section_image
from cytokeras.inference import segment_section
from cytokeras.inference._map_store import MapStore
write = MapStore.write
def killing(self, number, corner, arrays):
    if len(self.finished) == 5:
        start = corner[0] * self.shape[1] + corner[1]
        os.pwrite(self._files["labels"], b"\\x03" * 40, start)  # a write that was cut short
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, number, corner, arrays)
MapStore.write = killing
segment_section(network(0), section_image(), output={output!r}, window=274, probabilities=True, progress=False)
"""


def test_a_killed_run_goes_on_where_it_was(unet, image, expected, tmp_path):
    output = tmp_path / "labels.ome.tif"
    code = textwrap.dedent(KILLED.format(tests=os.path.dirname(__file__), output=str(output)))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert [path.name for path in tmp_path.iterdir()] == ["labels.ome.tif.unfinished"]
    other = network(0)
    other.get_layer("output_conv").set_weights([w + 1 for w in other.get_layer("output_conv").get_weights()])
    with pytest.raises(UserError, match=r"unfinished work with other settings: weights; delete"):
        segment_section(other, image, output=output, window=274, probabilities=True, progress=False)
    result = segment_section(unet, image, output=output, window=274, probabilities=True, progress=False)
    assert result.windows_resumed == 5 and result.windows_computed == len(plan_windows(unet.field, SHAPE, 274)) - 5
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels-probabilities.ome.tif", "labels.ome.tif"]


def test_a_full_disk_keeps_what_is_finished(tmp_path):
    store = MapStore(tmp_path / "s", (64, 1000), {"labels": Layer(1, np.uint8)}, {"a": 1})
    store.write(0, (0, 0), {"labels": np.ones((1, 10, 1000))})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        with pytest.raises(UserError, match=r"cannot be written to .*finished windows are kept"):
            store.write(1, (30, 0), {"labels": np.ones((1, 10, 1000))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    store.close()
    again = MapStore(tmp_path / "s", (64, 1000), {"labels": Layer(1, np.uint8)}, {"a": 1})
    assert again.finished == {0} and again.array("labels")[0, :10].all()
    again.close()


def test_no_room_is_told_before_work_begins(tmp_path):
    with pytest.raises(UserError, match=r"GB left, and .* GB are needed"):
        MapStore(tmp_path / "s", (1 << 20, 1 << 22), {"labels": Layer(16, np.float16)}, {})


def test_two_processes_do_not_write_one_output(tmp_path):
    store = MapStore(tmp_path / "s", (8, 8), {"labels": Layer(1, np.uint8)}, {})
    with pytest.raises(UserError, match="another process is working on this output"):
        MapStore(tmp_path / "s", (8, 8), {"labels": Layer(1, np.uint8)}, {})
    store.remove()
    assert not (tmp_path / "s").exists()


def test_a_torn_note_is_not_a_finished_window(tmp_path):
    folder = tmp_path / "s"
    store = MapStore(folder, (8, 8), {"labels": Layer(1, np.uint8)}, {})
    store.write(3, (0, 0), {"labels": np.ones((1, 2, 2))})
    store.close()
    with (folder / "finished.txt").open("a") as file:
        file.write("1")  # of a "12\n"
    store = MapStore(folder, (8, 8), {"labels": Layer(1, np.uint8)}, {})
    assert store.finished == {3}
    store.write(4, (0, 0), {"labels": np.ones((1, 2, 2))})
    store.close()
    assert (folder / "finished.txt").read_text() == "3\n4\n"
