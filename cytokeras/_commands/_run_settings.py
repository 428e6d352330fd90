"""The arguments of commands that train: flags, a YAML file, fields of a recipe."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from cytokeras._commands._defaults import positive_int
from cytokeras.errors import UserError, nearest_name_hint

if TYPE_CHECKING:
    from cytokeras.brain import Section

R = TypeVar("R")

PRECISIONS = ("float32", "bfloat16", "float16")


def add_run_arguments(command: argparse.ArgumentParser, recipe: str) -> None:
    """Add what every training takes, after the flags of its own; see ``parse_config``."""
    command.add_argument("--out", type=Path, help="folder of the run; a run that was stopped goes on there")
    command.add_argument(
        "--config", type=Path, metavar="YAML", help="file of settings named as these flags; flags come before it"
    )
    command.add_argument("--recipe", default=recipe, help="name of a recipe, see cytokeras recipes (%(default)s)")
    command.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="another value for a field of the recipe"
    )
    command.add_argument("--seed", type=int, default=0, help="of initial weights and samples (%(default)s)")
    command.add_argument(
        "--interval", type=positive_int, default=100, help="steps between two checkpoints (%(default)s)"
    )
    command.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the computation (%(default)s)")
    command.add_argument("--devices", metavar="N", help="number of this host's devices to train on, or all; default: 1")
    command.add_argument("--widths", type=int, nargs=6, metavar="N", help="channels of blocks 1 to 6; default: paper's")
    command.add_argument("--patch-size", type=positive_int, metavar="PX", help="default: the paper's 2 or 4 mm")
    command.add_argument("--find-rate", action="store_true", help="only search a learning rate and print it")
    command.add_argument("--quiet", action="store_true", help="show no progress")
    command.set_defaults(parser=command, defaults=_withheld_defaults(command))


def parse_config(given: argparse.Namespace) -> argparse.Namespace:
    """Return the settings of a run: the flags given, before the YAML file, before the defaults.

    Raises:
        UserError: The file cannot be read, names something that is no flag or has a wrong value, or there is no
            ``--out``.
    """
    settings = dict(given.defaults)
    if "config" in given:
        settings |= _settings_in(given.config, given.parser)
    changes = [*settings["set"], *vars(given).get("set", [])]  # of one field the last one counts
    arguments = argparse.Namespace(**{**settings, **vars(given), "set": changes})
    if arguments.out is None and not arguments.find_rate:
        raise UserError("--out: give a folder for the run.")
    return arguments


def with_fields(recipe: R, changes: Sequence[str]) -> R:
    """Return a recipe with some fields changed.

    Args:
        recipe: A dataclass; ``phases.0.iterations`` reaches into the first of several phases.
        changes: Texts ``field=value`` with values as in YAML.

    Raises:
        UserError: A field does not exist, or the value is of another kind than the one it replaces.
    """
    for field, value in map(_split, changes):
        recipe = _changed(recipe, field.split("."), value, field)
    return recipe


def device_count(text: str | None) -> int | str | None:
    """What ``training_scope`` takes: a number, "all", or None."""
    if text is None or text == "all":
        return text
    if not text.isdigit():
        raise UserError(f"--devices must be a number or all. Received: {text!r}")
    return int(text)


def pixel_size_of(sections: Sequence[Section]) -> float:
    """The pixel size of all sections in µm.

    Raises:
        UserError: They differ by more than 1 %.
    """
    sizes = sorted({section.pixel_size_um for section in sections})
    if sizes[-1] > 1.01 * sizes[0]:
        raise UserError(
            f"The sections have pixels of {sizes[0]:g} to {sizes[-1]:g} µm; a network is trained with one size."
        )
    return sizes[0]


def refuse_fixed(arguments: argparse.Namespace, *names: str) -> None:
    """Raise UserError where a flag was given that the preset to start from has decided already."""
    for name in names:
        if getattr(arguments, name):
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag}: {arguments.start} has decided that already; leave the flag out.")


def input_shape(model: Any, pixel_size_um: float, patch_size: int | None) -> tuple[int, int, int]:
    """Patches of the size that was asked for, or as wide as the paper's."""
    given: tuple[int, int, int] = model.input_shape_for(pixel_size_um)
    return given if patch_size is None else (patch_size, patch_size, 1)


