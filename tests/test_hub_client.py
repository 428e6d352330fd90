"""Presets from the Hugging Face Hub: the real client against a loopback server, and an error for everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _loopback_hub import TOKEN, LoopbackHub

from cytokeras.errors import UserError
from cytokeras.hub import describe_preset, hub_client
from cytokeras.hub.hub_client import HubSource
from cytokeras.hub.preset_files import PRESET_FILES

pytest.importorskip("huggingface_hub")
pytest.importorskip("keras")

from cytokeras.models.siamese_distance_net import SiameseDistanceNet

# === Names ===


@pytest.mark.parametrize(
    ("source", "revision", "expected"),
    [
        ("lab/net", None, HubSource("lab/net")),
        ("hf://lab/net", "v1", HubSource("lab/net", "v1")),
        ("hf://lab/net@v1", None, HubSource("lab/net", "v1")),
        ("lab/net@feature/x", None, HubSource("lab/net", "feature/x")),
        ("net", None, None),
        ("a/b/c", None, None),
    ],
)
def test_source_is_read_as_a_repository(source: str, revision: str | None, expected: HubSource | None) -> None:
    assert HubSource.parse(source, revision) == expected


def test_hub_address_without_organisation_is_refused() -> None:
    with pytest.raises(UserError, match="must be 'hf://org/name'"):
        HubSource.parse("hf://net")


def test_two_revisions_are_refused() -> None:
    with pytest.raises(UserError, match="Two different revisions"):
        HubSource.parse("lab/net@v1", "v2")


# === Download ===


def test_model_is_loaded_from_the_hub(hub_net: Any, hub: LoopbackHub, cache: Path) -> None:
    loaded = SiameseDistanceNet.from_pretrained("hf://lab/net", cache_dir=cache, token=False)
    for before, after in zip(hub_net.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_only_the_files_of_a_preset_are_downloaded(hub: LoopbackHub, cache: Path) -> None:
    folder = hub_client.download(HubSource("lab/net"), PRESET_FILES, cache_dir=cache, token=False)
    assert {entry.name for entry in folder.iterdir()} == set(PRESET_FILES)


def test_revision_is_downloaded(hub: LoopbackHub, cache: Path) -> None:
    folder = hub_client.download(HubSource("lab/net", "v1"), ["config.json"], cache_dir=cache, token=False)
    assert folder.name == hub.repositories["lab/net"].tags["v1"]


def test_description_needs_no_weights(hub: LoopbackHub, cache: Path) -> None:
    description = describe_preset("lab/net@v1", cache_dir=cache, token=False)
    assert (description.name, description.class_name) == ("hf://lab/net@v1", "SiameseDistanceNet")
    assert not any("model.weights.h5" in request for request in hub.requests)


def test_cached_preset_needs_no_connection(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_client.download(HubSource("lab/net"), PRESET_FILES, cache_dir=cache, token=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.requests.clear()
    hub_client.download(HubSource("lab/net"), PRESET_FILES, cache_dir=cache, token=False)
    assert hub.requests == []


def test_private_repository_opens_with_a_token(hub: LoopbackHub, cache: Path) -> None:
    hub.repositories["lab/net"].private = True
    folder = hub_client.download(HubSource("lab/net"), ["config.json"], cache_dir=cache, token=TOKEN)
    assert (folder / "config.json").is_file()


# === Errors ===


def error_of(cache: Path, source: str = "lab/net", **arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        SiameseDistanceNet.from_pretrained(source, cache_dir=cache, **{"token": False, **arguments})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_absent_repository(hub: LoopbackHub, cache: Path) -> None:
    assert "hf://lab/nothing: no such repository, or it is private" in error_of(cache, "lab/nothing")


def test_absent_repository_may_have_been_a_path(hub: LoopbackHub, cache: Path) -> None:
    text = error_of(cache, "weights/nothing")
    assert text.endswith("Neither is there a folder or built-in preset 'weights/nothing'.")


def test_gated_repository(hub: LoopbackHub, cache: Path) -> None:
    hub.repositories["lab/net"].gated = True
    assert "hf://lab/net: is gated: accept its conditions" in error_of(cache)


def test_private_repository_without_token(hub: LoopbackHub, cache: Path) -> None:
    hub.repositories["lab/net"].private = True
    assert "it is private and the access token has no permission" in error_of(cache)


def test_absent_revision(hub: LoopbackHub, cache: Path) -> None:
    assert "hf://lab/net@v9: the repository has no branch, tag or commit 'v9'" in error_of(cache, revision="v9")


def test_absent_file(hub: LoopbackHub, hub_preset: dict[str, bytes], cache: Path) -> None:
    hub.add("lab/net", {name: hub_preset[name] for name in PRESET_FILES[:2]})
    assert "hf://lab/net: has no file model.weights.h5" in error_of(cache)


def test_preset_of_another_library(hub: LoopbackHub, hub_preset: dict[str, bytes], cache: Path) -> None:
    hub.add("lab/net", {**hub_preset, "config.json": b'{"model_type": "bert"}'})
    assert "this is no cytokeras preset" in error_of(cache)


def test_damaged_download(hub: LoopbackHub, hub_preset: dict[str, bytes], cache: Path) -> None:
    weights = hub_preset["model.weights.h5"]
    hub.add("lab/net", {**hub_preset, "model.weights.h5": weights[:-1] + b"!"})
    assert "hf://lab/net/model.weights.h5: is damaged or was replaced" in error_of(cache)


def test_newer_format(hub: LoopbackHub, hub_preset: dict[str, bytes], cache: Path) -> None:
    config = {**json.loads(hub_preset["config.json"]), "format_version": 2}
    hub.add("lab/net", {**hub_preset, "config.json": json.dumps(config).encode()})
    assert "2 is newer than 1" in error_of(cache)


def test_offline_and_not_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "is not in the cache, or not completely, and nothing may be downloaded" in error_of(cache)


def test_no_connection_and_not_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port, where nobody listens
    assert "the Hub cannot be reached and revision 'main' is not in the cache" in error_of(cache)
