"""`orch ui`: its servers end together, and the page of the sweep is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from orchestrator.cli import browser
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
sleep += "; print('up', flush=True); open('up', 'a').close(); {}"
kinds = {"stays": "time.sleep(60)", "dies": "sys.exit(3)"}
code = {kind: sleep.format(end) for kind, end in kinds.items()}
sys.exit(_serve({k: ([sys.executable, "-c", code[k]], {"A": "1"}) for k in sys.argv[1:]}))
"""


def started(folder: Path, *kinds: str) -> tuple[subprocess.Popen[str], Path]:
    log = folder / "log.txt"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SERVE), *kinds],
            cwd=folder, stdout=stream, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    return process, log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_servers_and_what_they_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    process, log = started(tmp_path, "stays", "stays")
    wait_for((tmp_path / "up").exists, "the server")
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(30) == 0, log.read_text()
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert "Traceback" not in log.read_text()


def test_a_server_that_ends_by_itself_is_said_and_ends_the_other(tmp_path: Path) -> None:
    process, log = started(tmp_path, "stays", "dies")
    assert process.wait(60) == 1
    said = log.read_text().splitlines()
    assert said == ["dies ended unexpectedly (exit code 3)", "  up"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({}, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, False),
        ({"DISPLAY": ":0", "SSH_TTY": "/dev/pts/1"}, False),
    ],
)
def test_a_page_opens_only_before_a_screen(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    assert browser.can_open(environment) == expected
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: False))
    assert not browser.can_open(environment)  # a script reads the address


def test_a_page_opens_when_its_server_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: not opened.append(address))
    monkeypatch.setattr(browser, "_PAUSE_S", 0.01)
    port = free_port()
    address = f"http://127.0.0.1:{port}/#/experiments/1"
    browser.watch(address, show=True)
    time.sleep(0.1)
    assert opened == [] and not browser.answers(address)
    with HTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        wait_for(lambda: bool(opened), "the browser")
        server.shutdown()
    assert opened == [address]
    wait_for(lambda: "open in your browser; Ctrl-C" in capsys.readouterr().out, "the line")


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
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        assert f"http://127.0.0.1:{port}/#/experiments/1/runs?viewStateShareKey=orch" in lines[0]
        assert "optuna-dashboard" in lines[2]
        assert lines[3].startswith("MLflow") and "seconds" in lines[3]
        assert lines[4] == "MLflow answers; Ctrl-C ends it.\n"
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
    assert process.stdout.read() == ""  # the server's own lines are kept from the terminal
