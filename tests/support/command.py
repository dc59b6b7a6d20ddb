"""The command `orch`, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
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
