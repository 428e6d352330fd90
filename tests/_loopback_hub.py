"""A Hugging Face Hub on this machine, for the real client: the requests of a download and of an upload, and faults."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

TOKEN = "hf_loopback"
PUBLIC_ADDRESS = "https://huggingface.co"  # what commits are said to stand at; huggingface_hub 1.0 expects it
LFS_SUFFIXES = (".h5", ".npz")


@dataclass
class Repository:
    """Commits (file -> content), and what points at them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self, files: dict[str, bytes], salt: str = "") -> str:
        """Add a commit that no branch points at; returns its id."""
        text = salt + str(len(self.commits)) + "".join(sorted(files))
        oid = hashlib.sha1(text.encode()).hexdigest()
        self.commits[oid] = dict(files)
        return oid

    def find(self, revision: str) -> str | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return oid if oid in self.commits else None


@dataclass
class Fault:
    """What happens to requests whose method and path match, ``times`` times.

    ``status`` answers with it; ``cut_at`` sends that many bytes of the content and closes the connection.
    """

    pattern: str
    times: int
    status: int = 0
    cut_at: int = -1


class LoopbackHub(ThreadingHTTPServer):
    """The server. ``requests`` holds method and path of every request; ``slow_s`` delays contents of files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.slow_s = 0.0
        self.stopped = False
        self.lock = Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes]) -> Repository:
        repository = Repository()
        repository.branches["main"] = repository.commit(files)
        self.repositories[name] = repository
        return repository

    def stop(self) -> None:
        """Answer nothing any more, on connections that are open neither."""
        self.stopped = True
        self.shutdown()
        self.server_close()

    def fault_for(self, request: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None


@contextlib.contextmanager
def running_hub() -> Iterator[LoopbackHub]:
    server = LoopbackHub()
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.stop()


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self._begin()
        if path is None:
            return
        if path.startswith("/api/") and path.endswith("/refs"):
            repository = self._repository(path.removeprefix("/api/models/").removesuffix("/refs"))
            if repository:
                self._send_json(
                    {kind: _references(getattr(repository, kind), kind) for kind in ("branches", "tags")}
                    | {"converts": []}
                )
            return
        match = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+)/(revision|tree|resolve)/([^/]+)(?:/(.+))?", path)
        repository = self._repository(match[1] if match else "")
        if repository is None:
            return
        oid = repository.find(match[3])
        if oid is None:
            return self._refuse(404, "RevisionNotFound")
        files = repository.commits[oid]
        if match[2] == "revision":
            return self._send_json({"id": match[1], "sha": oid, "siblings": []}, oid)
        if match[2] == "tree":
            return self._send_json([_tree_entry(name, content) for name, content in files.items()], oid)
        if match[4] not in files:
            return self._refuse(404, "EntryNotFound")
        if self.command == "GET":
            time.sleep(self.server.slow_s)
        self._send(files[match[4]], oid)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self._begin()
        if path is None:
            return
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "")
        if path == "/api/validate-yaml":
            bad = "bad card" in json.loads(body)["content"]
            return self._send_json(
                {"errors": [{"message": "no such licence"}]} if bad else {}, status=400 if bad else 200
            )
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            return self._send_json(
                {"transfer": "basic", "objects": [self._upload(o) for o in json.loads(body)["objects"]]}
            )
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|tag|branch)/([^/]+)", path)
        repository = self._repository(match[1] if match else "")
        if repository is None:
            return
        if match[2] == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._send_json({"files": modes})
        if match[2] == "commit":
            return self._commit(repository, match[1], match[3], body)
        if match[2] == "tag":
            tag = json.loads(body)["tag"]
            if tag in repository.tags:
                return self._refuse(409, "")
            repository.tags[tag] = repository.find(match[3]) or ""
        else:
            repository.branches.setdefault(match[3], repository.branches["main"])
        self._send_json({})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        path = self._begin()
        if path is not None:
            assert hashlib.sha256(content).hexdigest() == path.removeprefix("/upload/")
            self.server.uploads[path.removeprefix("/upload/")] = content
            self._send_json({})

    def _begin(self) -> str | None:
        """Note the request and return its path, or answer with a fault and return None."""
        if self.server.stopped:
            self.close_connection = True
            return None
        request = f"{self.command} {self.path}"
        self.server.requests.append(request)
        self.fault = self.server.fault_for(request)
        if self.fault and self.fault.status:
            self._send(b"{}", status=self.fault.status)
            return None
        return self.path.partition("?")[0]

    def _repository(self, name: str) -> Repository | None:
        """Return a repository, or answer that it is absent, private or gated."""
        repository = self.server.repositories.get(name)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not allowed):
            self._refuse(404 if allowed else 401, "RepoNotFound")
            return None
        if repository.gated and not allowed:
            self._refuse(403, "GatedRepo")
            return None
        return repository

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
        if name in self.server.repositories:
            return self._send_json({"url": f"{self.server.address}/{name}"}, status=409)
        repository = self.server.add(name, {".gitattributes": b""})
        repository.private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
        self._send_json({"url": f"{self.server.address}/{name}"})

    def _upload(self, item: dict[str, Any]) -> dict[str, Any]:
        href = f"{self.server.address}/upload/{item['oid']}"
        return {**item, "actions": {"upload": {"href": href}}}

    def _commit(self, repository: Repository, name: str, branch: str, body: bytes) -> None:
        files = dict(repository.commits[repository.branches[branch]])
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.uploads[value["oid"]]
        oid = repository.branches[branch] = repository.commit(files)
        self._send_json({"commitUrl": f"{PUBLIC_ADDRESS}/{name}/commit/{oid}", "commitOid": oid})

    def _send_json(self, value: Any, oid: str = "", status: int = 200) -> None:
        self._send(json.dumps(value).encode(), oid, status)

    def _send(self, content: bytes, oid: str = "", status: int = 200, **headers: str) -> None:
        blob = _blob_id(content)
        first = int(match[1]) if (match := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        if first:
            status, total = 206, len(content)
            headers["Content_Range"] = f"bytes {first}-{total - 1}/{total}"
            content = content[first:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{blob}"')
        self.send_header("X-Repo-Commit", oid)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.cut_at >= 0:
            self.wfile.write(content[: max(self.fault.cut_at - first, 0)])
            self.close_connection = True
        else:
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self._send(b"{}", status=status, X_Error_Code=code, X_Error_Message=code)

    def log_message(self, *_: object) -> None:
        """Keep standard error free of the access log."""


def _references(values: dict[str, str], kind: str) -> list[dict[str, str]]:
    prefix = {"branches": "refs/heads", "tags": "refs/tags"}[kind]
    return [{"name": name, "ref": f"{prefix}/{name}", "targetCommit": oid} for name, oid in values.items()]


def _tree_entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": _blob_id(content)}


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
