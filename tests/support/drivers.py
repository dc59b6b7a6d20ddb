"""`orch sweep` in processes of its own, and what must hold behind it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import optuna
import psutil
import torch
import yaml
from mlflow import MlflowClient

from orchestrator.after_search import AfterOptions, AfterSearch
from orchestrator.database_urls import resolve_uri
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.preflight.checks import check_same_sweep, identifier
from orchestrator.runner.attempt import TRAIN
from orchestrator.scheduling.job_queue import JobQueue
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.search import JOURNAL
from orchestrator.spec import SweepSpec, load_spec
from orchestrator.tracking.projections import ended_suggestions
from tests.support.paths import ROOT
from tests.support.resuming import untimed

PATIENCE_S = 240
#: A node of `ray.cluster_utils.Cluster` with room for one trial.
SMALL_NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
#: What MLflow calls the ends of trials.
STATUSES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_OPTUNA = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}

SWEEP: dict[str, Any] = {
    "name": "s",
    "base": {
        "data": {"source": "synthetic", "size": 32, "dev_limit": {"sst": 60, "qqp": 60, "sts": 60}},
        "tasks": ["sst", "qqp", "sts"], "encoder": "tiny", "epochs": 3, "batch_size": 8,
        "learning_rate": 1e-3,
    },
    "space": {
        "sampler": {"choices": ["round_robin", "annealed", "arrp"]},
        "B": {"choices": [64, 128], "when": {"sampler": ["annealed", "arrp"]}},
        "lambda": {"low": 0.1, "high": 1.0, "when": {"sampler": "arrp"}},
    },
    "search": {
        "algorithm": "random", "num_trials": 4, "seeds": [1, 2],
        "objectives": {"dev_score": "max", "minutes_per_epoch": "min"},
    },
    "enqueue": [{"sampler": "arrp", "B": 99}],
    "resources": {"cpu": 1, "max_concurrent": 2},
    "tracking": {"report": False, "registered_model": "none"},  # seconds, tested elsewhere
}  # fmt: skip

#: The command `orch` with another function that trains (runner.attempt), where one is named.
_MAIN = """
import functools, os
from orchestrator import sweep
from orchestrator.cli import main
if train := os.environ.get("TRAIN"):
    sweep.run_sweep = functools.partial(sweep.run_sweep, train=train)
main()
"""


class Driver:
    """A sweep's driver in a process group of its own; its output goes to a file of its own.

    Args:
        train: what trains, `module:name`; the trainer if it is empty.
        before: a command and its arguments to run the driver by (`faketime`).
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        sweep: dict[str, Any],
        *options: str,
        train: str = "",
        before: Iterable[str] = (),
        environment: dict[str, str] | None = None,
    ):
        self.out = folder / "out"
        self.output = folder / f"output-{len(list(folder.glob('output-*.txt')))}.txt"
        sweep = copy.deepcopy(sweep)
        sweep["base"]["data"]["cache"] = str(cache)
        file = folder / "sweep.yaml"
        file.write_text(yaml.safe_dump(sweep, sort_keys=False))
        command = [*before, sys.executable, "-c", _MAIN]
        command += ["sweep", str(file), "--out", str(self.out), *options]
        path = str(ROOT)
        with self.output.open("x") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path, "TRAIN": train, **(environment or {})},
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._family: dict[int, psutil.Process] = {}

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait(self) -> int:
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.text}\nstill at work after {PATIENCE_S} s") from None

    def wait_until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.02)

    def epochs(self) -> int:
        return len(list(self.out.glob("s/trials/*/epochs/*.json")))

    def family(self) -> list[psutil.Process]:
        """The driver and everything that it has started, Ray's daemons included, as far as this
        was asked while they lived."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            for process in (root, *root.children(recursive=True)):
                self._family[process.pid] = process
        return list(self._family.values())

    def workers(self) -> list[psutil.Process]:
        """Processes in which a trial is at work."""
        return [process for process in self.family() if "TrialTrainable" in _name(process)]

    def left(self, seconds: float = 10) -> list[str]:
        """What of the family lives `seconds` from now."""
        _, alive = psutil.wait_procs(self._family.values(), timeout=seconds)
        return [_name(process) for process in alive]

    def kill_driver(self) -> None:
        """SIGKILL to the driver alone."""
        self.family()
        self.process.kill()
        self.process.wait(10)

    def kill_all(self) -> None:
        """SIGKILL to the driver and everything that it started, Ray's daemons included."""
        family = self.family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)
        psutil.wait_procs(family, timeout=10)

    def signal_group(self, number: signal.Signals) -> None:
        """As a terminal does."""
        os.killpg(self.process.pid, number)


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def trials(out: Path) -> dict[str, TrialRecord]:
    return {trial.trial_id: trial for trial in Ledger(out, "s").trials()}


