"""Whole sweeps in processes of their own: killed, interrupted, failing, and nothing lost."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import yaml
from mlflow import MlflowClient

from orchestrator.checks import SweepError, check_same_sweep
from orchestrator.identity import trial_id
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.lock import SweepLock
from orchestrator.search import JOURNAL
from orchestrator.spec import load_spec
from orchestrator.tracking import resolve_uri

ROOT = Path(__file__).parent.parent
#: Depends on the machine's speed and load, not on the trial.
TIMED = {"contended", "foreign_load", "examples_per_second", "peak_memory_mb", "finished_at"}
PATIENCE_S = 120

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
}  # fmt: skip


class Driver:
    """A sweep's driver in a process group of its own; its output goes to a file."""

    def __init__(self, folder: Path, cache: Path, sweep: dict[str, Any], *options: str):
        self.out = folder / "out"
        self.output = folder / "output.txt"
        sweep = copy.deepcopy(sweep)
        sweep["base"]["data"]["cache"] = str(cache)
        file = folder / "sweep.yaml"
        file.write_text(yaml.safe_dump(sweep, sort_keys=False))
        command = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
        command += ["sweep", str(file), "--out", str(self.out), *options]
        with self.output.open("a") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.02)

    def epochs(self) -> int:
        return len(list(self.out.glob("s/trials/*/epochs/*.json")))

    def kill_all(self) -> None:
        """SIGKILL to the driver and everything that it started, Ray's daemons included."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            tree = [root, *root.children(recursive=True)]
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(tree, timeout=10)
        self.process.wait(10)


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def begin(sweep: dict[str, Any], *options: str, name: str = "a") -> Driver:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        drivers.append(Driver(folder, cache, sweep, *options))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.kill_all()


def untimed(record: Any) -> Any:
    """A record without what another run of the same trial may differ in."""
    if isinstance(record, list):
        return [untimed(inner) for inner in record]
    if not isinstance(record, dict):
        return record
    return {
        key: untimed(value)
        for key, value in record.items()
        if key not in TIMED and "minutes" not in key
    }


def trials(out: Path) -> dict[str, TrialRecord]:
    return {trial.trial_id: trial for trial in Ledger(out, "s").trials()}


def optuna_states(out: Path) -> Counter[str]:
    backend = optuna.storages.journal.JournalFileBackend(str(out / "s" / JOURNAL))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    return Counter(trial.state.name for trial in study.trials)


def mlflow_statuses(out: Path) -> dict[str, str]:
    """trial id -> status; fails if a trial has two runs or the sweep's own run is not there."""
    client = MlflowClient(resolve_uri("sqlite:///mlflow.db", out))
    experiment = client.get_experiment_by_name("s")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    children = [run for run in runs if "trial_id" in run.data.tags]
    assert len(runs) == len(children) + 1
    assert len({run.data.tags["trial_id"] for run in children}) == len(children)
    for run in children:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "dev/score")]
        assert steps == sorted(set(steps))
    return {run.data.tags["trial_id"]: run.info.status for run in children}


def test_a_sweep_that_was_terminated_and_killed_ends_like_one_that_was_not(
    start: Callable[..., Driver],
) -> None:
    undisturbed = start(SWEEP, name="undisturbed")
    assert undisturbed.wait() == 0, undisturbed.text

    terminated = start(SWEEP)
    terminated.wait_until(lambda: terminated.epochs() >= 2)
    terminated.process.send_signal(signal.SIGTERM)
    assert terminated.wait() == 130, terminated.text
    assert "run the same command again" in terminated.text
    assert "Traceback" not in terminated.text
    assert not (terminated.out / "s" / "lock").exists()

    killed = start(SWEEP)
    before = killed.epochs()
    killed.wait_until(lambda: killed.epochs() >= before + 4)
    killed.kill_all()
    assert (killed.out / "s" / "lock").exists()
    ended = {name for name, trial in trials(killed.out).items() if trial.status == "complete"}

    last = start(SWEEP)
    assert last.wait() == 0, last.text
    assert f"kept {len(ended)} ended trials" in last.text

    expected, found = trials(undisturbed.out), trials(last.out)
    assert set(found) == set(expected) and len(found) > 4
    for name, trial in expected.items():
        assert found[name].status == "complete"
        assert untimed(found[name].records) == untimed(trial.records), name
    assert optuna_states(last.out) == optuna_states(undisturbed.out) == {"COMPLETE": 4}
    assert mlflow_statuses(last.out) == dict.fromkeys(expected, "FINISHED")

    again = start(SWEEP)
    assert again.wait() == 0, again.text
    assert untimed([t.records for t in trials(last.out).values()]) == untimed(
        [t.records for t in found.values()]
    )
    assert mlflow_statuses(last.out) == dict.fromkeys(expected, "FINISHED")


