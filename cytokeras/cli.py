"""The command line: every command checks what it was given before it starts to work."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cytokeras._commands import (
    check,
    demo,
    download,
    embed,
    export,
    info,
    inspect,
    phantom,
    presets,
    push,
    sample,
    segment,
)
from cytokeras._version import __version__
from cytokeras.errors import UserError

_COMMANDS = (
    demo,
    segment,
    embed,
    inspect,
    check,
    sample,
    presets,
    info,
    download,
    push,
    export,
    phantom,
)

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 problems found, 2 bad input, 130 interrupted."""
    parsed = _parser().parse_args(arguments)
    # TensorFlow's start-up notes would stand before every command's own output.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # oneDNN's convolutions train in half the time; TensorFlow takes them by itself only on Intel's newer processors.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    try:
        return int(parsed.run(parsed) or 0)
    except UserError as error:
        return _fail(str(error))
    except ImportError as error:
        return _fail(str(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}")
    except KeyboardInterrupt:
        print("cytokeras: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _fail(message: str) -> int:
    print(f"cytokeras: error: {message}", file=sys.stderr)
    return EXIT_USER_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cytokeras", description="Cytoarchitectonic brain mapping with Keras: from section to area map."
    )
    parser.add_argument("--version", action="version", version=f"cytokeras {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
