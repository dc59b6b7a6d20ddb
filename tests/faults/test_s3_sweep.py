"""Whole sweeps on an S3 server: undisturbed, killed, and with the server away for a while."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from pyarrow import fs

from orchestrator.ledger import Ledger, TrialRecord
from tests.support.drivers import PATIENCE_S, ROOT, SWEEP
from tests.support.mlflow_runs import shown
from tests.support.resuming import untimed
from tests.support.servers import Relay, S3Server, running, wait_for
from trainer.storage import object_store
from trainer.storage.folder import StoreError
from trainer.storage.open import open_folder

Start = Callable[..., "Driver"]
SMALL: dict[str, Any] = SWEEP | {
    "search": SWEEP["search"] | {"num_trials": 2, "seeds": [1, 2]},
    "enqueue": [],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """The way to an S3 server with a bucket `bucket`."""
    made = S3Server(tmp_path_factory.mktemp("s3"))
    relay = Relay(made.port)
    with running(made), running(relay), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        uri = f"s3://bucket?{_options(made.port)}&allow_bucket_creation=true"
        fs.FileSystem.from_uri(uri)[0].create_dir("bucket")
        yield relay


@pytest.fixture
def place(server: Relay, tmp_path: Path) -> str:
    return f"s3://bucket/{tmp_path.name}?{_options(server.port)}"


def _options(port: int) -> str:
    return f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


class Driver:
    """`orch sweep` in a process group and a current folder of its own."""

    def __init__(self, folder: Path, out: str, sweep: dict[str, Any]):
        self.folder, self.out = folder, out
        folder.mkdir(exist_ok=True)
        (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
        self.output = folder / "output.txt"
        with self.output.open("a") as stream:
            self.process = subprocess.Popen(
                [*_ORCH, "sweep", "sweep.yaml", "--out", out],
                cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stdout=stream,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def epochs(self) -> int:
        return sum(len(trial.records) for trial in Ledger(self.out, "s").trials())

    def wait_for_epochs(self, count: int) -> None:
        wait_for(lambda: self._alive() and self.epochs() >= count, self.text, PATIENCE_S)

    def _alive(self) -> bool:
        assert self.process.poll() is None, self.text
        return True

    def kill_all(self) -> None:
        """SIGKILL to the driver and everything that it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            tree = [root, *root.children(recursive=True)]
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(tree, timeout=10)
        self.process.wait(10)

    def orch(self, command: str, *arguments: str) -> str:
        done = subprocess.run(
            [*_ORCH, command, *arguments, "--out", self.out], cwd=self.folder,
            env=_environment(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


_ORCH = [sys.executable, "-c", "from orchestrator.cli import main; main()"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Start]:
    drivers: list[Driver] = []

    def begin(out: str, name: str = "a", **changes: Any) -> Driver:
        sweep = copy.deepcopy(SMALL | changes)
        sweep["base"]["data"]["cache"] = str(cache)
        drivers.append(Driver(tmp_path / name, out, sweep))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.kill_all()


def trials(out: str) -> dict[str, TrialRecord]:
    return {trial.trial_id: trial for trial in Ledger(out, "s").trials()}


def same_as_local(start: Start, tmp_path: Path, driver: Driver) -> None:
    """The records of a run on a disk, every run in MLflow once, and every command reads it."""
    local = start(str(tmp_path / "local" / "out"), name="local")
    assert local.wait() == 0, local.text
    expected, found = trials(local.out), trials(driver.out)
    assert set(found) == set(expected) and len(found) == 4
    for name, trial in expected.items():
        assert found[name].status == "complete", found[name].reason
        records = [untimed(record) for record in found[name].records]
        assert records == [untimed(record) for record in trial.records]
    database = f"sqlite:///{driver.folder}/mlflow.db"
    for _ in range(2):
        runs = shown(database, "s")
        assert set(runs) == set(expected)
        assert {(status, tuple(steps)) for status, steps, _ in runs.values()} == {
            ("FINISHED", (1, 2, 3))
        }
        driver.orch("sync", "s")
    assert json.loads(driver.orch("ls", "--json"))[0]["name"] == "s"
    assert all(name in driver.orch("show", "s", "--json") for name in expected)
    rows = json.loads(driver.orch("compare", "s", "--json"))["rows"]
    assert sorted(name for row in rows for name in row["trials"]) == sorted(expected)


def test_a_short_outage_is_waited_for(server: Relay, place: str) -> None:
    folder = open_folder(place)
    folder.write("before", b"1")
    server.kill()
    begun = time.monotonic()
    timer = threading.Timer(2, server.start)
    timer.start()
    try:
        folder.write("during", b"2")
    finally:
        timer.join()
    assert 1.5 < time.monotonic() - begun < 20
    assert folder.read("during") == b"2" and folder.names() == ["before", "during"]


def test_a_long_outage_is_an_error_and_so_is_a_first_word(
    server: Relay, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_STORE_PATIENCE", "2")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    folder = open_folder(place)
    folder.write("before", b"1")
    server.kill()
    try:
        begun = time.monotonic()
        with pytest.raises(StoreError, match="does not answer"):
            folder.read("before")
        assert 1 < time.monotonic() - begun < 15
        monkeypatch.setenv("ORCH_STORE_PATIENCE", "60")
        object_store._reached.clear()
        begun = time.monotonic()
        with pytest.raises(StoreError, match="does not answer"):
            folder.read("before")
        assert time.monotonic() - begun < 15
    finally:
        server.start()
    assert folder.read("before") == b"1"


@pytest.mark.exhaustive(reason="three whole sweeps on S3")
def test_a_sweep_on_s3_whose_driver_is_killed_ends_like_one_on_a_disk(
    start: Start, place: str, tmp_path: Path
) -> None:
    first = start(place)
    first.wait_for_epochs(3)
    first.process.send_signal(signal.SIGKILL)
    first.kill_all()
    second = start(place)
    assert second.wait() == 0, second.text
    same_as_local(start, tmp_path, second)
    again = start(place)
    assert again.wait() == 0 and "Traceback" not in again.text
    same_as_local(start, tmp_path, again)


@pytest.mark.exhaustive(reason="a whole sweep on S3 and an outage of seconds")
def test_a_server_that_is_away_for_seconds_costs_no_attempt(
    start: Start, server: Relay, place: str, tmp_path: Path
) -> None:
    driver = start(place)
    driver.wait_for_epochs(2)
    server.kill()
    time.sleep(8)
    server.start()
    assert driver.wait() == 0, driver.text
    assert "attempt" not in driver.text and "Traceback" not in driver.text, driver.text
    same_as_local(start, tmp_path, driver)


@pytest.mark.exhaustive(reason="whole sweeps on S3 and an outage")
def test_a_server_that_stays_away_ends_the_sweep_with_words_and_the_next_run_goes_on(
    start: Start, server: Relay, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_STORE_PATIENCE", "3")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    driver = start(place)
    driver.wait_for_epochs(2)
    server.kill()
    try:
        assert driver.wait() != 0, driver.text
    finally:
        server.start()
    assert "does not answer" in driver.text and "Traceback" not in driver.text
    again = start(place)
    assert again.wait() == 0, again.text
    same_as_local(start, tmp_path, again)
