"""``cytokeras push``: a preset folder onto the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    push = commands.add_parser(
        "push",
        help="publish a preset folder on the Hugging Face Hub",
        description="Check every file of a preset folder and publish it in one tagged commit; other files in the "
        "folder are not sent. Log in with `hf auth login` or set HF_TOKEN.",
    )
    push.add_argument("folder", type=Path, help="preset folder, as save_pretrained writes it")
    push.add_argument("repository", help="org/name; created when it does not exist")
    push.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    push.add_argument("--tag", help="tag of this version; default: the next of v1, v2, …")
    push.add_argument("--revision", help="branch to commit to (main)")
    push.add_argument("--message", help="message of the commit")
    push.add_argument("--replace-card", action="store_true", help="replace a model card that the repository has")
    push.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from cytokeras.hub import push_folder

    published = push_folder(
        arguments.folder,
        arguments.repository,
        private=arguments.private,
        tag=arguments.tag,
        revision=arguments.revision,
        commit_message=arguments.message,
        replace_card=arguments.replace_card,
    )
    print(published)
