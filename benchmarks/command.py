"""What the commands of this folder share: numbers from the command line, progress, quartiles.

Imported, not run.
"""

from __future__ import annotations

import argparse
import math
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

#: Seconds between two lines of progress where no terminal shows them.
_EVERY_S = 15.0
#: Packages that a benchmark needs beside the project, and what installs them.
_EXTRAS = {name: "bench" for name in ("transformers", "torchjd")} | {"tests": "test"}


class Parser(argparse.ArgumentParser):
    """A parser whose help is the text of the script, and whose errors are one line."""

    def __init__(self, text: str | None):
        super().__init__(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def count(text: str) -> int:
    """A whole number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number


def threads(text: str) -> int:
    """A whole number from 0 on; 0 is torch's default."""
    return 0 if text == "0" else count(text)


def share(text: str) -> float:
    """A number above 0 and up to 1."""
    number = _positive(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is above 1")
    return number


def minutes(text: str) -> float:
    """A finite number above 0."""
    return _positive(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (0 < number < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """`q1`, `median` and `q3` of these values.  One value is all three of them."""
    several = [*values, *values] if len(values) == 1 else values
    cuts = statistics.quantiles(several, n=4, method="inclusive")
    return dict(zip(("q1", "median", "q3"), cuts, strict=True))


def first_line(error: Exception) -> str:
    """What a table says of an error: its first line, or its class if it says nothing.

    A line that ends with a colon brings the next one along.
    """
    lines = str(error).split("\n") if str(error).strip() else [type(error).__name__]
    said = [line.strip() for line in lines if line.strip()]
    return " ".join(said[: 1 + said[0].endswith(":")])[:200]


class Progress:
    """How far a benchmark is, on stderr: one line that changes, or a line every 15 seconds.

    Only a terminal can show a line that changes.
    """

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if self._terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        if not self._terminal and now - self._last >= _EVERY_S:
            self._last = now
            print(f"{now - self._start:.0f} s: {text}", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for other text on a terminal."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` within this context after these seconds.

    It works in the main thread, as soon as the code in the context comes back to Python.
    """

    def stop(*_: object) -> NoReturn:
        raise TimeoutError("a step did not end in the time that is left of --minutes")

    before = signal.signal(signal.SIGALRM, stop)
    # A limit that has passed leaves a moment, as 0 would switch the timer off.
    signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def one_line_errors(parser: Parser, *kinds: type[Exception]) -> Iterator[None]:
    """End with one line where a package is missing, or at an error of these kinds."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in _EXTRAS:
            raise
        parser.error(
            f"{package} is not here: pip install -c constraints.txt -e '.[{_EXTRAS[package]}]'"
        )
    except kinds as error:
        parser.error(str(error))
