"""MLflow is away, hangs, comes back: training goes on, one line says so, nothing stands twice."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.ledger import Ledger
from orchestrator.tracking import MlflowProjection, SweepDescription
from orchestrator.tracking import background as background_module
from orchestrator.tracking.background import BackgroundProjection
from tests.support.ledgers import write_trial
from tests.support.mlflow_runs import Shown, orch, shown
from tests.support.servers import MlflowServer, running, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    with running(made):
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setattr(background_module, "_PAUSE_S", 0.05)
    monkeypatch.setattr(background_module, "_RETRY_S", 0.2)


class Sweep:
    """A sweep's directory with a background on it; `said` are the lines that a user reads."""

    def __init__(self, out: Path, uri: str, name: str):
        self.out, self.uri, self.name = out, uri, name
        self.said: list[str] = []
        self.trials: list[str] = []

    def projection(self) -> MlflowProjection:
        description = SweepDescription(self.name, sweep_id=self.name)
        return MlflowProjection(self.uri, description, Ledger(self.out, self.name))

    def background(self) -> BackgroundProjection:
        background = BackgroundProjection(self.projection(), self.said.append)
        background.start()
        return background

    def add(self, *scores: float, **config: object) -> str:
        seed = len(self.trials) + 1
        name = write_trial(self.out / self.name, list(scores), seed=seed, **config)  # type: ignore[arg-type]
        self.trials.append(name)
        return name

    def sync(self) -> None:
        self.projection().finish("FINISHED", self.trials)

    def shown(self) -> Shown:
        """trial -> status, steps, number of parameters; one run each and one for the sweep."""
        return shown(self.uri, self.name)


@pytest.fixture
def sweep(tmp_path: Path, server: MlflowServer, request: pytest.FixtureRequest) -> Sweep:
    return Sweep(tmp_path, server.uri, request.node.name[:60])


def whole(sweep: Sweep, steps: int = 2) -> None:
    """Everything once, and the same after each of two more rounds."""
    found = sweep.shown()
    assert set(found) == set(sweep.trials)
    for status, held, params in found.values():
        assert status == "FINISHED" and held == list(range(1, steps + 1)) and params > 10
    for _ in range(2):
        sweep.sync()
        assert sweep.shown() == found


@pytest.mark.slow(reason="needs MLflow's server, whose start takes many seconds")
def test_a_server_that_was_killed_and_started_again_is_caught_up(
    sweep: Sweep, server: MlflowServer
) -> None:
    background = sweep.background()
    background.changed(sweep.add(0.4, 0.5))
    wait_for(lambda: background._projection.projected > 0, "the first trial")
    server.kill()
    before = len(sweep.said)  # on a busy machine it may have been late once already
    for _ in range(3):
        background.changed(sweep.add(0.4, 0.5))
    wait_for(lambda: bool(sweep.said), "a line")
    server.start()
    assert background.close("FINISHED", sweep.trials)
    del sweep.said[:before]
    assert len([line for line in sweep.said if "does not answer" in line]) <= 1
    assert len(sweep.said) <= 2
    whole(sweep)


@pytest.mark.slow(reason="needs MLflow's server, whose start takes many seconds")
def test_a_server_that_is_down_from_start_to_end_costs_nothing_and_is_caught_up(
    sweep: Sweep, server: MlflowServer
) -> None:
    server.kill()
    background = sweep.background()
    background.changed(sweep.add(0.4, 0.5))
    time.sleep(0.5)
    begun = time.monotonic()
    assert not background.close("FINISHED", sweep.trials)
    assert time.monotonic() - begun < 5
    assert len(sweep.said) == 1 and "orch sync" in sweep.said[0]
    server.start()
    sweep.sync()
    whole(sweep)


@pytest.mark.slow(reason="needs MLflow's server, whose start takes many seconds")
def test_a_server_that_hangs_is_not_waited_for(sweep: Sweep, server: MlflowServer) -> None:
    background = sweep.background()
    background.changed(sweep.add(0.4, 0.5))
    wait_for(lambda: background._projection.projected > 0, "the first trial")
    server.signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        for _ in range(3):
            background.changed(sweep.add(0.4, 0.5))
        assert time.monotonic() - begun < 0.5
        wait_for(lambda: bool(sweep.said), "a line")
        begun = time.monotonic()
        assert not background.close("FINISHED", sweep.trials)
        assert time.monotonic() - begun < 10
    finally:
        server.signal(signal.SIGCONT)
    assert len(sweep.said) == 1
    time.sleep(1)  # what was sent to it while it hung comes through now
    sweep.sync()
    whole(sweep)


@pytest.mark.slow(reason="needs MLflow's server, whose start takes many seconds")
def test_a_run_that_was_made_twice_is_one_again(sweep: Sweep, server: MlflowServer) -> None:
    """A request that was given up may still be answered, by a second run of one trial."""
    sweep.add(0.4, 0.5)
    sweep.add(0.4, 0.5)
    sweep.sync()
    before = sweep.shown()
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name(sweep.name).experiment_id
    for run in client.search_runs([experiment]):
        client.create_run(experiment, tags=dict(run.data.tags))
    with pytest.raises(AssertionError):
        sweep.shown()
    sweep.sync()
    assert sweep.shown() == before
    whole(sweep)


def test_a_sqlite_file_that_another_process_locks(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", "s")
    sweep.add(0.4, 0.5)
    sweep.sync()
    with sqlite3.connect(tmp_path / "mlflow.db") as other:
        other.execute("begin exclusive")
        background = sweep.background()
        background.changed(sweep.add(0.4, 0.5))
        background_module._END_S, patience = 1.0, background_module._END_S
        try:
            begun = time.monotonic()
            assert not background.close("FINISHED", sweep.trials)
            assert time.monotonic() - begun < 5
        finally:
            background_module._END_S = patience
        other.rollback()
    assert len(sweep.said) == 1
    background._thread.join(60)
    sweep.sync()
    whole(sweep)


@pytest.mark.exhaustive(reason="several commands, each in a process of its own")
def test_a_sqlite_file_that_was_deleted_is_built_again_by_sync(tmp_path: Path) -> None:
    """The process that had it open can write no more, says so, and goes on without."""
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", "s")
    background = sweep.background()
    background.changed(sweep.add(0.4, 0.5))
    wait_for(lambda: background._projection.projected > 0, "the first trial")
    for file in tmp_path.glob("mlflow.db*"):
        file.unlink()
    background.changed(sweep.add(0.4, 0.5))
    assert not background.close("FINISHED", sweep.trials)
    assert len(sweep.said) == 1 and "readonly database" in sweep.said[0]
    for _ in range(2):
        orch("sync", "s", "--out", str(tmp_path), cwd=tmp_path)
    copied = tmp_path / "copy.db"  # this process knows the other file under its name
    copied.write_bytes((tmp_path / "mlflow.db").read_bytes())
    assert set(shown(f"sqlite:///{copied}", "s")) == set(sweep.trials)


def test_a_place_where_no_database_can_be_opened_is_said_soon(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "sqlite:////proc/orch/mlflow.db", "s")
    begun = time.monotonic()
    background = sweep.background()
    background.changed(sweep.add(0.4))
    assert not background.close("FINISHED", sweep.trials)
    assert time.monotonic() - begun < 10 and len(sweep.said) == 1
