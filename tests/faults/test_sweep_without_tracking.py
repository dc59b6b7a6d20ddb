"""Whole sweeps while MLflow or PostgreSQL goes and comes: every trial is trained, shown once."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import pytest
from mlflow import MlflowClient

from orchestrator.database_urls import expanded
from tests.support.drivers import SWEEP, Driver, trials
from tests.support.mlflow_runs import orch, shown
from tests.support.servers import PASSWORD, MlflowServer, Postgresql, running

Start = Callable[..., Driver]
STUB = "tests.faults.chained:train"
TRIALS = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    with running(made):
        yield made


@pytest.fixture(scope="module")
def database() -> Iterator[Postgresql]:
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    made = Postgresql()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ORCH_DB_PASSWORD", PASSWORD)
            yield made
    finally:
        made.remove()


@pytest.fixture(autouse=True)
def forgotten(request: pytest.FixtureRequest) -> Iterator[None]:
    """The sweeps of all tests have one name, so each leaves its experiment under another."""
    yield
    if "server" in request.fixturenames:
        client = MlflowClient(request.getfixturevalue("server").uri)
        found = client.get_experiment_by_name("s")
        if found is not None:
            client.rename_experiment(found.experiment_id, request.node.name)


def ends_whole(start: Start, driver: Driver, sweep: dict[str, Any], uri: str) -> None:
    """Every trial trained in the one run; the next run and sync, twice each, show it once."""
    assert driver.wait() == 0, driver.text
    assert "Traceback" not in driver.text
    assert Counter(trial.status for trial in trials(driver.out).values()) == {"complete": TRIALS}
    for _ in range(2):
        again = start(sweep, train=STUB)
        assert again.wait() == 0, again.text
        whole(driver.out, uri)
        orch("sync", "s", "--out", str(driver.out), cwd=driver.out)
        whole(driver.out, uri)


def whole(out: Path, uri: str) -> None:
    runs = shown(uri, "s")
    assert set(runs) == set(trials(out))
    assert {(status, tuple(steps)) for status, steps, _ in runs.values()} == {
        ("FINISHED", (1, 2, 3))
    }


def lost(driver: Driver) -> list[str]:
    return [line for line in driver.text.splitlines() if "does not answer" in line]


@pytest.mark.exhaustive(reason="whole sweeps beside a server that hangs")
def test_a_server_that_hangs_delays_no_trial_and_the_end_by_half_a_minute_at_most(
    start: Start, server: MlflowServer
) -> None:
    sweep = SWEEP | {"tracking": SWEEP["tracking"] | {"uri": server.uri}}
    pace = {"EPOCH_S": "0.5", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
    driver = start(sweep, train=STUB, environment=pace)
    driver.wait_until(lambda: driver.epochs() >= 2)
    server.signal(signal.SIGSTOP)
    try:
        driver.wait_until(lambda: len(list(driver.out.glob("s/trials/*/end.json"))) == TRIALS)
        begun = time.monotonic()
        assert driver.wait() == 0, driver.text
        assert time.monotonic() - begun < 40
    finally:
        server.signal(signal.SIGCONT)
    assert len(lost(driver)) == 1
    ends_whole(start, driver, sweep, server.uri)


@pytest.mark.exhaustive(reason="whole sweeps beside a server that restarts")
@pytest.mark.parametrize("when", ["start", "middle", "end", "throughout"])
def test_a_server_that_is_killed_and_started_again(
    start: Start, server: MlflowServer, when: str
) -> None:
    sweep = SWEEP | {"tracking": SWEEP["tracking"] | {"uri": server.uri}}
    if when in ("start", "throughout"):
        server.kill()
    driver = start(sweep, train=STUB, environment={"EPOCH_S": "0.8"})
    driver.wait_until(lambda: driver.epochs() >= 4)
    if when == "start":
        server.start()
    elif when == "middle":
        server.kill()
        driver.wait_until(lambda: driver.epochs() >= 12)
        server.start()
    elif when == "end":
        server.kill()
    assert driver.wait() == 0, driver.text
    assert len(lost(driver)) <= 1
    assert len(lost(driver)) == 1 or when == "middle"
    if when in ("end", "throughout"):
        server.start()
    ends_whole(start, driver, sweep, server.uri)


@pytest.mark.exhaustive(reason="whole sweeps beside a database that restarts")
@pytest.mark.parametrize("behind_server", [False, True], ids=["direct", "behind mlflow server"])
@pytest.mark.parametrize("when", ["middle", "end"])
def test_postgresql_that_is_stopped_and_started_again(
    start: Start, database: Postgresql, tmp_path: Path, when: str, behind_server: bool
) -> None:
    names = [f"{kind}_{when}_{int(behind_server)}" for kind in ("mlflow", "optuna")]
    opened = [database.create(name) for name in names]
    uri, study = database.address(names[0]), database.address(names[1])
    behind = MlflowServer(tmp_path, opened[0])
    try:
        if behind_server:
            behind.start()
            uri = behind.uri
        sweep = SWEEP | {"tracking": SWEEP["tracking"] | {"uri": uri, "study": study}}
        driver = start(sweep, train=STUB, environment={"EPOCH_S": "0.8"})
        driver.wait_until(lambda: driver.epochs() >= 6)
        database.stop()
        if when == "middle":
            driver.wait_until(lambda: driver.epochs() >= 12)
            database.start()
        assert driver.wait() == 0, driver.text
        if when == "end":
            assert len(lost(driver)) == 2
            database.start()
        ends_whole(start, driver, sweep, expanded(uri))
        keeps_the_password(driver, expanded(uri))
    finally:
        behind.kill()
    found = optuna.load_study(study_name="s", storage=opened[1])
    assert Counter(trial.state.name for trial in found.trials) == {"COMPLETE": TRIALS // 2}
    assert len({trial.user_attrs["suggestion"] for trial in found.trials}) == TRIALS // 2


def keeps_the_password(driver: Driver, uri: str) -> None:
    """It stands in no file below the sweep, in no printed line, in no tag or parameter."""
    secrets = [PASSWORD.encode(), quote(PASSWORD, safe="").encode()]
    texts = [driver.output.read_bytes()]
    texts += [path.read_bytes() for path in driver.out.rglob("*") if path.is_file()]
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("s")
    for run in client.search_runs([experiment.experiment_id]):
        texts.append(json.dumps(run.to_dictionary()).encode())
    assert not [text for text in texts if any(secret in text for secret in secrets)]
    assert b"${ORCH_DB_PASSWORD}" in (driver.out / "s" / "sweep.yaml").read_bytes()
