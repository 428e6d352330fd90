"""Publishing, loading and losing the Hub: the real huggingface_hub client against a loopback server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _loopback_hub import TOKEN, Fault, LoopbackHub
from _presets import predictions

from cytokeras.cli import main
from cytokeras.errors import UserError
from cytokeras.hub import _hub_errors, push_folder
from cytokeras.hub.preset_files import PRESET_FILES

pytest.importorskip("huggingface_hub")

from cytokeras.models import SiameseDistanceNet

WEIGHTS = "GET /lab/net/resolve/.*/model.weights.h5"


def load(cache: Path, source: str = "hf://lab/net", **arguments: Any) -> Any:
    return SiameseDistanceNet.from_pretrained(source, cache_dir=cache, **{"token": False, **arguments})


def assert_same_predictions(one: Any, two: Any) -> None:
    expected, received = predictions(one), predictions(two)
    for name, value in expected.items():
        np.testing.assert_allclose(received[name], value, rtol=1e-5, atol=1e-5)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited between attempts, by us or by huggingface_hub."""
    waited: list[float] = []
    monkeypatch.setattr(_hub_errors.time, "sleep", waited.append)
    return waited


# === Publishing ===


def test_published_versions_are_listed_and_loaded_by_tag(hub: LoopbackHub, hub_net: Any, cache: Path) -> None:
    from huggingface_hub import HfApi

    first = hub_net.push_to_hub("lab/new", token=TOKEN, private=True)
    assert (first.source, first.tag) == ("hf://lab/new@v1", "v1")
    other = SiameseDistanceNet.from_config(hub_net.get_config())
    second = other.push_to_hub("lab/new", token=TOKEN, commit_message="better")
    assert second.tag == "v2"
    assert hub.repositories["lab/new"].private
    tags = HfApi(endpoint=hub.address, token=TOKEN).list_repo_refs("lab/new").tags
    assert [tag.name for tag in tags] == ["v1", "v2"]
    assert_same_predictions(load(cache, first.source, token=TOKEN), hub_net)
    assert_same_predictions(load(cache, "lab/new", revision="v2", token=TOKEN), other)
    assert_same_predictions(load(cache, "lab/new", token=TOKEN), other)


def test_nothing_but_the_files_of_a_preset_is_uploaded(hub: LoopbackHub, hub_net: Any, tmp_path: Path) -> None:
    folder = hub_net.save_pretrained(tmp_path / "preset", golden=True)
    (folder / "passwords.txt").write_text("secret", encoding="utf-8")
    (folder / "sub").mkdir()
    (folder / "sub" / "config.json").write_text("{}", encoding="utf-8")
    push_folder(folder, "lab/new", token=TOKEN)
    repository = hub.repositories["lab/new"]
    files = repository.commits[repository.branches["main"]]
    assert set(files) == {*PRESET_FILES, "golden.npz", ".gitattributes"}
    assert files["model.weights.h5"] == (folder / "model.weights.h5").read_bytes()


def test_card_of_the_repository_is_kept_unless_one_is_given(hub: LoopbackHub, hub_net: Any) -> None:
    repository = hub.add("lab/new", {"README.md": b"mine"})
    hub_net.push_to_hub("lab/new", token=TOKEN)
    assert repository.commits[repository.tags["v1"]]["README.md"] == b"mine"
    hub_net.push_to_hub("lab/new", token=TOKEN, card="yours")
    assert repository.commits[repository.tags["v2"]]["README.md"] == b"yours"


def test_new_repository_gets_a_card_that_says_how_to_load_it(hub: LoopbackHub, hub_net: Any) -> None:
    hub_net.push_to_hub("lab/new", token=TOKEN)
    repository = hub.repositories["lab/new"]
    card = repository.commits[repository.tags["v1"]]["README.md"].decode()
    assert 'from_pretrained("hf://lab/new")' in card


def test_card_that_the_hub_refuses(hub: LoopbackHub, hub_net: Any) -> None:
    with pytest.raises(UserError, match="the Hub refuses the model card"):
        hub_net.push_to_hub("lab/new", token=TOKEN, card="bad card")
    assert hub.repositories["lab/new"].tags == {}


def test_push_to_a_branch_leaves_main_alone(hub: LoopbackHub, hub_net: Any) -> None:
    before = hub.repositories["lab/net"].branches["main"]
    hub_net.push_to_hub("lab/net", token=TOKEN, revision="dev", tag="dev-1")
    repository = hub.repositories["lab/net"]
    assert repository.branches["main"] == before
    assert repository.branches["dev"] == repository.tags["dev-1"] != before


def test_existing_tag_is_not_moved_and_nothing_is_sent(hub: LoopbackHub, hub_net: Any) -> None:
    with pytest.raises(UserError, match="the tag 'v1' exists already"):
        hub_net.push_to_hub("lab/net", token=TOKEN, tag="v1")
    assert not any("commit" in request or "upload" in request for request in hub.requests)


def test_damaged_folder_is_not_sent(hub: LoopbackHub, hub_net: Any, tmp_path: Path) -> None:
    folder = hub_net.save_pretrained(tmp_path / "preset")
    with (folder / "model.weights.h5").open("ab") as file:
        file.write(b"!")
    with pytest.raises(UserError, match=r"model\.weights\.h5: is damaged or was replaced"):
        push_folder(folder, "lab/new", token=TOKEN)
    assert hub.requests == []


def test_push_without_permission(hub: LoopbackHub, hub_net: Any) -> None:
    with pytest.raises(UserError, match="status 401; the access token is invalid or lacks permission"):
        hub_net.push_to_hub("lab/new", token="hf_wrong")


