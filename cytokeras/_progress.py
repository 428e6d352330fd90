"""One progress line for every long loop, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def progress(iterable: Iterable[T], description: str, total: int | None = None, enabled: bool = True) -> Iterator[T]:
    """Pass ``iterable`` through, showing count, rate and time left on standard error.

    On a terminal the line is redrawn at most ten times a second; elsewhere (a log file) only the final line
    is written, so that logs stay short.
    """
    if not enabled:
        yield from iterable
        return
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    live = sys.stderr.isatty()
    start = drawn = time.monotonic()
    done = 0
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if live and now - drawn > 0.1:
            drawn = now
            sys.stderr.write("\r" + _line(description, done, total, now - start) + "\033[K")
            sys.stderr.flush()
    end = _line(description, done, total, time.monotonic() - start)
    sys.stderr.write(("\r" if live else "") + end + ("\033[K\n" if live else "\n"))
    sys.stderr.flush()


def _line(description: str, done: int, total: int | None, seconds: float) -> str:
    rate = done / seconds if seconds > 0 else 0.0
    count = f"{done}/{total}" if total is not None else str(done)
    line = f"{description}: {count} ({rate:.1f}/s, {seconds:.0f} s"
    if total is not None and 0 < done < total and rate > 0:
        line += f", {(total - done) / rate:.0f} s left"
    return line + ")"