def optuna_states(out: Path) -> Counter[str]:
    backend = optuna.storages.journal.JournalFileBackend(str(out / "s" / JOURNAL))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    return Counter(trial.state.name for trial in study.trials)


def mlflow_statuses(out: Path) -> dict[str, str]:
    """trial id -> status; fails if a trial has two runs or the sweep's own run is not there."""
    return {name: status for name, (status, _) in mlflow_runs(out).items()}


def mlflow_runs(out: Path) -> dict[str, tuple[str, list[int]]]:
    """trial id -> its status and the epochs that it shows."""
    client = MlflowClient(resolve_uri("sqlite:///mlflow.db", out))
    experiment = client.get_experiment_by_name("s")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    children = [run for run in runs if "trial_id" in run.data.tags]
    assert len(runs) == len(children) + 1
    assert len({run.data.tags["trial_id"] for run in children}) == len(children)
    found = {}
    for run in children:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "dev/score")]
        assert sorted(steps) == sorted(set(steps))
        found[run.data.tags["trial_id"]] = (run.info.status, sorted(steps))
    return found


def undisturbed(folder: Path, cache: Path, sweep: dict[str, Any], train: str = "") -> Path:
    """The sweep as it should be: its trials one after another in this process, without Ray.

    Returns its `out`, with neither an MLflow database nor Optuna's journal.
    """
    sweep = copy.deepcopy(sweep)
    sweep["base"]["data"]["cache"] = str(cache)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    train_all(load_spec(str(folder / "sweep.yaml")), Ledger(folder / "out", "s"), train)
    return folder / "out"


def train_all(spec: SweepSpec, ledger: Ledger, train: str = "") -> None:
    """Every trial of a sweep, one after another in this process; those that confirm come last."""
    threads = torch.get_num_threads()
    try:
        queue = TrialQueue(spec, ledger, identifier())
        check_same_sweep(ledger.folder, spec)
        _train_queue(spec, queue, train)
        options = AfterOptions(timing=False)
        confirming = AfterSearch(spec, ledger, identifier(), options, print).confirm_queue()
        if confirming is not None:
            _train_queue(spec, confirming, train)
    finally:
        torch.set_num_threads(threads)


def _train_queue(spec: SweepSpec, queue: JobQueue, train: str) -> None:
    function = pkgutil.resolve_name(train or TRAIN)
    while (job := queue.next()) is not None:
        config = dataclasses.replace(job.config, threads=int(spec.resources.cpu))
        for _ in function(config, job.directory, identity=job.identity):
            pass
        queue.ended(job.trial_id)


def ended_like(driver: Driver, undisturbed: Path) -> None:
    """What must hold behind a sweep, whatever happened to it: its trials, epochs and records are
    those of the undisturbed one, MLflow and Optuna show them, and nothing is left behind."""
    expected, found = trials(undisturbed), trials(driver.out)
    spec = load_spec(str(undisturbed.parent / "sweep.yaml"))
    ended = ended_suggestions(spec, Ledger(undisturbed, "s"), expected.values())
    assert set(found) == set(expected), driver.text
    for name, trial in expected.items():
        assert (found[name].status, found[name].reason) == (trial.status, trial.reason), name
        numbers = [record["epoch"] for record in found[name].records]
        assert numbers == list(range(1, len(trial.records) + 1)), name
        noted = [record.get("notes") for record in found[name].records]
        records = [untimed(record) for record in found[name].records]
        assert records == [untimed(record) for record in trial.records], (name, noted)
    assert optuna_states(driver.out) == Counter(_OPTUNA[each.state] for each in ended)
    shown = mlflow_runs(driver.out)
    assert shown == {
        name: (STATUSES[t.status], [r["epoch"] for r in t.records]) for name, t in expected.items()
    }
    nothing_left(driver)


def nothing_left(driver: Driver) -> None:
    """No lock, no half-written file, no process, no folder of Ray's."""
    assert not (driver.out / "s" / "lock").exists()
    # A sweep's own files are small, and a killed driver's halves of them are left alone.
    own = set((driver.out / "s").glob(".writing-*"))
    assert set((driver.out / "s").rglob(".*")) - own == set()
    assert driver.left() == []
    assert not list(Path("/tmp").glob(f"orch-ray-{driver.process.pid}-*"))
