"""What can go wrong with the Hugging Face Hub: what is tried again, and errors that say what to do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

from cytokeras.errors import UserError

_Result = TypeVar("_Result")

_PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
_WAITS_S = (1.0, 2.0, 4.0)
_LONGEST_WAIT_S = 60.0


def retrying(call: Callable[[], _Result]) -> _Result:
    """Return the result of ``call``, tried again where the Hub is busy or the connection breaks.

    huggingface_hub tries some requests again and some not, and treats a busy Hub like an absent one.
    """
    for wait_s in _WAITS_S:
        try:
            return call()
        except Exception as error:
            if not _passes(error):
                raise
            time.sleep(_asked_wait_s(error) or wait_s)
    return call()


@contextlib.contextmanager
def hub_errors(source: object, revision: str | None, local_files_only: bool) -> Iterator[None]:
    """Turn the errors of ``huggingface_hub`` into a UserError that says what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        _raise_user_error(error, source, revision or "main", local_files_only)


def _raise_user_error(error: Exception, source: object, revision: str, local_files_only: bool) -> NoReturn:
    from huggingface_hub import errors

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
        case errors.LocalEntryNotFoundError() if (status := _status_of(error)) is not None:
            text = f"the Hub answers with {_said(status)}, and revision {revision!r} is not in the cache"
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
            text = f"the Hub answers with {_said(status)}{hint} ({_first_line(error)})"
        case ValueError() if "README.md" in str(error):
            text = f"the Hub refuses the model card ({_first_line(error)})"
        case _ if _is_connection_error(error):
            text = f"the Hub cannot be reached, or the connection broke ({_first_line(error)})"
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


def _said(status: int) -> str:
    if status == 429:
        return "status 429 (too many requests); try again later, or log in with `hf auth login`"
    return f"status {status}" + (", a fault of its own; try again later" if status >= 500 else "")


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error, or one that caused it, stands for."""
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        cause = cause.__cause__
    return None


def _passes(error: Exception) -> bool:
    status = _status_of(error)
    if status is not None:
        return status in _PASSING_STATUSES
    # The size of a file that was cut off differs from the announced one.
    return _is_connection_error(error) or (type(error) is OSError and "Consistency check failed" in str(error))


def _asked_wait_s(error: BaseException | None) -> float | None:
    """Return the wait that the Hub asks for in the header Retry-After, if it does."""
    while error is not None:
        headers = getattr(getattr(error, "response", None), "headers", {})
        if headers.get("Retry-After", "").isdigit():  # it may be a date as well
            return min(float(headers["Retry-After"]), _LONGEST_WAIT_S)
        error = error.__cause__
    return None
