"""Presets on the Hugging Face Hub, against a loopback server that speaks the few requests of a download."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.hub import describe_preset, hub_client
from cytokeras.hub.hub_client import HubSource
from cytokeras.hub.preset_files import PRESET_FILES

huggingface_hub = pytest.importorskip("huggingface_hub")
keras = pytest.importorskip("keras")

from cytokeras.models.siamese_distance_net import SiameseDistanceNet  # noqa: E402

TOKEN = "hf_loopback"
MAIN, TAGGED = "a" * 40, "b" * 40


class LoopbackHub(ThreadingHTTPServer):
    """Repositories as {name: {commit: {file: content}}}; ``gated`` and ``private`` ones ask for ``TOKEN``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        path = self.path.partition("?")[0]
        match = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+)/(revision|tree|resolve)/([^/]+)(?:/(.+))?", path)
        repository, kind, revision, name = match.groups() if match else ("", "", "", None)
        commits = self.server.repositories.get(repository)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if commits is None or (repository in self.server.private and not allowed):
            return self._refuse(404 if allowed else 401, "RepoNotFound")
        if repository in self.server.gated and not allowed:
            return self._refuse(403, "GatedRepo")
        commit = {"main": MAIN, "v1": TAGGED}.get(revision, revision)
        if commit not in commits:
            return self._refuse(404, "RevisionNotFound")
        files = commits[commit]
        if kind == "revision":
            return self._send(json.dumps({"id": repository, "sha": commit, "siblings": []}).encode(), commit)
        if kind == "tree":
            entries = [
                {"type": "file", "path": path, "size": len(content), "oid": _blob_id(content)}
                for path, content in files.items()
            ]
            return self._send(json.dumps(entries).encode(), commit)
        if name not in files:
            return self._refuse(404, "EntryNotFound")
        return self._send(files[name], commit)

    do_HEAD = do_GET

    def _send(self, content: bytes, commit: str, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{_blob_id(content)}"')
        self.send_header("X-Repo-Commit", commit)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self._send(b"{}", MAIN, status, X_Error_Code=code, X_Error_Message=code)

    def log_message(self, *_: object) -> None:
        """Keep standard error free of the access log."""


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture(scope="module")
def net() -> Any:
    return SiameseDistanceNet((131, 131, 1), pixel_size_um=16.0, widths=(2, 2, 2, 2, 2, 2))


@pytest.fixture(scope="module")
def preset(net: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = net.save_pretrained(tmp_path_factory.mktemp("hub") / "preset")
    return {name: (folder / name).read_bytes() for name in PRESET_FILES}


@pytest.fixture
def hub(preset: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    server = LoopbackHub()
    other = {**preset, "extra.bin": b"not for us"}
    server.repositories["lab/net"] = {MAIN: other, TAGGED: preset}
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


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


def test_model_is_loaded_from_the_hub(net: Any, hub: LoopbackHub, cache: Path) -> None:
    loaded = SiameseDistanceNet.from_pretrained("hf://lab/net", cache_dir=cache, token=False)
    for before, after in zip(net.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_only_the_files_of_a_preset_are_downloaded(hub: LoopbackHub, cache: Path) -> None:
    folder = hub_client.download(HubSource("lab/net"), PRESET_FILES, cache_dir=cache, token=False)
    assert {entry.name for entry in folder.iterdir()} == set(PRESET_FILES)


def test_revision_is_downloaded(hub: LoopbackHub, cache: Path) -> None:
    folder = hub_client.download(HubSource("lab/net", "v1"), ["config.json"], cache_dir=cache, token=False)
    assert folder.name == TAGGED


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
    hub.private.add("lab/net")
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
    hub.gated.add("lab/net")
    assert "hf://lab/net: is gated: accept its conditions" in error_of(cache)


def test_private_repository_without_token(hub: LoopbackHub, cache: Path) -> None:
    hub.private.add("lab/net")
    assert "it is private and the access token has no permission" in error_of(cache)


def test_absent_revision(hub: LoopbackHub, cache: Path) -> None:
    assert "hf://lab/net@v9: the repository has no branch, tag or commit 'v9'" in error_of(cache, revision="v9")


def test_absent_file(hub: LoopbackHub, preset: dict[str, bytes], cache: Path) -> None:
    hub.repositories["lab/net"][MAIN] = {name: preset[name] for name in PRESET_FILES[:2]}
    assert "hf://lab/net: has no file model.weights.h5" in error_of(cache)


def test_preset_of_another_library(hub: LoopbackHub, preset: dict[str, bytes], cache: Path) -> None:
    hub.repositories["lab/net"][MAIN] = {**preset, "config.json": b'{"model_type": "bert"}'}
    assert "this is no cytokeras preset" in error_of(cache)


def test_damaged_download(hub: LoopbackHub, preset: dict[str, bytes], cache: Path) -> None:
    weights = preset["model.weights.h5"]
    hub.repositories["lab/net"][MAIN] = {**preset, "model.weights.h5": weights[:-1] + b"!"}
    assert "hf://lab/net/model.weights.h5: is damaged or was replaced" in error_of(cache)


def test_newer_format(hub: LoopbackHub, preset: dict[str, bytes], cache: Path) -> None:
    config = {**json.loads(preset["config.json"]), "format_version": 2}
    hub.repositories["lab/net"][MAIN] = {**preset, "config.json": json.dumps(config).encode()}
    assert "2 is newer than 1" in error_of(cache)


def test_offline_and_not_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "is not in the cache, or not completely, and nothing may be downloaded" in error_of(cache)


def test_no_connection_and_not_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port, where nobody listens
    assert "the Hub cannot be reached and revision 'main' is not in the cache" in error_of(cache)


# === Upload ===


class RecordingApi:
    """Stands in for ``huggingface_hub.HfApi`` and keeps what it was asked to do."""

    calls: list[tuple[str, dict[str, Any]]]
    tags: tuple[str, ...] = ()
    has_card = False

    def __init__(self, **settings: Any) -> None:
        type(self).calls = [("settings", settings)]

    def create_repo(self, repo_id: str, **arguments: Any) -> None:
        self.calls.append(("create_repo", {"repo_id": repo_id, **arguments}))

    def list_repo_refs(self, repo_id: str) -> SimpleNamespace:
        return SimpleNamespace(tags=[SimpleNamespace(name=name) for name in self.tags])

    def create_branch(self, repo_id: str, **arguments: Any) -> None:
        self.calls.append(("create_branch", arguments))

    def file_exists(self, repo_id: str, name: str, revision: str | None) -> bool:
        return self.has_card

    def upload_folder(self, folder_path: Path, **arguments: Any) -> SimpleNamespace:
        files = {entry.name for entry in folder_path.iterdir()}
        card = (folder_path / "README.md").read_text(encoding="utf-8")
        self.calls.append(("upload_folder", {"files": files, "card": card, **arguments}))
        return SimpleNamespace(oid=MAIN, commit_url="https://hub/commit")

    def create_tag(self, repo_id: str, **arguments: Any) -> None:
        self.calls.append(("create_tag", arguments))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> type[RecordingApi]:
    class Api(RecordingApi):
        pass

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return Api


def test_push_uploads_the_four_files_in_one_commit(net: Any, api: type[RecordingApi]) -> None:
    assert net.push_to_hub("lab/new", private=True, token=TOKEN) == "https://hub/commit"
    calls = dict(api.calls)
    assert [name for name, _ in api.calls] == ["settings", "create_repo", "upload_folder"]
    assert calls["settings"]["token"] == TOKEN
    assert calls["create_repo"] == {"repo_id": "lab/new", "private": True, "exist_ok": True}
    assert calls["upload_folder"]["files"] == set(PRESET_FILES)
    assert set(calls["upload_folder"]["allow_patterns"]) == set(PRESET_FILES)
    assert 'from_pretrained("hf://lab/new")' in calls["upload_folder"]["card"]


def test_push_keeps_the_card_of_the_repository(net: Any, api: type[RecordingApi]) -> None:
    api.has_card = True
    net.push_to_hub("lab/new")
    assert "README.md" not in dict(api.calls)["upload_folder"]["allow_patterns"]


def test_push_replaces_the_card_with_a_given_one(net: Any, api: type[RecordingApi]) -> None:
    api.has_card = True
    net.push_to_hub("lab/new", card="mine")
    upload = dict(api.calls)["upload_folder"]
    assert "README.md" in upload["allow_patterns"]
    assert upload["card"] == "mine"


def test_push_tags_the_commit(net: Any, api: type[RecordingApi]) -> None:
    net.push_to_hub("lab/new", tag="v1", revision="dev")
    assert dict(api.calls)["create_branch"] == {"branch": "dev", "exist_ok": True}
    assert dict(api.calls)["create_tag"] == {"tag": "v1", "revision": MAIN}


def test_push_with_an_existing_tag_uploads_nothing(net: Any, api: type[RecordingApi]) -> None:
    api.tags = ("v1",)
    with pytest.raises(UserError, match="the tag 'v1' exists already"):
        net.push_to_hub("lab/new", tag="v1")
    assert "upload_folder" not in dict(api.calls)


def test_push_without_connection(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="hf://lab/new: the Hub cannot be reached"):
        net.push_to_hub("lab/new", token=TOKEN)


@pytest.mark.parametrize("repo_id", ["new", "lab/new@v1", "lab/x/new"])
def test_push_to_a_malformed_name_is_refused(net: Any, repo_id: str) -> None:
    with pytest.raises(UserError, match=r"repo_id must be 'org/name'\. Received"):
        net.push_to_hub(repo_id)
