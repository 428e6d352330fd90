"""Reading JSON objects from untrusted files with errors that name the file and the field."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from cytokeras.errors import UserError, nearest_name_hint

# Configurations and variable lists are a few kilobytes; the bound keeps a hostile file from filling the
# memory.
_LARGEST_JSON_BYTES = 16 * 2**20

_KIND_NAMES: dict[object, str] = {
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def read_json(path: Path, where: str) -> JsonFields:
    """Return the JSON object of ``path``; ``where`` names the file in error messages.

    Raises:
        UserError: The file is too large, not UTF-8, no JSON, holds NaN or infinity, or is no JSON object.
    """
    size = path.stat().st_size
    if size > _LARGEST_JSON_BYTES:
        raise UserError(f"{where}: is {size} bytes large; at most {_LARGEST_JSON_BYTES} bytes are read.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is damaged, no valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"{where}: must hold a JSON object, received {_kind_of(value)}.")
    return JsonFields(value, where)


class JsonFields:
    """The fields of a JSON object, read one by one with their kinds checked.

    Args:
        values: The parsed object.
        where: File, and field path where the object is nested, for error messages.
    """

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def text(self, name: str) -> str:
        value: str = self._required(name, str)
        return value

    def optional_text(self, name: str) -> str | None:
        value: str | None = self._optional(name, str)
        return value

    def integer(self, name: str) -> int:
        value: int = self._required(name, int)
        return value

    def positive_number(self, name: str) -> float:
        value = float(self._required(name, float))
        if not value > 0:
            self.fail(name, f"must be a positive number, received {value}")
        return value

    def number_pair(self, name: str) -> tuple[float, float]:
        value = self.items(name)
        if len(value) != 2 or not all(type(number) in (int, float) for number in value):
            self.fail(name, f"must be two numbers, received {value}")
        return float(value[0]), float(value[1])

    def boolean(self, name: str) -> bool:
        value: bool = self._required(name, bool)
        return value

    def items(self, name: str) -> list[Any]:
        value: list[Any] = self._required(name, list)
        return value

    def mapping(self, name: str) -> JsonFields:
        return JsonFields(self._required(name, dict), f"{self.where}, field {name}")

    def optional_mapping(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] | None = self._optional(name, dict)
        return value or {}

    def only(self, known: Iterable[str]) -> None:
        """Refuse fields that nobody reads: what a writer meant by them would be lost without a word."""
        known = tuple(known)
        for name in self.values:
            if name not in known:
                self.fail(name, f"is unknown.{nearest_name_hint(name, known)} Known: {', '.join(known)}")

    def fail(self, name: str, problem: str) -> NoReturn:
        """Raise the error of one field."""
        raise UserError(f"{self.where}, field {name}: {problem}.")

    def _required(self, name: str, kind: type) -> Any:
        if name not in self.values:
            hint = nearest_name_hint(name, self.values).replace("Did you mean", "Found instead")
            self.fail(name, f"is missing; it must be {_KIND_NAMES[kind]}{hint.rstrip('?')}")
        return self._checked(name, kind)

    def _optional(self, name: str, kind: type) -> Any:
        return None if self.values.get(name) is None else self._checked(name, kind)

    def _checked(self, name: str, kind: type) -> Any:
        value = self.values[name]
        allowed = (int, float) if kind is float else kind
        # bool is a subclass of int, but "true" is no number in a file.
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            self.fail(name, f"must be {_KIND_NAMES[kind]}, received {_kind_of(value)}")
        return value


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    return f"{_KIND_NAMES[type(value)]} ({str(value)[:60]!r})"


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
