"""`orch rm`: what is removed, everywhere, and what stays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from mlflow import MlflowClient

from orchestrator.database_urls import resolve_uri
from orchestrator.ledger import RESOLVED, Ledger, listing
from orchestrator.ledger.sweep_id import sweep_id
from orchestrator.ledger.sweep_lock import SweepLock
from orchestrator.tracking import projections
from tests.support import command
from tests.support.decided import SimulatedSweep, sweep_spec
from tests.support.ledgers import write_trial
from tests.support.simulated import World

TRACKING = "tracking: {report: false, registered_model: none, study: 'sqlite:///studies.db'}"


def make(out: Path, name: str, seeds: tuple[int, ...] = (1, 2)) -> list[str]:
    """A sweep that MLflow and Optuna show; returns its trials."""
    ids = [write_trial(out / name, [0.4, 0.5], sampler="arrp", seed=seed) for seed in seeds]
    base = "base: {data: {source: synthetic}, encoder: tiny, epochs: 2}"
    listed = "search: {algorithm: list, num_trials: 1, seeds: [1, 2]}\nenqueue: [{sampler: arrp}]"
    text = f"format: 2\nname: {name}\nquestion: q\n{base}\n{listed}\n{TRACKING}\n"
    (out / name / RESOLVED).write_text(text)
    ledger = Ledger(out, name)
    projections.sync(ledger, listing.resolved_spec(ledger), print)
    return ids


@pytest.fixture
def out(tmp_path: Path, database: bytes) -> Path:
    (tmp_path / "mlflow.db").write_bytes(database)
    return tmp_path


def client(out: Path) -> MlflowClient:
    return MlflowClient(resolve_uri("sqlite:///mlflow.db", out))


def runs(out: Path, name: str) -> set[str]:
    """`sweep` and the ids of the trials that MLflow shows."""
    experiment = client(out).get_experiment_by_name(name)
    if experiment is None:
        return set()
    found = client(out).search_runs([experiment.experiment_id])
    return {run.data.tags.get("trial_id", "sweep") for run in found}


def studies(out: Path) -> list[str]:
    return sorted(optuna.get_all_study_names(resolve_uri("sqlite:///studies.db", out)))


def rm(out: Path, *arguments: str) -> command.Answer:
    return command.orch("rm", *arguments, "--out", str(out))


def test_a_sweep_is_gone_everywhere_and_the_others_stay(out: Path) -> None:
    mine, others = make(out, "s"), make(out, "t")
    assert runs(out, "s") == {"sweep", *mine} and studies(out) == ["s", "t"]
    register(out, "s", sweep_id(Ledger(out, "s").folder))
    artifacts = {path.name for path in (out / "mlartifacts").iterdir()}
    assert artifacts
    answer = rm(out, "s", "--yes")
    assert answer.returncode == 0, answer.stderr
    assert not (out / "s").exists() and (out / "t").exists()
    assert runs(out, "s") == set() and runs(out, "t") == {"sweep", *others}
    assert studies(out) == ["t"]
    assert client(out).search_registered_models() == []
    assert "3 runs in MLflow" in answer.stdout
    assert "1 registered model version in MLflow" in answer.stdout
    # A new sweep of the name does not find the old runs.
    again = make(out, "s", seeds=(5,))
    assert runs(out, "s") == {"sweep", *again}


def register(out: Path, name: str, mine: str) -> None:
    """A registered version of a sweep's model, as `best_model` leaves it."""
    there = client(out)
    there.create_registered_model(name)
    there.create_model_version(name, "file:///nowhere", tags={"sweep_id": mine, "trial_id": "x"})


@pytest.mark.slow(reason="three sweeps in MLflow")
def test_of_a_name_used_twice_only_one_sweeps_runs_go(out: Path) -> None:
    make(out, "s")
    old = client(out).get_experiment_by_name("s")
    assert old is not None
    shutil.rmtree(out / "s")  # the folder of an earlier sweep of this name, removed by hand
    make(out, "s", seeds=(5,))
    register(out, "s", "another sweep's")
    before = len(client(out).search_runs([old.experiment_id]))
    assert rm(out, "s", "--yes").returncode == 0
    left = client(out).search_runs([old.experiment_id])
    assert (before, len(left)) == (5, 3)
    assert len(client(out).search_model_versions("name = 's'")) == 1


