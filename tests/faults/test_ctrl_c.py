"""Ctrl-C on a terminal, at many moments of a sweep: how soon the answer comes, and the prompt."""

from __future__ import annotations

import copy
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.support.drivers import _MAIN, PATIENCE_S, SWEEP

#: Seconds from the first Ctrl-C to its answer, and from the second to the prompt.  Both hold on a
#: machine that has a CPU for the driver; busy ones get more.
ANSWER_S, PROMPT_S = 1.0, 2.0
_BUSY = 2.0
_CTRL_C = b"\x03"


class Terminal:
    """`orch sweep` on a terminal of its own.

    Args:
        train: what trains (tests.support.drivers); empty for the command as users start it.
    """

    def __init__(self, folder: Path, cache: Path, train: str = "", **changes: Any):
        sweep = copy.deepcopy(SWEEP) | changes
        sweep["base"]["data"]["cache"] = str(cache)
        file = folder / "sweep.yaml"
        file.write_text(yaml.safe_dump(sweep, sort_keys=False))
        self.out = folder / "out"
        code = _MAIN if train else "from orchestrator.cli import main; main()"
        command = [sys.executable, "-c", code, "sweep", str(file), "--out", str(self.out)]
        environment = {**os.environ, "TRAIN": train, "EPOCH_S": "100", "TERM": "xterm-256color"}
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, command, environment)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        self.text = ""
        self.family: dict[int, psutil.Process] = {}
        self.ended = False

    def read(self, seconds: float) -> None:
        """Read what it prints for so long, or until it ends."""
        end = time.monotonic() + seconds
        while not self.ended and (left := end - time.monotonic()) > 0:
            if select.select([self._terminal], [], [], min(left, 0.05))[0]:
                try:
                    new = os.read(self._terminal, 65536)
                except OSError:  # Linux: the other side is closed
                    new = b""
                self.ended = not new
                self.text += new.decode(errors="replace")
                return

    def wait_for(self, text: str, since: int = 0) -> float:
        """Seconds until a text was printed after so many characters, or until the end."""
        begun = time.monotonic()
        while text not in self.text[since:]:
            assert not self.ended, self.text
            assert time.monotonic() - begun < PATIENCE_S, self.text
            self.read(0.1)
        return time.monotonic() - begun

    def press(self) -> int:
        """Ctrl-C; returns how much had been printed before."""
        for process in psutil.Process(self.pid).children(recursive=True):
            self.family[process.pid] = process
        os.write(self._terminal, _CTRL_C)
        return len(self.text)

    def close(self) -> int:
        """Wait for the end; returns the exit code."""
        end = time.monotonic() + PATIENCE_S
        while not self.ended:
            assert time.monotonic() < end, self.text
            self.read(1)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        with_pid = [p for p in self.family.values() if p.is_running()]
        for process in with_pid:
            process.kill()
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._terminal)


def interrupted(terminal: Terminal, *, twice: bool) -> None:
    """Press Ctrl-C, and again if `twice`; check the answer, the prompt and what is left."""
    try:
        since = terminal.press()
        answered = terminal.wait_for("stopping", since)
        assert answered < ANSWER_S * _BUSY, terminal.text
        if twice:
            terminal.read(0.5)
            begun = time.monotonic()
            while time.monotonic() - begun < 0.5 and not terminal.ended:
                terminal.read(0.1)
            begun = time.monotonic()
            if not terminal.ended:
                terminal.press()
            assert terminal.close() == 130, terminal.text
            assert time.monotonic() - begun < PROMPT_S * _BUSY, terminal.text
        else:
            assert terminal.close() == 130, terminal.text
        assert "Traceback" not in terminal.text, terminal.text
        assert "run the same command again" in terminal.text
        _, alive = psutil.wait_procs(terminal.family.values(), timeout=3)
        assert alive == []
        assert not list(Path("/tmp").glob(f"orch-ray-{terminal.pid}-*"))
        assert not (terminal.out / "s" / "lock").exists()
        assert not (terminal.out / "s" / "status.json").exists()
    finally:
        terminal.kill()


@pytest.mark.slow(reason="a command that loads torch, Ray and MLflow")
def test_while_libraries_load_the_first_ctrl_c_gives_the_prompt_back(
    tmp_path: Path, cache: Path
) -> None:
    terminal = Terminal(tmp_path, cache)
    terminal.wait_for("loading torch")
    terminal.read(0.5)
    interrupted(terminal, twice=False)


@pytest.mark.slow(reason="a whole Ray is started to be interrupted")
def test_while_ray_starts_a_second_ctrl_c_gives_the_prompt_back(
    tmp_path: Path, cache: Path
) -> None:
    terminal = Terminal(tmp_path, cache)
    terminal.wait_for("starting Ray")
    interrupted(terminal, twice=True)


MOMENTS = [
    ("loading torch", 0.0), ("loading torch", 1.5), ("loading torch", 2.5),
    ("reading the trials", 0.0), ("starting Ray", 2.0),
    ("starting the processes", 0.0), ("0/3", 0.5), ("0/3", 3.0),
]  # fmt: skip


@pytest.mark.exhaustive(reason="a sweep for each moment")
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize(("moment", "later"), MOMENTS)
def test_at_each_moment(
    tmp_path: Path, cache: Path, moment: str, later: float, twice: bool
) -> None:
    changes = {"resources": {**SWEEP["resources"], "grace_seconds": 3}}
    # Only the command as users start it loads its libraries while it is shown.
    train = "tests.faults.chained:train" if moment == "0/3" else ""
    terminal = Terminal(tmp_path, cache, train, **changes)
    terminal.wait_for(moment)
    terminal.read(later)
    interrupted(terminal, twice=twice)
