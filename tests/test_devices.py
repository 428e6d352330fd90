"""Training in half precision, compiled by XLA, on several devices, and on several hosts."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from _small_brain import small_brain

from cytokeras.errors import UserError
from cytokeras.models import SiameseDistanceNet
from cytokeras.training import join_hosts, training_scope

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from _training_inputs import Task
from training_steps import LOSS_BATCH, keras_model

HERE = Path(__file__).parent
STEPS = 6
BFLOAT16_TOLERANCE = 0.05
"""Relative; bfloat16 has 8 bits of mantissa, and errors of 0.4 % a layer add up over two dozen layers."""


def losses_of(model: keras.Model, task: Task) -> list[float]:
    """Losses of the first steps, all of one batch."""
    inputs, targets = task.batch(0)
    return [float(model.train_on_batch(inputs, targets, return_dict=True)["loss"]) for _ in range(STEPS)]


def test_bfloat16_and_xla_train_as_float32_does(tmp_path) -> None:
    task = Task("siamese", 16.0, LOSS_BATCH["siamese"], widths=(4,) * 6)
    expected = losses_of(keras_model(task, jit_compile=False), task)
    before = keras.config.dtype_policy().name
    with training_scope(precision="bfloat16"):
        model = keras_model(task, jit_compile=True)
    assert keras.config.dtype_policy().name == before
    assert model.jit_compile
    convolution = next(layer for layer in model._flatten_layers() if layer.name == "texture_block3_conv1")
    assert convolution.compute_dtype == "bfloat16"
    losses = losses_of(model, task)
    np.testing.assert_allclose(losses, expected, rtol=BFLOAT16_TOLERANCE)
    assert losses[-1] < losses[0] and expected[-1] < expected[0]
    model.save_pretrained(tmp_path / "preset")
    loaded = type(model).from_pretrained(tmp_path / "preset")
    for one, other in zip(loaded.weights, model.weights, strict=True):
        assert one.dtype == other.dtype == "float32"
        np.testing.assert_array_equal(np.array(one), np.array(other))


def test_two_devices_of_one_host_train_as_one() -> None:
    pytest.importorskip("tensorflow", reason="MirroredStrategy is TensorFlow's")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(HERE.parent),
    }
    command = [sys.executable, str(HERE / "_replica_training.py")]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-3000:]
    found = json.loads(process.stdout)
    assert found["replicas"] == 2
    assert found["alone"][-1] < 0.99 * found["alone"][0]
    np.testing.assert_allclose(found["shared"], found["alone"], rtol=1e-4)
    assert found["largest_difference"] < 1e-3


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(UserError, match="bfloat16"), training_scope(precision="half"):
        pass


def test_more_devices_than_there_are_are_refused() -> None:
    if keras.backend.backend() == "torch":
        pytest.skip("Keras' PyTorch backend has one device")
    with pytest.raises(UserError, match="this host has"), training_scope(devices=1000):
        pass


def test_several_hosts_need_jax() -> None:
    if keras.backend.backend() == "jax":
        pytest.skip("the backend is JAX")
    with pytest.raises(UserError, match="KERAS_BACKEND=jax"):
        join_hosts()


def _has_jax() -> bool:
    return importlib.util.find_spec("jax") is not None


def outputs_on_jax(program: Path, processes: list[list[str]]) -> list[str]:
    """What processes of one program, each with arguments of its own, print on JAX and a CPU."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent)}
    # Compiling without optimization halves the time of the test.
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = [
        subprocess.Popen([sys.executable, str(program), *arguments], env=environment, **pipes)
        for arguments in processes
    ]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    for process, output in zip(started, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]
    return outputs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


needs_jax = pytest.mark.skipif(not _has_jax(), reason="several hosts are trained on by JAX, which is not installed")


@needs_jax
def test_two_processes_train_as_one(tmp_path) -> None:
    small_brain().save(tmp_path / "brain", progress=False)
    options = "--widths 4 4 4 4 4 4 --patches 24 --pairs 24 --epochs 3 --batch-size 8 --interval 3"
    hosts = ["--coordinator", f"localhost:{free_port()}", "--processes", "2"]
    runs = {"one": [[]], "two": [[*hosts, "--process", str(number)] for number in range(2)]}
    for name, processes in runs.items():
        common = [str(tmp_path / name), str(tmp_path / "brain"), *options.split()]
        outputs_on_jax(HERE.parent / "examples" / "train_multi_host.py", [[*common, *more] for more in processes])
    one, two = (np.genfromtxt(tmp_path / name / "log.csv", delimiter=",", names=True) for name in runs)
    assert one["step"].tolist() == two["step"].tolist() == [3, 6, 9]
    assert one["loss"][-1] != one["loss"][0]
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-4)
    nets = [SiameseDistanceNet.from_pretrained(tmp_path / name / "preset") for name in runs]
    for weight, other in zip(*(net.weights for net in nets), strict=True):
        np.testing.assert_allclose(np.array(other), np.array(weight), rtol=1e-3, atol=1e-4, err_msg=weight.path)


@needs_jax
def test_two_processes_go_on_from_one_folder(tmp_path) -> None:
    where = [str(tmp_path), f"localhost:{free_port()}", "2"]
    outputs = outputs_on_jax(HERE / "_process_training.py", [[*where, str(number)] for number in range(2)])
    assert all("all of them must see the run folder. Process 0 has [2, 0]" in output for output in outputs)
    assert not (tmp_path / "elsewhere").exists()
    logs = [np.genfromtxt(tmp_path / run / "log.csv", delimiter=",", names=True) for run in ("whole", "stopped")]
    for column in ("phase", "step", "loss", "val_loss", "learning_rate"):
        np.testing.assert_array_equal(logs[1][column], logs[0][column])
    first, *others = [np.load(path) for path in sorted(tmp_path.glob("*.npz"))]
    assert len(others) == 3  # two processes, whole and stopped
    for other in others:
        for name in first:
            np.testing.assert_array_equal(other[name], first[name])
