"""Training against the same networks in plain PyTorch, from equal weights: losses, rates, momentum, decay."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the peer is written in PyTorch")
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from _torch_networks import training_step
from _training_inputs import Task
from training_steps import LOSS_BATCH, keras_step

STEPS = {"siamese": 20, "unet": 6}
"""``benchmarks/training_steps.py loss`` takes 50."""


@pytest.mark.parametrize("network", STEPS)
def test_losses_are_those_of_pytorch(network: str) -> None:
    task = Task(network, 16.0, batch_size=LOSS_BATCH[network], widths=(4, 4, 4, 4, 4, 4))
    ours, theirs = keras_step(task), training_step(task)
    batches = [task.batch(number) for number in range(4)]
    pairs = [(ours(*batches[n % 4]), theirs(*batches[n % 4])) for n in range(STEPS[network])]
    assert pairs[-1][0] < pairs[0][0]
    for one, other in pairs:
        assert one == pytest.approx(other, rel=1e-3)
