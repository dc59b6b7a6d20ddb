"""docker/bin/cluster-sweep and fetch-inputs, with an `orch` that ends as the test says."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

BIN = ROOT / "docker" / "bin"
#: Writes down how it was called, and ends with the next of the exit codes; 0 when they are used up.
_ORCH = """#!/bin/sh
echo "$*" >>"$CALLS"
n=$(wc -l <"$CALLS")
exit "$(echo "$CODES" | cut -d ' ' -f "$n")"
"""

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a script; returns its exit code, and the calls of orch that it made."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "orch").write_text(_ORCH)
    (tmp_path / "bin" / "orch").chmod(0o755)
    (tmp_path / "data").mkdir()

    def call(*command: str, codes: str, **environment: str) -> tuple[int, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=30,
            env={
                "PATH": f"{tmp_path / 'bin'}:{BIN}:{os.environ['PATH']}", "CALLS": str(calls),
                "CODES": f"{codes} 0 0 0 0", "SECRETS": "/nowhere", "ORCH_PAUSE": "0",
                "ORCH_TRACKING": "m", "ORCH_STUDY": "s", **environment,
            },
        )  # fmt: skip
        return done.returncode, calls.read_text().splitlines()

    return call


def test_a_stopped_sweep_is_waited_for_and_not_run_again(tmp_path: Path) -> None:
    """`ray job stop` sends SIGTERM to the script and to what it runs."""
    orch = tmp_path / "orch"
    orch.write_text(
        f"#!/bin/sh\ntrap 'sleep 0.5; echo left >>{tmp_path}/calls; exit 130' TERM\n"
        f"echo begun >>{tmp_path}/calls\nwhile :; do sleep 0.1; done\n"
    )
    orch.chmod(0o755)
    calls = tmp_path / "calls"
    process = subprocess.Popen(
        ["cluster-sweep", "f.yaml"], cwd=tmp_path, start_new_session=True,
        env={
            "PATH": f"{tmp_path}:{BIN}:{os.environ['PATH']}", "SECRETS": "/nowhere",
            "ORCH_TRIES": "3", "ORCH_PAUSE": "0", "ORCH_TRACKING": "m", "ORCH_STUDY": "s",
        },
    )  # fmt: skip
    end = time.monotonic() + 30
    while not calls.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(30) == 143
    assert calls.read_text().split() == ["begun", "left"]


@pytest.mark.parametrize(
    ("codes", "tries", "code", "calls"),
    [
        ("0", "3", 0, 1),
        ("2", "3", 2, 1),  # a wrong input
        ("3", "3", 3, 1),  # budget.hours is over
        ("130", "3", 130, 1),  # stopped
        ("1 0", "3", 0, 2),
        ("137 1 1", "3", 1, 3),
        ("1 2", "3", 2, 2),
        ("1", "1", 1, 1),
    ],
)
def test_only_what_can_be_repaired_is_run_again(
    run: Run, codes: str, tries: str, code: int, calls: int
) -> None:
    ended, made = run("cluster-sweep", "f.yaml", codes=codes, ORCH_TRIES=tries)
    assert (ended, len(made)) == (code, calls)
    words = "sweep f.yaml --address auto --set tracking.uri=m --set tracking.study=s"
    assert set(made) == {words}


def test_a_sweep_waits_for_its_inputs_and_not_for_ever(run: Run, tmp_path: Path) -> None:
    begun = time.monotonic()
    ended, made = run("cluster-sweep", "f.yaml", codes="2", ORCH_AWAIT_INPUTS="2", ORCH_PAUSE="1")
    assert (ended, len(made)) == (2, 1) and time.monotonic() - begun > 1
    (tmp_path / "data" / ".complete").touch()
    ended, made = run("cluster-sweep", "f.yaml", codes="0", ORCH_AWAIT_INPUTS="3600")
    assert (ended, len(made)) == (0, 1)


CHECK = "sweep f --profile p --dry-run"
STATS, FETCH = "data stats f --profile p", "data fetch --to data"


@pytest.mark.parametrize(
    ("codes", "code", "calls"),
    [
        ("0 0", 0, [CHECK, STATS]),
        ("0 2 0 0", 0, [CHECK, STATS, FETCH, STATS]),
        ("0 2 1", 1, [CHECK, STATS, FETCH]),
        ("0 2 0 2", 2, [CHECK, STATS, FETCH, STATS]),
        ("2", 2, [CHECK]),  # a wrong key: nothing is downloaded
    ],
)
def test_inputs_are_fetched_where_they_lack_and_complete_only_when_read(
    run: Run, tmp_path: Path, codes: str, code: int, calls: Any
) -> None:
    complete = tmp_path / "data" / ".complete"
    complete.touch()  # of an earlier run
    assert run("fetch-inputs", "f", "--profile", "p", codes=codes) == (code, calls)
    assert complete.exists() == (code == 0)