def test_push_without_connection(hub_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port, where nobody listens
    with pytest.raises(UserError, match="hf://lab/new: the Hub cannot be reached"):
        hub_net.push_to_hub("lab/new", token=TOKEN)


@pytest.mark.parametrize("repo_id", ["new", "lab/new@v1", "lab/x/new"])
def test_push_to_a_malformed_name_is_refused(hub_net: Any, repo_id: str) -> None:
    with pytest.raises(UserError, match=r"repo_id must be 'org/name'\. Received"):
        hub_net.push_to_hub(repo_id)


def test_commands_publish_and_download(
    hub: LoopbackHub, hub_net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = hub_net.save_pretrained(tmp_path / "preset", golden=True)
    assert main(["push", str(folder), "lab/new", "--private"]) == 0
    assert "hf://lab/new@v1" in capsys.readouterr().out
    copy = tmp_path / "copy"
    command = ["download", "hf://lab/new@v1", "--out", str(copy), "--cache-dir", str(tmp_path / "cache")]
    assert main(command) == 0
    assert {entry.name for entry in copy.iterdir()} == {*PRESET_FILES, "golden.npz"}
    assert main(["info", str(copy), "--check"]) == 0
    assert "as when it was written" in capsys.readouterr().out
    assert main(command) == 2
    assert "exists" in capsys.readouterr().err


# === Faults ===


def test_without_server_everything_comes_from_the_cache(
    hub: LoopbackHub, hub_net: Any, cache: Path, waits: list[float]
) -> None:
    load(cache, "hf://lab/net@v1")
    hub.stop()
    assert_same_predictions(load(cache, "hf://lab/net@v1"), hub_net)
    assert_same_predictions(load(cache, "hf://lab/net@v1", local_files_only=True), hub_net)
    with pytest.raises(UserError, match="revision 'main' is not in the cache"):
        load(cache)


def test_busy_hub_is_asked_again(hub: LoopbackHub, hub_net: Any, cache: Path, waits: list[float]) -> None:
    hub.faults = [Fault("GET /api/models/lab/net/revision", 2, status=429)]
    assert_same_predictions(load(cache), hub_net)
    assert waits


@pytest.mark.parametrize(
    ("pattern", "status", "message"),
    [
        ("/revision/", 429, r"status 429 \(too many requests\); try again later"),
        ("/revision/", 500, "status 500, a fault of its own; try again later"),
        ("/tree/", 500, "status 500, a fault of its own; try again later"),
        (WEIGHTS, 500, "status 500, a fault of its own; try again later"),
        (WEIGHTS, 429, "status 429"),
    ],
)
def test_hub_that_stays_faulty_is_named_and_leaves_no_poison(
    hub: LoopbackHub, hub_net: Any, cache: Path, waits: list[float], pattern: str, status: int, message: str
) -> None:
    hub.faults = [Fault(pattern, 1000, status=status)]
    with pytest.raises(UserError, match=message):
        load(cache)
    assert sum(waits) > 0
    hub.faults = []
    assert_same_predictions(load(cache), hub_net)


def test_connection_cut_once_in_the_weights(
    hub: LoopbackHub, hub_net: Any, hub_preset: dict[str, bytes], cache: Path, waits: list[float]
) -> None:
    hub.faults = [Fault(WEIGHTS, 1, cut_at=len(hub_preset["model.weights.h5"]) // 2)]
    assert_same_predictions(load(cache), hub_net)
    assert sum("model.weights.h5" in request for request in hub.requests if request.startswith("GET")) == 2


def test_connection_cut_for_good_in_the_weights(
    hub: LoopbackHub, hub_net: Any, hub_preset: dict[str, bytes], cache: Path, waits: list[float]
) -> None:
    half = len(hub_preset["model.weights.h5"]) // 2
    hub.faults = [Fault(WEIGHTS, 1000, cut_at=half)]
    with pytest.raises(UserError, match="the Hub cannot be reached, or the connection broke"):
        load(cache)
    assert not list(cache.rglob("snapshots/*/model.weights.h5"))
    with pytest.raises(UserError, match="not in the cache, or not completely"):
        load(cache, local_files_only=True)
    hub.faults = []
    assert_same_predictions(load(cache), hub_net)


def test_names_that_lead_out_of_the_folder_are_not_downloaded(
    hub: LoopbackHub, hub_preset: dict[str, bytes], cache: Path
) -> None:
    evil = {"../../evil.json": b"{}", "/evil.json": b"{}", "sub/../../../evil.json": b"{}"}
    hub.add("lab/net", {**hub_preset, **evil})
    load(cache)
    assert not list(cache.parent.rglob("*evil*"))
    assert not any("GET" in request and "evil" in request for request in hub.requests)


def test_two_processes_that_ask_at_once_get_the_same(hub: LoopbackHub, hub_net: Any, cache: Path) -> None:
    hub.slow_s = 0.2
    script = (
        "import sys, numpy as np\n"
        "from _presets import predictions\n"
        "from cytokeras.models import SiameseDistanceNet\n"
        "net = SiameseDistanceNet.from_pretrained('hf://lab/net', cache_dir=sys.argv[1], token=False)\n"
        "np.savez(sys.argv[2], **predictions(net))\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    results = [cache.parent / f"{number}.npz" for number in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(cache), str(result)], env={**os.environ, "PYTHONPATH": paths}
        )
        for result in results
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    for result in results:
        with np.load(result) as arrays:
            for name, value in predictions(hub_net).items():
                np.testing.assert_allclose(arrays[name], value, rtol=1e-5, atol=1e-5)
    assert not list(cache.rglob("*.incomplete"))
