"""`kill -9` when no trial trains any more: while timing, while projecting, while exporting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from orchestrator.ledger import Ledger
from orchestrator.ledger.timing_sessions import timings
from tests.support.drivers import ROOT, SWEEP, Driver, ended_like, undisturbed

STUB = "tests.faults.chained:train"
Start = Callable[..., Driver]
#: Two configurations that a question compares, which are timed after their trials.
TIMED = SWEEP | {
    "search": {"algorithm": "list", "num_trials": 2, "seeds": [1, 2]},
    "space": {},
    "enqueue": [{"sampler": "annealed", "B": 64}, {"sampler": "arrp", "B": 64}],
    "decide": {"looks": [2, 3], "choose": "best", "budget": {"share": 9.0}},
}


@pytest.mark.exhaustive(reason="three drivers, two of which time")
def test_a_sweep_that_is_killed_while_it_times_is_timed_by_the_next_run(
    start: Start, moments: Random
) -> None:
    searched = start(TIMED, "--no-confirm", "--no-timing", name="searched")
    assert searched.wait() == 0, searched.text
    killed = start(TIMED, "--no-confirm")
    killed.wait_until(lambda: "timing 2 configurations in turn" in killed.text)
    time.sleep(moments.uniform(0, 15))
    killed.kill_all()
    last = start(TIMED, "--no-confirm")
    assert last.wait() == 0, last.text
    assert "Traceback" not in last.text
    ended_like(last, searched.out)
    (session,) = timings(Ledger(last.out, "s"))
    assert len(session.configs) == 2 and session.rounds


@pytest.mark.exhaustive(reason="a sweep that is killed while it projects, again and again")
def test_a_sweep_that_is_killed_while_it_projects_shows_every_trial_once(
    start: Start, moments: Random, rounds: int, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, SWEEP, STUB)
    for _ in range(rounds):
        driver = start(SWEEP, train=STUB, environment={"EPOCH_S": "0"})
        driver.wait_until(lambda d=driver: "bringing MLflow" in d.text)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 4))
        driver.kill_all()
    last = start(SWEEP, train=STUB, environment={"EPOCH_S": "0"})
    assert last.wait() == 0, last.text
    ended_like(last, whole)


#: Commands that write, and what each leaves: a file or a folder.
EXPORTS = {
    "table": ["export", "table", "s", "-o", "{}"],
    "report": ["report", "s", "-o", "{}"],
    "model": ["export", "model", "s", "-o", "{}", "--force"],
}
#: It kills itself when it has written its first file whole, before that gets its name, or after.
_KILLED = """
import os, sys
where = sys.argv.pop(1)
def hook(event, given):
    if event == "os.rename" and where in str(given[1]):
        os.kill(os.getpid(), 9)
sys.addaudithook(hook)
from orchestrator.cli import main
main()
"""


@pytest.mark.exhaustive(reason="a real sweep, and an export that is killed")
def test_a_killed_export_leaves_nothing_half_and_is_repeated(start: Start, tmp_path: Path) -> None:
    driver = start(SWEEP | {"search": SWEEP["search"] | {"num_trials": 1}})
    assert driver.wait() == 0, driver.text
    for name, command in EXPORTS.items():
        target = tmp_path / ("model" if name == "model" else f"{name}.{_ENDING[name]}")
        words = [word.format(target) for word in command] + ["--out", str(driver.out)]
        run = [sys.executable, "-c", _KILLED, str(target), *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        killed = subprocess.run(run, capture_output=True, text=True, env=environment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not [path for path in _files(target) if not path.name.startswith(".writing-")]
        run[3] = "nowhere"
        again = subprocess.run(run, capture_output=True, text=True, env=environment)
        assert again.returncode == 0, again.stderr
        assert _files(target) and not [p for p in _files(target) if p.name.startswith(".")]
    assert json.loads((tmp_path / "model" / "config.json").read_text())


_ENDING = {"table": "csv", "report": "html"}


def _files(target: Path) -> list[Path]:
    """The file itself, or what is in the folder."""
    if target.is_dir():
        return list(target.iterdir())
    return [target] if target.exists() else []