def test_failures_are_named_and_do_not_stop_the_others(start: Callable[..., Driver]) -> None:
    """One trial fails in the trainer, ASHA prunes, a worker is killed, MLflow is not there."""
    sweep = SWEEP | {
        "base": SWEEP["base"] | {"epochs": 6},
        "search": {"algorithm": "list", "seeds": [1], "objectives": {"dev_score": "max"}},
        "space": {},
        "enqueue": [
            {"sampler": "round_robin"},
            {"sampler": "arrp", "B": 64},
            {"sampler": "annealed", "B": 64},
            {"sampler": "annealed", "B": 128},
            {"sampler": "proportional", "B": 64, "learning_rate": 1e-9},
        ],
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
        "tracking": {"uri": "http://127.0.0.1:9"},
    }
    first = start(sweep)
    first.wait_until(lambda: first.epochs() >= 1)
    workers = [
        process
        for process in psutil.Process(first.process.pid).children(recursive=True)
        if "Trainable" in " ".join(process.cmdline())
    ]
    assert workers
    workers[0].kill()
    assert first.wait() == 0, first.text
    assert "does not answer" in first.text and first.text.count("tracking:") == 1
    found = trials(first.out)
    statuses = Counter(trial.status for trial in found.values())
    assert statuses["complete"] >= 1 and statuses["pruned"] >= 1 and len(found) == 5
    for trial in found.values():
        assert (len(trial.records) == 6) == (trial.status == "complete")
        assert (trial.status == "pruned") == ("asha" in trial.reason)
    assert optuna_states(first.out)["RUNNING"] == 0
    assert optuna_states(first.out)["PRUNED"] == statuses["pruned"]

    # Another trial's config in a new trial's directory is a failure inside the trainer.
    wrong = next(trial for trial in found.values() if trial.status == "complete")
    seeded = sweep | {"search": sweep["search"] | {"seeds": [1, 2]}, "tracking": {}}
    spec = load_spec(str(_written(first.out.parent / "seeded.yaml", seeded)))
    victim = trial_id(spec.config_for({"sampler": "round_robin"}, 2), wrong.identity["fingerprint"])
    folder = first.out / "s" / "trials" / victim
    folder.mkdir()
    shutil.copy(Path(wrong.path) / "config.json", folder)

    second = start(seeded)
    assert second.wait() == 1, second.text
    assert f"failed: {victim}: StoreError: " in second.text
    assert "Traceback" not in second.text
    log = (folder / "logs" / "001.txt").read_text()
    assert "Traceback" in log and "holds another trial" in log
    shown = mlflow_statuses(first.out)
    assert len(shown) == 10 and shown[victim] == "FAILED"
    assert "RUNNING" not in shown.values()


def _written(path: Path, sweep: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(sweep, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base.data": {"source": "cs224n", "root": "/nowhere"}}, "/nowhere"),
        ({"base.encoder": "./no-such-checkpoint"}, "no-such-checkpoint"),
        ({"resources.gpu": 64}, "resources.gpu: a trial wants 64"),
    ],
)
def test_what_cannot_start_is_one_message_and_nothing_is_started(
    start: Callable[..., Driver], change: dict[str, Any], message: str
) -> None:
    sweep = copy.deepcopy(SWEEP)
    for key, value in change.items():
        section, name = key.split(".")
        sweep[section][name] = value
    driver = start(sweep)
    assert driver.wait() == 2, driver.text
    assert message in driver.text and "Traceback" not in driver.text
    assert not (driver.out / "s").exists()


def test_a_folder_that_cannot_be_written_is_named(start: Callable[..., Driver]) -> None:
    driver = start(SWEEP, "--out", "/proc/sweeps")
    assert driver.wait() == 2
    assert "--out /proc/sweeps" in driver.text and "Traceback" not in driver.text


def test_a_changed_sweep_is_refused_with_its_changes(tmp_path: Path) -> None:
    def spec(**search: Any) -> Any:
        sweep = SWEEP | {"search": SWEEP["search"] | search}
        return load_spec(str(_written(tmp_path / "f.yaml", sweep)))

    check_same_sweep(tmp_path, spec())
    with pytest.raises(SweepError, match=r"search.num_trials: 4 -> 3"):
        check_same_sweep(tmp_path, spec(num_trials=3))
    with pytest.raises(SweepError, match=r"search.algorithm: \"random\" -> \"tpe\""):
        check_same_sweep(tmp_path, spec(algorithm="tpe"))
    check_same_sweep(tmp_path, spec(num_trials=6, seeds=[1, 2, 3]))
    assert load_spec(str(tmp_path / "sweep.yaml")).search.num_trials == 6


def test_two_drivers_of_one_sweep_are_refused(start: Callable[..., Driver], tmp_path: Path) -> None:
    folder = tmp_path / "a" / "out" / "s"
    folder.mkdir(parents=True)
    with SweepLock(folder):
        driver = start(SWEEP)
        assert driver.wait() == 2
        assert f"held by process {os.getpid()}" in driver.text
