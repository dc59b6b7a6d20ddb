"""`orch watch` and `orch stop`: a sweep that another process runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.ledger.driver_status import read_status
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT

#: A driver that trains nothing: it ends 2 s after it was asked to.
DRIVER = """
import sys, threading, time
from orchestrator.ledger import Ledger
from orchestrator.ledger.sweep_lock import SweepLock
from orchestrator.progress.publishing import published
from orchestrator.progress.state import SweepState

ledger, state, asked = Ledger(sys.argv[1], "s"), SweepState("s"), threading.Event()
with SweepLock(ledger.folder) as lock, published(state, ledger, lock.holder, asked.set):
    state.stage("search")
    state.total(1, 3)
    asked.wait(120)
    state.total(2, 3)
    state.stopping("stopping: 1 trial may commit its epoch")
    time.sleep(2)
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with a sweep of two trials."""
    write_trial(tmp_path / "s", [0.5, 0.6], sampler="arrp")
    write_trial(tmp_path / "s", [0.5], status=None, sampler="arrp", seed=1)
    return tmp_path


@pytest.fixture
def driver(out: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(out)], cwd=ROOT)
    ledger, end = Ledger(out, "s"), time.monotonic() + 200
    while (status := read_status(ledger)) is None or not status.planned:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_stop_asks_waits_and_says_what_happened_and_watch_ends_with_the_sweep(
    out: Path, driver: subprocess.Popen[bytes]
) -> None:
    pipe = subprocess.PIPE
    code = "from orchestrator.cli import main; main()"
    command = [sys.executable, "-c", code]
    watch = subprocess.Popen(
        [*command, "watch", "s", "--out", str(out)], cwd=ROOT, stdout=pipe, text=True
    )
    assert watch.stdout is not None
    assert f"by process {driver.pid}" in watch.stdout.readline()
    assert "search 1 of 3 done" in watch.stdout.readline().replace(" · ", " ")
    stop = subprocess.run(
        [*command, "stop", "s", "--out", str(out)], cwd=ROOT, capture_output=True, text=True
    )
    assert (stop.returncode, driver.wait(60)) == (0, 0)
    assert f"asked process {driver.pid}" in stop.stderr
    assert "stopping: 1 trial may commit its epoch" in stop.stderr
    assert stop.stdout == "s: stopped; 1 complete, 1 unfinished trials\n"
    rest = watch.communicate(timeout=200)[0]
    assert watch.returncode == 0
    assert "2 of 3 done" in rest and "s has ended:\n1 complete, 1 unfinished trials" in rest


def test_where_nothing_runs_both_say_so(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestrator.cli.watch import stop_sweep, watch_sweep

    stop_sweep("s", out=str(out))
    assert capsys.readouterr().out == "s: nothing runs; 1 complete, 1 unfinished trials\n"
    stop_sweep("s", out=str(out), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"name": "s", "was_running": False, "trials": {"complete": 1, "unfinished": 1}}
    watch_sweep("s", out=str(out), as_json=True)
    assert json.loads(capsys.readouterr().out) is None
    watch_sweep("s", out=str(out))
    said = capsys.readouterr().out
    assert said.startswith("s: no driver runs it now") and "1 complete" in said
