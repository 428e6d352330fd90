"""Traffic with the Hugging Face Hub: presets down, presets up, and errors that say what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytokeras._version import __version__
from cytokeras.errors import UserError
from cytokeras.hub._hub_errors import hub_errors, retrying
from cytokeras.hub.preset_files import CARD_FILE, LIBRARY, NEEDED_FILES

HUB_PREFIX = "hf://"
_REPOSITORY = re.compile(r"(?P<repo_id>[\w.-]+/[\w.-]+)(@(?P<revision>[^@\s]+))?")
_TRUE_WORDS = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads its environment variables


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hub, and optionally a branch, tag or commit of it."""

    repo_id: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{HUB_PREFIX}{self.repo_id}" + (f"@{self.revision}" if self.revision else "")

    @classmethod
    def parse(cls, source: str, revision: str | None = None) -> HubSource | None:
        """Return the repository that ``source`` names, or None when it has not the form of one.

        Args:
            source: ``"org/name"``, ``"org/name@revision"``, or either with ``"hf://"`` before it.
            revision: Revision given beside the source.

        Raises:
            UserError: ``source`` starts with ``hf://`` but names no repository, or states another revision.
        """
        match = _REPOSITORY.fullmatch(source.removeprefix(HUB_PREFIX))
        if match is None:
            if source.startswith(HUB_PREFIX):
                raise UserError(
                    f"A Hub source must be 'hf://org/name' or 'hf://org/name@revision'. Received: {source!r}"
                )
            return None
        stated = match["revision"]
        if stated and revision and stated != revision:
            raise UserError(f"Two different revisions were given: {source!r} and revision={revision!r}.")
        return cls(match["repo_id"], stated or revision)


def download(
    source: HubSource,
    files: Sequence[str],
    *,
    local_files_only: bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> Path:
    """Return the cached folder with the named files of a Hub repository, downloading what is not there yet.

    Args:
        source: Repository and revision.
        files: Names of the files.
        local_files_only: True contacts nothing; None follows ``HF_HUB_OFFLINE``.
        cache_dir: Cache folder; None is that of ``huggingface_hub``.
        token: Access token; None is the stored one, False sends none.

    Raises:
        UserError: With a text of its own for: offline and not cached, no connection, no such repository,
            gated, no such revision, refused by the Hub. Files that the repository lacks are found when they
            are opened.
    """
    from huggingface_hub import snapshot_download

    if local_files_only is None:
        # Read here as well because huggingface_hub reads its environment only once, when it is first
        # imported.
        local_files_only = os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE_WORDS
    with hub_errors(source, source.revision, local_files_only):
        folder: str = retrying(
            lambda: snapshot_download(
                source.repo_id,
                revision=source.revision,
                allow_patterns=list(files),
                local_files_only=local_files_only,
                cache_dir=None if cache_dir is None else Path(cache_dir),
                token=token,
                library_name=LIBRARY,
                library_version=__version__,
                endpoint=_endpoint(),
            )
        )
    missing = [name for name in files if name in NEEDED_FILES and not os.path.exists(os.path.join(folder, name))]
    if missing and local_files_only:  # huggingface_hub 1.0 takes an interrupted download for a complete one
        raise UserError(
            f"{source}: {', '.join(missing)} of revision {source.revision or 'main'!r} is not in the cache, or not "
            "completely, and nothing may be downloaded; download it once with a connection."
        )
    return Path(folder)


@dataclass(frozen=True)
class Publication:
    """A version of a preset on the Hub.

    Attributes:
        source: What to give to ``from_pretrained``, with the tag.
        tag: Tag of the version.
        address: Address of the commit.
    """

    source: str
    tag: str
    address: str

    def __str__(self) -> str:
        return f"{self.source}  ({self.address})"


def publish(
    files: Sequence[Path],
    repo_id: str,
    *,
    keep_card: bool,
    private: bool | None = None,
    tag: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> Publication:
    """Upload the files of a preset in one tagged commit, creating the repository when it does not exist.

    Args:
        files: The files, and nothing else is sent.
        repo_id: ``"org/name"``.
        keep_card: Leave a model card alone that the repository already has.
        private: Whether a new repository is private.
        tag: Tag to put on the commit; None is the next of ``v1``, ``v2``, ….
        revision: Branch, created when it does not exist; None is ``main``.
        commit_message: Message of the commit.
        token: Access token with write permission; None is the stored one.

    Raises:
        UserError: ``repo_id`` has not the form ``org/name``, the tag exists, there is no connection, or the
            Hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    target = HubSource.parse(repo_id)
    if target is None or target.revision:
        raise UserError(f"repo_id must be 'org/name'. Received: {repo_id!r}")
    target = HubSource(target.repo_id, revision)
    api = HfApi(endpoint=_endpoint(), token=token, library_name=LIBRARY, library_version=__version__)
    with hub_errors(target, revision, local_files_only=False):
        api.create_repo(target.repo_id, private=private, exist_ok=True)
        tags = {reference.name for reference in api.list_repo_refs(target.repo_id).tags}
        # A tag that exists is found before the upload, so that nothing is left half done.
        if tag in tags:
            raise UserError(f"{target}: the tag {tag!r} exists already; tags are not moved, choose another.")
        tag = tag or _next_tag(tags)
        if revision:
            api.create_branch(target.repo_id, branch=revision, exist_ok=True)
        keep = keep_card and api.file_exists(target.repo_id, CARD_FILE, revision=revision)
        commit = api.create_commit(
            target.repo_id,
            [CommitOperationAdd(path.name, path) for path in files if not (keep and path.name == CARD_FILE)],
            revision=revision,
            commit_message=commit_message or f"Upload preset {tag} with cytokeras",
        )
        api.create_tag(target.repo_id, tag=tag, revision=commit.oid)
    return Publication(str(HubSource(target.repo_id, tag)), tag, str(commit.commit_url))


def _next_tag(tags: Iterable[str]) -> str:
    numbers = [int(match[1]) for tag in tags if (match := re.fullmatch(r"v(\d+)", tag))]
    return f"v{max(numbers, default=0) + 1}"


def _endpoint() -> str | None:
    # As with HF_HUB_OFFLINE: huggingface_hub would not see a value set after its import.
    return os.environ.get("HF_ENDPOINT") or None
