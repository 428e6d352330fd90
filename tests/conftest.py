"""Settings of all tests, and the fixtures of preset folders; Keras is imported only by those who ask for them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Two workers share two cores with TensorFlow: the time of a single example says nothing.
settings.register_profile("cytokeras", deadline=None)
settings.load_profile("cytokeras")


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
