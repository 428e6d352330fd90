"""Settings of all tests, and the fixtures of preset folders; Keras is imported only by those who ask for them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from _loopback_hub import LoopbackHub

# Two workers share two cores with TensorFlow: the time of a single example says nothing.
settings.register_profile("cytokeras", deadline=None)
settings.load_profile("cytokeras")


@pytest.fixture(autouse=True)
def seeded_weights() -> None:
    """Every test draws the same initial weights, whichever tests ran before it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(1)


@pytest.fixture
def eager() -> Iterator[None]:
    """Run steps eagerly: tracing a network takes longer than the few steps of a test."""
    tf = pytest.importorskip("tensorflow", reason="the pipelines feed networks through tf.data")
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def small_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one hemisphere of an easy phantom in two sections of 20 µm, one to train on and one to test on."""
    pytest.importorskip("nilearn", reason="the phantom is drawn on the fsaverage5 surfaces that nilearn ships")
    from cytokeras.brain import Brain, Section
    from cytokeras.phantom import PhantomBrain

    drawn = PhantomBrain(5, 20.0, sections_mm=[-92.0, -84.0], hemispheres=["left"], level="easy")
    first, second = drawn.sections
    sections = [first, Section(second.id, second.image, second.plane, second.labels, split="test")]
    brain = Brain(drawn.name, drawn.space, drawn.labels, sections, drawn.surfaces, drawn.atlas, synthetic=True)
    folder = tmp_path_factory.mktemp("brain") / "phantom"
    brain.save(folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def preset_unet() -> Any:
    from _presets import randomise, tiny_unet

    return randomise(tiny_unet())


@pytest.fixture(scope="module")
def saved_unet(preset_unet: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("presets") / "tiny-unet"
    return preset_unet.save_pretrained(
        folder,
        metadata={
            "description": "Smallest network.",
            "recipe": {"optimizer": "SGD", "rate": 0.05},
            "data": {"description": "phantom", "synthetic": True},
            "license": "Apache-2.0",
            "scores": {"test": {"dice": 0.81}},
        },
    )


@pytest.fixture
def preset_folder(saved_unet: Path, tmp_path: Path) -> Path:
    """A copy of the saved network to damage."""
    return Path(shutil.copytree(saved_unet, tmp_path / "preset"))


@pytest.fixture(scope="session")
def hub_net() -> Any:
    from _presets import randomise

    from cytokeras.models import SiameseDistanceNet

    return randomise(SiameseDistanceNet((131, 131, 1), pixel_size_um=16.0, widths=(2, 2, 2, 2, 2, 2)))


@pytest.fixture(scope="session")
def hub_preset(hub_net: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = hub_net.save_pretrained(tmp_path_factory.mktemp("hub") / "preset")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


@pytest.fixture
def hub(hub_preset: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub with ``lab/net``, whose tag v1 is another commit than main, as the environment names it."""
    from _loopback_hub import running_hub

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    # Uploads by Xet go to a storage service of their own; the loopback server takes them as every server can.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with running_hub() as server:
        repository = server.add("lab/net", {**hub_preset, "extra.bin": b"not for us"})
        repository.tags["v1"] = repository.commit(hub_preset)
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache of Hub downloads."""
    return tmp_path / "cache"
