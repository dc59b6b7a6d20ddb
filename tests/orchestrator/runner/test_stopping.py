"""SIGINT and SIGTERM against a driver with its whole process group, as a terminal sends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.ledger import Ledger
from orchestrator.runner.local_ray import kill_processes, temp_folder
from tests.support.paths import ROOT

PATIENCE_S = 90

#: Runs the sweep twice: the second run goes on where the first was interrupted.
DRIVER = """
import gc
import sys
from rich.console import Console
from tests.support.attempts import make_spec, open_attempts, open_queue
from orchestrator import runner
from orchestrator.progress import PlainProgress
from pathlib import Path

spec = make_spec("slow", "slow too", epochs=9)
with runner.cluster(spec.resources, None) as places:
    for run in (1, 2):
        try:
            queue = open_queue(spec, Path(sys.argv[1]))
            runner.run(open_attempts(spec, queue, PlainProgress(Console())), places)
        except KeyboardInterrupt:
            print("interrupted", run, flush=True)
        gc.collect()  # Tune's actors go with the frames that were interrupted
"""


def test_what_a_ray_session_leaves_behind_is_ended(tmp_path: Path) -> None:
    code = "import sys, time; held = open(sys.argv[1], 'w'); print(flush=True); time.sleep(60)"
    mine, other = tmp_path / "session", tmp_path / "session-of-another"
    processes = []
    for folder in (mine, other):
        folder.mkdir()
        command = [sys.executable, "-c", code, str(folder / "log.txt")]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    try:
        for process in processes:
            assert process.stdout and process.stdout.readline()
        kill_processes(mine)
        assert processes[0].wait(10) == -signal.SIGKILL
        assert processes[1].poll() is None
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_sweep_that_sweeps_the_same_folder_away_is_spared(tmp_path: Path) -> None:
    """Two sweeps that start together find the same dead session; to delete a folder is to hold it
    open, and that is not being left behind by it."""
    folder = tmp_path / "session"
    (folder / "logs").mkdir(parents=True)
    code = (
        "import os, time; held = os.open(input(), os.O_RDONLY); print(flush=True); time.sleep(60)"
    )
    pipe = subprocess.PIPE
    other = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
    try:
        assert other.stdin and other.stdout
        print(folder / "logs", file=other.stdin, flush=True)
        assert other.stdout.readline()
        kill_processes(folder)
        assert other.poll() is None
        (folder / "logs").rmdir()  # now it holds what another one has deleted
        kill_processes(folder)
        time.sleep(0.2)
        assert other.poll() is None
    finally:
        other.kill()
        other.communicate()


def test_a_folder_that_another_driver_has_just_deleted_stops_no_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two drivers that start together both delete what a third one, which was killed, left."""
    gone = Path("/tmp/orch-ray-999999999-gone")
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([gone]))
    folder = temp_folder()
    try:
        assert folder.is_dir() and f"-{os.getpid()}-" in folder.name
    finally:
        folder.rmdir()


@pytest.mark.slow(reason="a driver that runs two sweeps and is interrupted twice")
def test_the_first_signal_waits_for_commits_and_the_second_leaves_at_once(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    with output.open("w") as stream:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path / "out")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family: list[psutil.Process] = []

    def wait_for(text: str, count: int = 1) -> None:
        end = time.monotonic() + PATIENCE_S
        while output.read_text().count(text) < count:
            assert driver.poll() is None and time.monotonic() < end, output.read_text()
            time.sleep(0.02)

    sweep = tmp_path / "out" / "s"
    sweep.mkdir(parents=True)
    (sweep / "go-1").touch()
    try:
        wait_for(" epoch 1/", 2)
        family += psutil.Process(driver.pid).children(recursive=True)
        os.killpg(driver.pid, signal.SIGINT)
        promise = "2 trials may commit their epoch within 60 s; a second signal stops at once"
        wait_for(f"stopping: {promise}")
        (sweep / "go-2").touch()
        wait_for("interrupted 1")
        said = output.read_text()
        assert said.count(" epoch 2/") == said.count(" stopped: ") == 2
        trials = Ledger(tmp_path / "out", "s").trials()
        assert [(len(t.records), t.status) for t in trials] == [(2, "unfinished")] * 2

        wait_for(" started", 4)
        family += psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal.SIGTERM)
        wait_for("stopping: ", 2)
        time.sleep(0.5)
        driver.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        wait_for("interrupted 2")
        assert time.monotonic() - sent < 3
        time.sleep(0.3)
        driver.send_signal(signal.SIGINT)  # Ray is being stopped, and must not be left half way
        assert driver.wait(PATIENCE_S) == 0, output.read_text()
        _, left = psutil.wait_procs(family, timeout=1)
        assert left == []
        assert not list(Path("/tmp").glob(f"orch-ray-{driver.pid}-*"))
    finally:
        for process in [*family, driver]:
            if process.pid == driver.pid or psutil.pid_exists(process.pid):
                process.kill()
        driver.wait(10)
