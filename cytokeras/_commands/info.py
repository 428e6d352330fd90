"""``cytokeras info``: what is known of a preset."""

from __future__ import annotations

import argparse

from cytokeras._commands._source import add_source, source_arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    info = commands.add_parser(
        "info",
        help="show what is known of a preset, and check it",
        description="Show input, output, training data, licence and scores of a preset. With --check: also load it and "
        "compare its outputs for one example with those it had when it was written (status 1 where they differ).",
    )
    add_source(info)
    info.add_argument("--check", action="store_true", help="load the weights and compare with the golden pair")
    info.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from cytokeras.hub import check_golden_pair, describe_preset

    description = describe_preset(arguments.source, **source_arguments(arguments))
    print("\n".join(description.lines()))
    if not arguments.check:
        return 0
    difference, tolerance = check_golden_pair(arguments.source, **source_arguments(arguments))
    agrees = difference <= tolerance
    verdict = "as when it was written" if agrees else "NOT as when it was written"
    print(f"check        {verdict}: outputs differ by at most {difference:.1e} of the largest (allowed {tolerance:g})")
    return int(not agrees)
