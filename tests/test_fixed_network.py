"""Networks for one window size: the fast way and Keras' own agree, and few are kept."""

from __future__ import annotations

import numpy as np
import pytest
from _small_brain import network

from cytokeras.inference import _fixed_network
from cytokeras.inference._window_network import NetworkPool

SIZE = 194


@pytest.fixture(scope="module")
def unet():
    return network()


@pytest.fixture
def translated():
    """Skips where networks are not translated."""
    if not _fixed_network._lite_is_faster():
        pytest.skip("networks are translated with TensorFlow on CPUs where ai_edge_litert is installed")


def window(unet, seed=0):
    rng = np.random.default_rng(seed)
    shape = (*unet.atlas_field_of((SIZE, SIZE)).shape, unet.atlas_channels)
    return {
        "image": rng.integers(0, 256, (SIZE, SIZE, 1), dtype=np.uint8),
        "atlas": rng.random(shape, dtype=np.float32),
    }


def test_both_ways_predict_what_the_model_predicts(unet, translated, monkeypatch):
    networks = [NetworkPool(unet).network(SIZE, SIZE, True)]
    monkeypatch.setattr(_fixed_network, "_lite_is_faster", lambda: False)
    networks.append(NetworkPool(unet).network(SIZE, SIZE, True))
    for seed in range(2):  # the second window meets memory that the first one filled
        inputs = window(unet, seed)
        expected = unet.predict_on_batch({name: array[None] for name, array in inputs.items()})[0]
        for split in networks:
            np.testing.assert_allclose(split.predict(inputs), expected, atol=5e-6)


def test_translation_leaves_the_terminal_alone(unet, translated, capfd):
    NetworkPool(unet).network(SIZE, SIZE, False)
    captured = capfd.readouterr()
    assert "XNNPACK" not in captured.err + captured.out


def test_a_pool_keeps_the_networks_used_last(unet, monkeypatch):
    built = []
    monkeypatch.setattr(NetworkPool, "_build", lambda self, *key: built.append(key) or object())
    pool = NetworkPool(unet)
    first = pool.network(194, 226, False)
    turned = pool.network(226, 194, False)
    assert pool.network(194, 226, False) is first
    pool.network(194, 194, False)  # takes the place of the turned one, which was not used for longer
    assert pool.network(194, 226, False) is first
    assert pool.network(226, 194, False) is not turned
    assert len(built) == 4