def _split(change: str) -> tuple[str, Any]:
    field, equals, text = change.partition("=")
    if not equals:
        raise UserError(f"--set {change}: write FIELD=VALUE, as learning_rate=0.01.")
    return field, yaml.safe_load(text)


def _changed(recipe: Any, path: list[str], value: Any, field: str) -> Any:
    name, *rest = path
    if isinstance(recipe, tuple):
        if not name.isdigit() or int(name) >= len(recipe):
            raise UserError(f"--set {field}: there are parts 0 to {len(recipe) - 1}. Received: {name!r}")
        parts = list(recipe)
        parts[int(name)] = _changed(parts[int(name)], rest, value, field)
        return tuple(parts)
    names = [each.name for each in dataclasses.fields(recipe)]
    if name not in names:
        hint = nearest_name_hint(name, names)
        raise UserError(f"--set {field}: recipes have no field {name!r}.{hint} There are: {', '.join(names)}.")
    old = getattr(recipe, name)
    if rest:
        return dataclasses.replace(recipe, **{name: _changed(old, rest, value, field)})
    if isinstance(value, list):
        value = tuple(value)
    return dataclasses.replace(recipe, **{name: _of_kind(old, value, field)})


def _of_kind(old: Any, value: Any, field: str) -> Any:
    """``value`` as a number of the old one's kind; YAML reads 1e-3 as a text."""
    if isinstance(value, str) and not isinstance(old, str):
        try:
            value = float(value)
        except ValueError:
            if old is not None:
                raise UserError(f"--set {field}: a number is needed. Received: {value!r}") from None
    if isinstance(old, bool) or old is None or value is None:
        return value
    if isinstance(old, int) and isinstance(value, float) and value != int(value):
        raise UserError(f"--set {field}: a whole number is needed. Received: {value}")
    if isinstance(old, int | float) and not isinstance(value, int | float):
        raise UserError(f"--set {field}: a number is needed. Received: {value!r}")
    if isinstance(old, str) and not isinstance(value, str):
        raise UserError(f"--set {field}: a name is needed. Received: {value!r}")
    return type(old)(value)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--config {path}: cannot be read ({error}).") from error
    if not isinstance(found, dict):
        raise UserError(f"--config {path}: holds no settings; write lines as 'recipe: paper'.")
    return found


def _withheld_defaults(command: argparse.ArgumentParser) -> dict[str, Any]:
    """The defaults of all flags, which argparse then leaves out: what it finds was given, be it equal to a default."""
    defaults = {}
    for action in command._actions:
        if action.option_strings and action.default is not argparse.SUPPRESS:
            defaults[action.dest], action.default = action.default, argparse.SUPPRESS
            action.help = (action.help or "") % {"default": defaults[action.dest]}
    return defaults


def _settings_in(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The values of a settings file by the names that the flags' values have."""
    actions = {option.lstrip("-").replace("-", "_"): a for a in parser._actions for option in a.option_strings}
    settings = {}
    for name, value in _read_yaml(path).items():
        key = str(name).replace("-", "_")
        if key not in actions or key in ("help", "config"):
            hint = nearest_name_hint(key, actions)
            raise UserError(f"--config {path}, {name}: no such setting.{hint}")
        if key == "set":
            if not isinstance(value, dict):
                raise UserError(f"--config {path}, set: write a mapping of fields to values.")
            settings[key] = [f"{field}={json.dumps(each)}" for field, each in value.items()]
        else:
            settings[actions[key].dest] = _checked(actions[key], value, f"--config {path}, {name}")
    return settings


def _checked(action: argparse.Action, value: Any, where: str) -> Any:
    if action.nargs == 0 and not isinstance(value, bool):
        raise UserError(f"{where}: must be true or false.")
    if isinstance(action.nargs, int) and action.nargs and not (isinstance(value, list) and len(value) == action.nargs):
        raise UserError(f"{where}: must be a list of {action.nargs}.")
    try:
        if isinstance(value, list):
            return [action.type(str(each)) if callable(action.type) else each for each in value]
        if callable(action.type) and value is not None:
            value = action.type(str(value))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    if action.choices is not None and value not in action.choices:
        raise UserError(f"{where}: must be one of {', '.join(map(str, action.choices))}. Received: {value!r}")
    return value
