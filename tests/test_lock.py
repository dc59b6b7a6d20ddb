"""One driver a sweep; a dead one does not block the next."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.lock import Locked, SweepLock


def test_the_lock_names_its_holder_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with SweepLock(path):
        holder = json.loads(path.read_text())
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
        assert holder["started"]
    assert list(tmp_path.iterdir()) == []


def test_a_second_driver_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with SweepLock(path):
        with pytest.raises(Locked, match=rf"process {os.getpid()} on {socket.gethostname()}"):
            SweepLock(path).__enter__()
        assert path.exists()


def test_the_lock_of_a_killed_process_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from orchestrator.lock import SweepLock\n"
        "SweepLock(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parent.parent)
    assert path.exists()
    with SweepLock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_process_number_that_was_given_again_does_not_hold_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with SweepLock(path):
        holder = json.loads(path.read_text())
    path.write_text(json.dumps(holder | {"process_start": "another boot:1"}))
    with SweepLock(path):
        pass


@pytest.mark.parametrize("content", ['{"host": "elsewhere", "pid": 1}', "torn", "", "[]"])
def test_a_lock_of_another_host_or_unreadable_is_never_broken(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lock"
    path.write_text(content)
    with pytest.raises(Locked, match="delete this file"):
        SweepLock(path).__enter__()
    assert path.read_text() == content
