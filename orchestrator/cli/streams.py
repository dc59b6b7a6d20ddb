"""Standard output and error: `orch ls | head` is no error, and no text acts on a terminal."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from trainer.printable import PrintableStream


class _Pipe(io.FileIO):
    """A file descriptor whose reader may go away.

    Then the command ends with exit code 0. After `outlive_readers` it goes on, and what it prints
    is dropped.
    """

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:  # what is left in the buffers must not fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if not isinstance(error, BrokenPipeError):
                raise
            if not _OUTLIVES:
                raise SystemExit(0) from None
            return len(content)


#: Not empty while a command runs whose work is more than its output.
_OUTLIVES: list[bool] = []


def outlive_readers() -> None:
    """From now on the command goes on if nobody reads its output any more."""
    _OUTLIVES.append(True)


def guard_streams() -> None:
    """Let standard output and error survive readers that go away, and escape what would act.

    A file that somebody else wrote then cannot rewrite the terminal, whichever command shows it.
    """
    _OUTLIVES.clear()
    for name in ("stdout", "stderr"):
        stream = unescaped(getattr(sys, name))
        if stream is getattr(sys, f"__{name}__") and not stream.isatty():
            stream.flush()  # nothing of it may come later, or be lost
            stream = _guarded(stream)
            setattr(sys, name, stream)
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, PrintableStream(stream))


def unescaped(stream: Any) -> Any:
    """The stream behind the one that escapes: for a table's rows, which a program reads, and for
    rich, whose own codes must reach the terminal."""
    while (behind := getattr(stream, "rich_proxied_file", None)) is not None:
        stream = behind
    return stream


def _guarded(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    pipe = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(
        pipe, stream.encoding, stream.errors, line_buffering=stream.line_buffering
    )
