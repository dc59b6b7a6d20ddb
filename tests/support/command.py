"""The command `orch`, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.support.paths import ROOT

#: Runs `orch` in a process of its own.
ORCH = [
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'orch'; from orchestrator.cli import main; main()",
]


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def orch(*arguments: str, cwd: Path | None = None) -> Answer:
    """Run `orch` in this process, in the folder `cwd`.

    A new process takes a second or two to start, longer than most commands take to run.  An
    exception that `orch` does not turn into a message reaches the test.
    """
    out, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr(sys, "argv", ["orch", *arguments])
        patch.setenv("COLUMNS", "120")
        main()
    texts = (stream.buffer.getvalue().decode() for stream in (out, error))
    return Answer(int(end.value.code or 0), *texts)


def orch_process(
    *arguments: str, cwd: Path = ROOT, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `orch` in a process of its own."""
    return subprocess.run(
        [*ORCH, *arguments], capture_output=True, text=True, cwd=cwd, timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **environment},
    )  # fmt: skip


class _Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def terminal(columns: int) -> Iterator[list[str]]:
    """A terminal of this width for what the block prints.

    At the end of the block the list holds its lines, without colours.
    """
    lines: list[str] = []
    out = _Terminal(io.BytesIO(), "utf-8", write_through=True)
    with contextlib.redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm-256color")
        yield lines
    lines += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.buffer.getvalue().decode()).splitlines()


def both_streams(columns: int, *arguments: str, cwd: Path) -> tuple[int, str]:
    """The exit code of `orch`, and all that it writes to a terminal of this width, codes too."""
    shown = _Terminal(io.BytesIO(), "utf-8", write_through=True)
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(shown),
        contextlib.redirect_stderr(shown),
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr(sys, "argv", ["orch", *arguments])
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm-256color")
        main()
    return int(end.value.code or 0), shown.buffer.getvalue().decode()


def on_terminal(columns: int, *arguments: str, cwd: Path | None = None) -> list[str]:
    """The lines that `orch` prints on a terminal of this width."""
    error = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with (
        terminal(columns) as lines,
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stderr(error),
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr(sys, "argv", ["orch", *arguments])
        main()
    assert end.value.code in (0, None), error.buffer.getvalue().decode()
    return lines
