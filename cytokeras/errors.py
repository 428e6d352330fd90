"""The errors a user can cause, told apart from our own mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A value, file or folder that a user gave cannot be worked with.

    The message is one line and names what is wrong, where it was found, what was received and what would be
    right. The command line prints it without a traceback and exits with status 2.
    """


def nearest_name_hint(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name nearest to ``name``, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""
