"""Traffic with the Hugging Face Hub: presets down, presets up, and errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cytokeras._version import __version__
from cytokeras.errors import UserError
from cytokeras.hub.preset_files import CARD_FILE, LIBRARY, PRESET_FILES

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
    with _hub_errors(source, local_files_only):
        folder: str = snapshot_download(
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
    return Path(folder)


def publish(
    folder: Path,
    repo_id: str,
    *,
    keep_card: bool,
    private: bool | None = None,
    tag: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> str:
    """Upload the files of a preset folder in one commit, creating the repository when it does not exist.

    Args:
        folder: Preset folder.
        repo_id: ``"org/name"``.
        keep_card: Leave a model card alone that the repository already has.
        private: Whether a new repository is private.
        tag: Tag to put on the commit.
        revision: Branch, created when it does not exist; None is ``main``.
        commit_message: Message of the commit.
        token: Access token with write permission; None is the stored one.

    Returns:
        Address of the commit.

    Raises:
        UserError: ``repo_id`` has not the form ``org/name``, the tag exists, there is no connection, or the
            Hub refuses.
    """
    from huggingface_hub import HfApi

    target = HubSource.parse(repo_id)
    if target is None or target.revision:
        raise UserError(f"repo_id must be 'org/name'. Received: {repo_id!r}")
    target = HubSource(target.repo_id, revision)
    api = HfApi(endpoint=_endpoint(), token=token, library_name=LIBRARY, library_version=__version__)
    with _hub_errors(target, local_files_only=False):
        api.create_repo(target.repo_id, private=private, exist_ok=True)
        # A tag that exists is found before the upload, so that nothing is left half done.
        if tag and tag in {reference.name for reference in api.list_repo_refs(target.repo_id).tags}:
            raise UserError(f"{target}: the tag {tag!r} exists already; tags are not moved, choose another.")
        if revision:
            api.create_branch(target.repo_id, branch=revision, exist_ok=True)
        keep = keep_card and api.file_exists(target.repo_id, CARD_FILE, revision=revision)
        commit: Any = api.upload_folder(
            repo_id=target.repo_id,
            folder_path=folder,
            allow_patterns=[name for name in PRESET_FILES if not (keep and name == CARD_FILE)],
            revision=revision,
            commit_message=commit_message or "Upload preset with cytokeras",
        )
        if tag:
            api.create_tag(target.repo_id, tag=tag, revision=commit.oid)
    return str(commit.commit_url)


def _endpoint() -> str | None:
    # As with HF_HUB_OFFLINE: huggingface_hub would not see a value set after its import.
    return os.environ.get("HF_ENDPOINT") or None


@contextlib.contextmanager
def _hub_errors(source: HubSource, local_files_only: bool) -> Iterator[None]:
    """Turn the errors of ``huggingface_hub`` into a UserError that says what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        _raise_user_error(error, source, local_files_only)


def _raise_user_error(error: Exception, source: HubSource, local_files_only: bool) -> NoReturn:
    from huggingface_hub import errors

    revision = source.revision or "main"
    match error:
        case errors.GatedRepoError():
            text = "is gated: accept its conditions on its page of the Hub and log in with `hf auth login`"
        case errors.RepositoryNotFoundError():
            text = "no such repository, or it is private and the access token has no permission"
        case errors.RevisionNotFoundError():
            text = f"the repository has no branch, tag or commit {revision!r}"
        case errors.LocalEntryNotFoundError() if local_files_only:
            text = (
                f"revision {revision!r} is not in the cache, or not completely, and nothing may be "
                "downloaded (local_files_only or HF_HUB_OFFLINE); download it once with a connection"
            )
        case errors.OfflineModeIsEnabled():
            text = "HF_HUB_OFFLINE is set, so the Hub is not contacted"
        case errors.LocalEntryNotFoundError():
            text = f"the Hub cannot be reached and revision {revision!r} is not in the cache ({_first_line(error)})"
        case errors.EntryNotFoundError():
            text = f"revision {revision!r} has no such file ({_first_line(error)})"
        case errors.LocalTokenNotFoundError():
            text = "no access token is stored; log in with `hf auth login` or pass token"
        case errors.HFValidationError():
            text = f"is no valid name of a repository ({_first_line(error)})"
        case errors.HfHubHTTPError():
            status = error.response.status_code
            hint = "; the access token is invalid or lacks permission" if status in (401, 403) else ""
            text = f"the Hub refused the request with status {status}{hint} ({_first_line(error)})"
        case _ if _is_connection_error(error):
            text = f"the Hub cannot be reached ({_first_line(error)})"
        case _:
            raise error
    raise UserError(f"{source}: {text}.") from error


def _is_connection_error(error: Exception) -> bool:
    # huggingface_hub changed its HTTP library twice (requests, httpx, httpx2) and passes transport errors
    # through.
    libraries = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(libraries & {"requests", "httpx", "httpx2"})


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
