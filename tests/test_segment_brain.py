"""Whole brains: what is missing is done, what fails is told, workers may die."""

from __future__ import annotations

import csv
import os
import signal
import threading
import time

import numpy as np
import pytest
from _small_brain import network, small_brain

from cytokeras.brain import Brain
from cytokeras.errors import UserError
from cytokeras.inference import _brain_job as job_module
from cytokeras.inference import read_label_tiff, segment_brain, segment_section


@pytest.fixture(scope="module")
def unet():
    return network()


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain") / "ball"
    small_brain().save(folder, progress=False)
    return Brain.open(folder)


@pytest.fixture(scope="module")
def done(unet, brain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    return segment_brain(unet, brain, folder, progress=False)


def test_every_section_and_the_whole_brain_are_written(done, unet, brain):
    sections = [f"s{n}-{kind}" for n in range(3) for kind in ("labels.ome.tif", "outlines.geojson")]
    whole = ["labels-left.label.gii", "labels.nii.gz", "segmentation.json"]
    assert sorted(path.name for path in done.folder.iterdir()) == sorted(sections + whole)
    assert sorted(done.computed) == ["s0", "s1", "s2"] and not done.failed and len(done.maps) == 2
    expected = segment_section(unet, brain.sections[1], atlas=brain.atlas, progress=False)
    written = read_label_tiff(done.folder / "s1-labels.ome.tif")
    assert written.used_atlas
    np.testing.assert_array_equal(written.labels, expected.labels)


def test_a_second_run_does_only_what_is_missing(done, unet, brain, monkeypatch):
    (done.folder / "s1-outlines.geojson").unlink()
    (done.folder / "s2-labels.ome.tif").unlink()
    segmented = []
    real = job_module.segment_section

    def noting(net, section, **rest):
        segmented.append(section.id)
        return real(net, section, **rest)

    monkeypatch.setattr(job_module, "segment_section", noting)
    again = segment_brain(unet, brain, done.folder, progress=False)
    assert segmented == ["s2"] and sorted(again.computed) == ["s1", "s2"] and again.present == ["s0"]
    assert (done.folder / "s1-outlines.geojson").exists() and len(again.maps) == 2


def test_another_network_does_not_mix_in(done, brain):
    other = network()
    other.get_layer("output_conv").set_weights([w + 1 for w in other.get_layer("output_conv").get_weights()])
    with pytest.raises(UserError, match="holds a segmentation made with other settings: weights; choose"):
        segment_brain(other, brain, done.folder, progress=False)


def test_parts_share_the_sections_and_the_last_puts_them_together(unet, brain, tmp_path):
    first = segment_brain(unet, brain, tmp_path, part=(1, 2), outlines=False, progress=False)
    assert sorted(first.computed) == ["s0", "s2"] and not first.maps
    second = segment_brain(unet, brain, tmp_path, part=(2, 2), outlines=False, progress=False)
    assert second.computed == ["s1"] and len(second.maps) == 2
    with pytest.raises(UserError, match="Received: 3/2"):
        segment_brain(unet, brain, tmp_path, part=(3, 2), progress=False)


def test_failures_are_tried_again_then_told_and_the_others_go_on(unet, brain, tmp_path, monkeypatch):
    attempts = {"s0": 0, "s1": 0}
    real = job_module.segment_section

    def failing(net, section, **rest):
        if section.id in attempts:
            attempts[section.id] += 1
            if section.id == "s0" or attempts["s1"] == 1:
                raise RuntimeError("the scanner was on fire")
        return real(net, section, **rest)

    monkeypatch.setattr(job_module, "segment_section", failing)
    result = segment_brain(unet, brain, tmp_path, retries=1, progress=False)
    assert attempts == {"s0": 2, "s1": 2}
    assert sorted(result.computed) == ["s1", "s2"] and not result.maps
    assert result.failed == {"s0": "RuntimeError: the scanner was on fire"}
    with (tmp_path / "failed.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"section": "s0", "problem": result.failed["s0"]}]
    monkeypatch.setattr(job_module, "segment_section", real)
    assert segment_brain(unet, brain, tmp_path, progress=False).computed == ["s0"]
    assert not (tmp_path / "failed.csv").exists()


def test_a_damaged_image_costs_only_its_section(unet, brain, tmp_path):
    small_brain().save(tmp_path / "brain", progress=False)
    opened = Brain.open(tmp_path / "brain")
    image = next((tmp_path / "brain").rglob("*s1*.tif*"))
    image.write_bytes(image.read_bytes()[:3000])
    result = segment_brain(unet, opened, tmp_path / "out", progress=False)
    assert list(result.failed) == ["s1"] and sorted(result.computed) == ["s0", "s2"]


def test_dask_needs_a_brain_on_disk(unet, tmp_path):
    with pytest.raises(UserError, match="save it and open its folder"):
        segment_brain(unet, small_brain(), tmp_path, scheduler="local", progress=False)


def test_a_scheduler_that_does_not_answer_is_told(unet, brain, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="dask is not installed")
    monkeypatch.setattr("cytokeras.inference._dask_cluster._ANSWER_TIMEOUT_S", 1)
    with pytest.raises(UserError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        segment_brain(unet, brain, tmp_path, scheduler="tcp://127.0.0.1:9", progress=False)


def test_a_worker_killed_in_the_middle_costs_no_section(done, unet, brain, tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster,
        distributed.Client(cluster) as client,
    ):
        killed = []

        def kill_when_busy():
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and not list(tmp_path.glob("*.unfinished/finished.txt")):
                time.sleep(0.01)
            for worker in client.run(os.getpid).values():
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

        watcher = threading.Thread(target=kill_when_busy)
        watcher.start()
        result = segment_brain(
            unet, brain, tmp_path, scheduler=cluster.scheduler_address, window=258, outlines=False, progress=False
        )
        watcher.join()
    assert killed and not result.failed and sorted(result.computed) == ["s0", "s1", "s2"]
    for id in result.computed:
        name = f"{id}-labels.ome.tif"
        np.testing.assert_array_equal(
            read_label_tiff(tmp_path / name).labels, read_label_tiff(done.folder / name).labels
        )


def test_a_worker_keeps_a_network_by_what_is_in_it(tmp_path):
    folders = [str(network(seed).save_pretrained(tmp_path / str(seed))) for seed in (0, 1)]
    kept = job_module._networks(folders[0], "a")
    assert job_module._networks(str(tmp_path / "of another brain"), "a") is kept
    assert job_module._networks(folders[1], "b").model is not kept.model