@pytest.mark.slow(reason="compares the trials that are left")
def test_a_trial_is_gone_everywhere_and_the_rest_is_up_to_date(out: Path) -> None:
    spec = sweep_spec(
        search={"algorithm": "list", "num_trials": 2, "seeds": [1, 2]}, decide=None,
        enqueue=[{"sampler": "arrp", "B": 64}, {"sampler": "annealed", "B": 64}],
        tracking={"report": False, "registered_model": "none", "study": "sqlite:///studies.db"},
    )  # fmt: skip
    world = World.of(np.random.default_rng(0), sst=60, qqp=80, sts=40)
    SimulatedSweep(out, spec, world, lambda config: 0.6).search()
    ledger = Ledger(out, "s")
    projections.sync(ledger, listing.resolved_spec(ledger), print)
    one, *others = ledger.trial_ids()
    assert optuna_trials(out) == 2
    answer = rm(out, f"s@{one}", "--yes")
    assert answer.returncode == 0, answer.stderr
    assert ledger.trial_ids() == others and not list((out / "s" / "trials").glob(".*"))
    assert runs(out, "s") == {"sweep", *others}
    assert optuna_trials(out) == 1  # a suggestion counts when all its seeds are there


def optuna_trials(out: Path) -> int:
    study = optuna.load_study(study_name="s", storage=resolve_uri("sqlite:///studies.db", out))
    return len(study.trials)


def test_nothing_goes_without_an_answer(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make(out, "s")
    before = {path for path in out.rglob("*") if path.is_file()}
    answer = rm(out, "s")
    assert (answer.returncode, answer.stdout) == (2, "") and "--yes" in answer.stderr
    with SweepLock(out / "s"):
        answer = rm(out, "s", "--yes")
        assert answer.returncode == 2 and "held by process" in answer.stderr
    answer = rm(out, "s@nothing", "--yes")
    assert answer.returncode == 2 and "no trial 'nothing'" in answer.stderr
    for typed in ("n\n", "y\n"):
        monkeypatch.setattr("sys.stdin", Terminal([typed]))
        assert {path for path in out.rglob("*") if path.is_file()} == before
        assert runs(out, "s") == {"sweep", one, other}
        assert (rm(out, "s").returncode == 0) == (typed == "y\n")
    assert not (out / "s").exists()


class Terminal:
    """A person at a keyboard."""

    def __init__(self, lines: list[str]):
        self._lines = lines

    def isatty(self) -> bool:
        return True

    def readline(self, *_: Any) -> str:
        return self._lines.pop(0)


def test_a_database_that_does_not_answer_keeps_everything(out: Path) -> None:
    make(out, "s")
    (out / "mlflow.db").write_bytes(b"no database")
    answer = rm(out, "s", "--yes")
    assert answer.returncode == 2 and "--keep-tracking" in answer.stderr
    assert len(Ledger(out, "s").trial_ids()) == 2
    assert rm(out, "s", "--yes", "--keep-tracking").returncode == 0
    assert not (out / "s").exists() and studies(out) == ["s"]


@pytest.mark.slow(reason="two sweeps in MLflow")
def test_a_copy_of_the_folder_leaves_the_originals_files(out: Path, tmp_path: Path) -> None:
    make(out, "s")
    marks = [path / "artifacts" / "mark" for path in (out / "mlartifacts").iterdir()]
    for mark in marks:
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
    copied = tmp_path / "copied"
    shutil.copytree(out, copied, ignore=shutil.ignore_patterns("copied"))
    assert rm(copied, "s", "--yes").returncode == 0
    assert marks and all(mark.exists() for mark in marks)
    assert rm(out, "s", "--yes").returncode == 0
    assert not any(mark.exists() for mark in marks)
