"""Checks of what the user hands to a pipeline."""

from __future__ import annotations

import operator
from typing import Any

from cytokeras.errors import UserError


def check_count(value: Any, name: str, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``, or raise UserError naming the argument ``name``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = minimum - 1
    if number < minimum or isinstance(value, bool):
        raise UserError(f"{name} must be a whole number of at least {minimum}. Received: {name}={value!r}.")
    return number
