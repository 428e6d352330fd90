"""Runs that are stopped and go on: the same weights at the end, whatever happened in between."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
from _dense_training import KillAt, Killed, batches_from, dense_training
from _small_brain import network, small_brain

from cytokeras.errors import UserError
from cytokeras.training import FinetuningRecipe, Phase, RunFolder, StopOnDivergence, finetune, load_state, save_state
from cytokeras.training.finetuning import finetuning_settings

pytest.importorskip("tensorflow", reason="the pipelines feed networks through tf.data")

RECIPE = FinetuningRecipe(
    "tiny",
    "for this test",
    phases=(Phase(1, 1e-2, False, halve_at=None), Phase(3, 1e-2, True, atlas_rate_factor=3.0, halve_at=None)),
    batch_size=2,
    clip_norm=1.0,
    ema_momentum=0.8,
    augment="histology",
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return dense_training(tmp_path_factory.mktemp("run") / "whole")


def log_of(run):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in run.rows()]


# Before the first checkpoint, with it, in a last short interval, within one; benchmarks/kill_points.py takes twenty.
@pytest.mark.parametrize("batch", [1, 4, 13, 20])
def test_kill_points_end_alike(tmp_path, undisturbed, batch):
    expected, whole = undisturbed
    with pytest.raises(Killed):
        dense_training(tmp_path / "run", [KillAt(batch)])
    model, run = dense_training(tmp_path / "run")
    for one, two in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert log_of(run) == log_of(whole)
    best = [keras.models.clone_model(model) for _ in range(2)]
    best[0].load_weights(run.best)
    best[1].load_weights(whole.best)
    for one, two in zip(best[0].get_weights(), best[1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_phases_end_at_their_own_number_of_steps(undisturbed):
    rows = log_of(undisturbed[1])
    places = [(int(row["phase"]), int(row["step"])) for row in rows]
    assert places == [(1, 4), (1, 8), (1, 12), (1, 13), (2, 4), (2, 8), (2, 9)]
    assert {"loss", "val_loss", "learning_rate"} <= set(rows[0])


def test_complete_run_gives_its_weights_back(tmp_path, undisturbed):
    folder = shutil.copytree(undisturbed[1].path, tmp_path / "run")
    model, _ = dense_training(folder, [KillAt(1)])  # nothing is trained any more
    for one, two in zip(model.get_weights(), undisturbed[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_run_folder_keeps_settings_log_curves_and_events(undisturbed):
    run = RunFolder(undisturbed[1].path, {"seed": 4})
    run.draw_curves()
    assert json.loads((run.path / "config.json").read_text()) == {"seed": 4}
    assert run.curves.read_bytes().startswith(b"\x89PNG")
    assert len(list(run.events.rglob("events.out.tfevents.*"))) == 2
    assert float(run.last_scores()["val_loss"]) > 0


def test_finetuning_goes_on_from_a_checkpoint(tmp_path, eager):
    def train(folder, callbacks=()):
        unet, brain = network(), small_brain()
        finetune(unet, brain, RECIPE, run=folder, interval=2, callbacks=callbacks, verbose=0)
        return unet.get_weights()

    whole = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "stopped", [KillAt(4)])
    for one, two in zip(train(tmp_path / "stopped"), whole, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)


def test_run_with_other_settings_is_refused(tmp_path):
    RunFolder(
        tmp_path / "run", finetuning_settings(network(), small_brain(), RECIPE, seed=0, interval=100, validate=False)
    )
    with pytest.raises(UserError, match=r"recipe.batch_size 2 \(now 3\)"):
        finetune(network(), small_brain(), replace(RECIPE, batch_size=3), run=tmp_path / "run", verbose=0)


def test_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and holds no config\.json"):
        RunFolder(tmp_path, {"seed": 0})
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_state_of_another_network_is_refused_and_changes_nothing(tmp_path):
    small, large = (keras.Sequential([keras.Input((3,)), keras.layers.Dense(n)]) for n in (2, 4))
    save_state(tmp_path / "state.h5", small, None, {"step": 3})
    before = large.get_weights()
    with pytest.raises(UserError, match="of another network"):
        load_state(tmp_path / "state.h5", large, None)
    assert all((a == b).all() for a, b in zip(before, large.get_weights(), strict=True))
    (tmp_path / "state.h5").write_bytes(b"half a file")
    with pytest.raises(UserError, match="cannot be read as the state of a training"):
        load_state(tmp_path / "state.h5", small, None)


def test_exploding_loss_stops_with_the_last_good_weights():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2, use_bias=False)])
    model.compile(keras.optimizers.SGD(30.0), "mse", run_eagerly=True)
    before = model.get_weights()[0]
    with pytest.raises(UserError, match=r"it began with .* in epoch 1, batch \d+ \(step \d+\)"):
        model.fit(batches_from(0), steps_per_epoch=50, callbacks=[StopOnDivergence()], verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before)


KILLED_SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from _dense_training import dense_training
import keras, time

class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.2)

dense_training({folder!r}, [Slow()])
"""


def test_killed_process_leaves_a_run_that_goes_on(tmp_path, undisturbed):
    folder = tmp_path / "run"
    code = KILLED_SCRIPT.format(tests=str(__file__).rpartition("/")[0], folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (folder / "state.h5").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "state.h5").exists(), process.stderr.read().decode()
    model, run = dense_training(folder)
    assert log_of(run) == log_of(undisturbed[1])
    for one, two in zip(model.get_weights(), undisturbed[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
