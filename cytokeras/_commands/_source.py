"""The arguments of commands that take a preset from anywhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_source(command: argparse.ArgumentParser) -> None:
    """Add SOURCE and how it is looked for."""
    command.add_argument("source", help="bundled name, preset folder, or org/name[@revision] on the Hugging Face Hub")
    command.add_argument("--revision", help="branch, tag or commit of a Hub repository")
    command.add_argument("--cache-dir", type=Path, help="cache of Hub downloads; default: that of huggingface_hub")
    command.add_argument("--local-files-only", action="store_true", help="use only what is on this machine")


def source_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of ``from_pretrained`` and its kin."""
    # None, not False: HF_HUB_OFFLINE still counts.
    local = arguments.local_files_only or None
    return {"revision": arguments.revision, "cache_dir": arguments.cache_dir, "local_files_only": local}
