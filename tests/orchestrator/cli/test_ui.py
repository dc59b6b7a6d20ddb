"""`orch ui`: its servers end together, and the page of the sweep is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.ledger import Ledger
from orchestrator.tracking import MlflowProjection, SweepDescription
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT
from tests.support.servers import free_port, wait_for

#: `orch ui`'s loop over other servers than MLflow: one leaves a process of its own behind.
SERVE = """
import sys
from orchestrator.cli.ui import _serve
sleep = "import subprocess, sys, time; subprocess.Popen(['sleep', '60'])"
sleep += "; print('up', flush=True); {}"
kinds = {"stays": "time.sleep(60)", "dies": "sys.exit(3)"}
code = {kind: sleep.format(end) for kind, end in kinds.items()}
sys.exit(_serve({k: ([sys.executable, "-c", code[k]], {"A": "1"}) for k in sys.argv[1:]}))
"""


def started(folder: Path, *kinds: str) -> tuple[subprocess.Popen[str], Path]:
    log = folder / "log.txt"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SERVE), *kinds],
            cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
    return process, log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_servers_and_what_they_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    process, log = started(tmp_path, "stays", "stays")
    wait_for(lambda: "up" in log.read_text(), "the server")
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(30) == 0, log.read_text()
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert "Traceback" not in log.read_text()


def test_a_server_that_ends_by_itself_is_said_and_ends_the_other(tmp_path: Path) -> None:
    process, log = started(tmp_path, "stays", "dies")
    assert process.wait(60) == 1
    assert "dies ended unexpectedly (exit code 3)" in log.read_text()


@pytest.fixture
def swept(tmp_path: Path) -> Iterator[Path]:
    """A folder with a tracked sweep."""
    name = write_trial(tmp_path / "s", [0.4])
    (tmp_path / "s" / "sweep.yaml").write_text("name: s\n")
    description = SweepDescription("s", sweep_id="id")
    MlflowProjection("sqlite:///mlflow.db", description, Ledger(tmp_path, "s")).finish(
        "FINISHED", [name]
    )
    yield tmp_path


@pytest.mark.slow(reason="starts MLflow's server and Optuna's dashboard")
def test_ui_names_the_page_of_the_sweep(swept: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", "ui", "s"]
    process = subprocess.Popen(
        [*command, "--out", str(swept), "--port", str(port)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}/#/experiments/1/runs?viewStateShareKey=orch" in line
        assert "optuna-dashboard" in process.stdout.readline()
    finally:
        process.terminate()
        process.wait(30)
