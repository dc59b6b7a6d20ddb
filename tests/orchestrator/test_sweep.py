"""Whole sweeps in processes of their own: killed, interrupted, failing, and nothing lost."""

from __future__ import annotations

import copy
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger, listing
from orchestrator.ledger.sweep_lock import SweepLock
from orchestrator.ledger.timing_sessions import timings
from orchestrator.ledger.trial_id import trial_id
from orchestrator.preflight.checks import check_same_sweep, clocks_note
from orchestrator.spec import load_spec
from tests.support.drivers import (
    SWEEP,
    Driver,
    ended_like,
    mlflow_statuses,
    optuna_states,
    trials,
    undisturbed,
)
from tests.support.ledgers import write_trial
from trainer.metrics import CLOCK, FIRST_CLOCK


def test_a_killed_sweep_resumes_and_ends_like_an_undisturbed_one(
    start: Callable[..., Driver], tmp_path: Path, cache: Path
) -> None:
    """`kill -9` of the driver and all that it started, while real trials are at work."""
    sweep = SWEEP | {"search": SWEEP["search"] | {"num_trials": 2}}
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, sweep)
    killed = start(sweep)
    killed.wait_until(lambda: killed.epochs() >= 3)
    killed.kill_all()
    assert (killed.out / "s" / "lock").exists()
    last = start(sweep)
    assert last.wait() == 0, last.text
    assert "Traceback" not in last.text
    ended_like(last, whole)


@pytest.mark.exhaustive(reason="four drivers; tests/faults ends them one by one")
def test_a_sweep_that_was_terminated_and_killed_ends_like_one_that_was_not(
    start: Callable[..., Driver], tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, SWEEP)

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
    ended_like(last, whole)
    found = trials(last.out)

    again = start(SWEEP)
    assert again.wait() == 0, again.text
    ended_like(again, whole)
    assert [t.records for t in trials(again.out).values()] == [t.records for t in found.values()]


#: Two methods with two seeds each, then up to three pairs of fresh seeds.  `choose: best` does not
#: depend on measured minutes.
DECIDING = SWEEP | {
    "search": {"algorithm": "list", "num_trials": 2, "seeds": [1, 2]},
    "space": {},
    "enqueue": [{"sampler": "annealed", "B": 64}, {"sampler": "arrp", "B": 64}],
    "decide": {"looks": [2, 3], "choose": "best", "budget": {"share": 9.0}},
}


@pytest.mark.exhaustive(reason="two sweeps that confirm")
def test_a_sweep_that_was_killed_while_it_confirmed_ends_like_an_undisturbed_one(
    start: Callable[..., Driver], tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, DECIDING)
    killed = start(DECIDING, "--no-timing")
    killed.wait_until(lambda: killed.epochs() >= 4 * 3 + 2)
    killed.kill_all()
    stages = Counter(trial.identity.get("stage") for trial in trials(killed.out).values())
    assert stages[None] == 4 and stages["confirm"] >= 1
    decided = Ledger(killed.out, "s").folder.read("sweep.yaml")
    last = start(DECIDING, "--no-timing")
    assert last.wait() == 0, last.text
    assert "Traceback" not in last.text
    assert Ledger(last.out, "s").folder.read("sweep.yaml") == decided
    ended_like(last, whole)
    words = {"YES", "NO", "NO DIFFERENCE THAT MATTERS", "NOT DECIDED"}
    verdict = next(line for line in last.text.splitlines() if line.partition(".")[0] in words)
    again = start(DECIDING, "--no-timing")
    assert again.wait() == 0 and verdict in again.text, again.text
    ended_like(again, whole)


@pytest.mark.slow(reason="timing takes 20 s or more")
def test_the_questions_configurations_are_timed_before_they_are_confirmed(
    start: Callable[..., Driver],
) -> None:
    driver = start(DECIDING)
    assert driver.wait() == 0, driver.text
    assert "timing 2 configurations in turn" in driver.text
    ledger = Ledger(driver.out, "s")
    decision = listing.resolved_spec(ledger)["resolved"].get("decision")
    (session,) = timings(ledger)
    assert len(session.configs) == 2 and len(session.rounds) >= 6
    if decision is not None:  # where an epoch does not take fewer minutes, nothing is confirmed
        assert {each.config_id for each in session.configs} == set(decision["config_ids"].values())
    again = start(DECIDING)
    assert again.wait() == 0 and "timing" not in again.text.partition("Does")[0], again.text


@pytest.mark.slow(reason="two whole sweeps")
def test_failures_are_named_and_do_not_stop_the_others(start: Callable[..., Driver]) -> None:
    """One trial fails in the trainer, ASHA prunes, a worker is killed, MLflow is not there."""
    sweep = SWEEP | {
        "base": SWEEP["base"] | {"epochs": 4},
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
    workers = first.workers()
    assert workers
    workers[0].kill()
    assert first.wait() == 0, first.text
    assert "does not answer" in first.text and first.text.count("tracking:") == 1
    found = trials(first.out)
    statuses = Counter(trial.status for trial in found.values())
    assert statuses["complete"] >= 1 and statuses["pruned"] >= 1 and len(found) == 5
    for trial in found.values():
        assert (len(trial.records) == 4) == (trial.status == "complete")
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


AGAIN = pytest.mark.slow(reason="another driver, for another mistake")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base.data": {"source": "cs224n", "root": "/nowhere"}}, "/nowhere"),
        pytest.param({"base.encoder": "./no-such-checkpoint"}, "no-such-checkpoint", marks=AGAIN),
        pytest.param({"resources.gpu": 64}, "resources.gpu: a trial needs 64", marks=AGAIN),
    ],
    ids=["data", "encoder", "gpu"],
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


def test_a_search_for_few_minutes_says_that_it_resumes_with_minutes_of_the_first_clock(
    tmp_path: Path,
) -> None:
    for sampler, clock in (("arrp", FIRST_CLOCK), ("annealed", CLOCK)):
        write_trial(tmp_path / "s", [0.5], sampler=sampler, clock=clock)
    trials = Ledger(tmp_path, "s").trials()

    def note(**objectives: str) -> str:
        sweep = SWEEP | {"search": SWEEP["search"] | {"objectives": objectives}}
        return clocks_note(load_spec(str(_written(tmp_path / "f.yaml", sweep))), trials)

    assert note(dev_score="max") == ""
    line = note(dev_score="max", minutes_per_epoch="min")
    assert line.startswith("objective minutes_per_epoch: 1 trial was measured")
    assert "\n" not in line
    new = [trial for trial in trials if trial.config["sampler"] == "annealed"]
    assert clocks_note(load_spec(str(tmp_path / "f.yaml")), new) == ""


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
