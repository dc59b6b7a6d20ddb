"""PostgreSQL holds MLflow's runs and Optuna's study: stopped, halted, started; the password stays
where it was put."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest
from optuna.trial import TrialState

from orchestrator.database_urls import expanded
from orchestrator.ledger import Ledger
from orchestrator.search import Ended, PersistentStudy
from orchestrator.tracking import MlflowProjection, SweepDescription
from orchestrator.tracking import background as background_module
from orchestrator.tracking.background import BackgroundProjection
from orchestrator.tracking.projections import StudyProjection
from tests.support.ledgers import write_trial
from tests.support.mlflow_runs import shown
from tests.support.searches import finish, make_spec, open_queue
from tests.support.servers import PASSWORD, Postgresql, answers, wait_for

pytest.importorskip("psycopg", reason="the extra postgres is not installed")
pytestmark = pytest.mark.slow(reason="starts a PostgreSQL server and stops it again and again")


@pytest.fixture(scope="module")
def database() -> Iterator[Postgresql]:
    made = Postgresql()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ORCH_DB_PASSWORD", PASSWORD)
            made.create("mlflow")
            made.create("optuna")
            yield made
    finally:
        made.remove()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "_PAUSE_S", 0.05)
    monkeypatch.setattr(background_module, "_RETRY_S", 0.2)
    monkeypatch.setattr(background_module, "_END_S", 3.0)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    queue = open_queue(tmp_path_factory.mktemp("ended"), make_spec(search={"num_trials": 6}))
    finish(queue)
    return queue.ended_suggestions()


class Sweep:
    """Its directories, MLflow's runs and Optuna's study, each projected in the background."""

    def __init__(self, out: Path, database: Postgresql, name: str, ended: list[Ended]):
        self.database, self.name, self.all, self.out = database, name, ended, out
        self.said: list[str] = []
        self.trials: list[str] = []
        self.ended: list[Ended] = []
        self.backgrounds: list[BackgroundProjection] = []

    def begin(self) -> None:
        runs = MlflowProjection(
            self.database.address("mlflow"), SweepDescription(self.name, sweep_id="id"),
            Ledger(self.out, self.name),
        )  # fmt: skip
        study = PersistentStudy(
            self.database.address("optuna"), self.name, "id", {"dev_score": "max"}
        )
        projections = [runs, StudyProjection(study, lambda: list(self.ended))]
        self.backgrounds = [BackgroundProjection(each, self.said.append) for each in projections]
        for background in self.backgrounds:
            background.start()

    def step(self) -> None:
        name = write_trial(self.out / self.name, [0.4, 0.5], seed=len(self.trials) + 1)
        self.trials.append(name)
        self.ended.append(self.all[len(self.ended)])
        for background in self.backgrounds:
            background.changed(name)

    def projected(self) -> int:
        return min(background._projection.projected for background in self.backgrounds)

    def close(self) -> list[bool]:
        return [background.close("FINISHED", self.trials) for background in self.backgrounds]

    def holds_all(self) -> None:
        runs = shown(expanded(self.database.address("mlflow")), self.name)
        assert {run[:2] for run in map(_plain, runs.values())} == {("FINISHED", (1, 2))}
        assert set(runs) == set(self.trials)
        address = expanded(self.database.address("optuna"))
        study = optuna.load_study(study_name=self.name, storage=address)
        states = [trial.state for trial in study.trials]
        assert states == [TrialState.COMPLETE] * len(self.ended)
        assert len({trial.user_attrs["suggestion"] for trial in study.trials}) == len(states)


def _plain(run: tuple[str, list[int], int]) -> tuple[str, tuple[int, ...]]:
    return run[0], tuple(run[1])


@pytest.fixture
def sweep(
    tmp_path: Path, database: Postgresql, ended: list[Ended], request: pytest.FixtureRequest
) -> Sweep:
    return Sweep(tmp_path, database, request.node.name[:60], ended)


def test_stopped_in_the_middle_and_started_again(
    sweep: Sweep, database: Postgresql, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    sweep.begin()
    sweep.step()
    wait_for(lambda: sweep.projected() > 0, f"the first trial: {sweep.said}")
    database.stop()
    assert not answers(database.port)
    sweep.step()
    wait_for(lambda: len(sweep.said) == 2, "a line of each")
    sweep.step()
    database.start()
    assert sweep.close() == [True, True]
    lost = [line for line in sweep.said if "does not answer" in line]
    assert len(lost) == 2 and len(sweep.said) <= 4
    sweep.holds_all()
    for _ in range(2):
        sweep.begin()
        assert sweep.close() == [True, True]
        sweep.holds_all()
    printed = capfd.readouterr()
    for text in (*sweep.said, caplog.text, printed.out, printed.err):
        assert PASSWORD not in text and quote(PASSWORD, safe="") not in text
    assert "Traceback" not in printed.err


def test_stopped_over_the_end(sweep: Sweep, database: Postgresql) -> None:
    database.stop()
    try:
        begun = time.monotonic()
        sweep.begin()
        sweep.step()
        sweep.step()
        assert sweep.close() == [False, False]
        assert time.monotonic() - begun < 15  # MLflow alone would try for two minutes
        assert len(sweep.said) == 2
    finally:
        database.start()
    sweep.begin()
    assert sweep.close() == [True, True]
    sweep.holds_all()


def test_halted_it_holds_nobody_up(sweep: Sweep, database: Postgresql) -> None:
    sweep.begin()
    sweep.step()
    wait_for(lambda: sweep.projected() > 0, f"the first trial: {sweep.said}")
    database.halt()
    try:
        sweep.step()
        begun = time.monotonic()
        assert sweep.close() == [False, False]
        assert time.monotonic() - begun < 15
        assert len(sweep.said) == 2
    finally:
        database.go_on()
    for background in sweep.backgrounds:  # a driver would be gone by now
        background._thread.join(30)
    sweep.begin()
    assert sweep.close() == [True, True]
    sweep.holds_all()


def test_a_password_file_will_do(
    database: Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORCH_DB_PASSWORD")
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:{database.port}:*:orch:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    name = write_trial(tmp_path / "pgpass-sweep", [0.4])
    address = f"postgresql+psycopg://orch@{database.place}/mlflow"
    description = SweepDescription("pgpass-sweep", sweep_id="id")
    MlflowProjection(address, description, Ledger(tmp_path, "pgpass-sweep")).finish(
        "FINISHED", [name]
    )
    study = PersistentStudy(
        address.replace("/mlflow", "/optuna"), "pgpass-sweep", "id", {"a": "max"}
    )
    study.update([])
    study.close()
