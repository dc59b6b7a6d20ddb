"""A driver that is killed while MLflow makes its tables leaves a database for the next one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.tracking import MlflowProjection, SweepDescription
from orchestrator.tracking.sqlite_file import make_whole
from tests.support.drivers import ROOT
from tests.support.ledgers import write_trial
from tests.support.mlflow_runs import shown

_KILLED = """
import os, signal, sys
from pathlib import Path
from orchestrator.tracking.sqlite_file import make_whole

def fill(path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

make_whole(Path(sys.argv[1]), fill)
"""
_DRAWS = """
import sys
from orchestrator.ledger import Ledger
from orchestrator.tracking import MlflowProjection, SweepDescription

print("ready", flush=True)
out = sys.argv[1]
MlflowProjection("sqlite:///mlflow.db", SweepDescription("s"), Ledger(out, "s")).begin()
"""


def run(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_file_whose_maker_was_killed_is_not_there_and_the_first_of_two_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mlflow.db"
    assert run(_KILLED, path).wait(60) == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []

    def second(made: Path) -> None:
        make_whole(path, lambda made: made.write_bytes(b"first"))
        made.write_bytes(b"second")

    make_whole(path, second)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.exhaustive(reason="repeats its fault at random moments")
def test_a_projection_killed_while_its_database_is_made_is_drawn_by_the_next(
    tmp_path: Path, moments: random.Random, rounds: int
) -> None:
    for number in range(rounds):
        out = tmp_path / f"{number}"
        name = write_trial(out / "s", [0.4, 0.5])
        process = run(_DRAWS, out)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        try:
            process.wait(moments.uniform(0, 10))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        projection = MlflowProjection(
            "sqlite:///mlflow.db", SweepDescription("s"), Ledger(out, "s")
        )
        projection.finish("FINISHED", [name])
        assert set(shown(projection.uri, "s")) == {name}
