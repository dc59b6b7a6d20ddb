"""What Tune is told: rungs that survive a restart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ledgers import epoch, write_trial
from orchestrator.ledger import Ledger
from orchestrator.runner import make_scheduler
from orchestrator.runner.asha import LedgerASHA
from orchestrator.spec import SweepSpec


def spec(**changes: Any) -> SweepSpec:
    mapping = {
        "name": "s",
        "base": {"data": {"source": "synthetic"}, "encoder": "tiny", "epochs": 4},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    }
    return SweepSpec.model_validate(mapping | changes)


def decide(scheduler: LedgerASHA, trial_id: str, scores: list[float]) -> list[str]:
    """What ASHA says of the epochs of a new trial, until it stops it."""
    trial = SimpleNamespace(trial_id="tunes-own", config={"trial_id": trial_id})
    scheduler.on_trial_add(None, trial)
    decisions = []
    for number, score in enumerate(scores, 1):
        decisions.append(scheduler.on_trial_result(None, trial, epoch(number, score, 1.0, False)))
        if decisions[-1] == "STOP":
            break
    return decisions


def rungs(scheduler: LedgerASHA) -> list[tuple[float, dict[str, float]]]:
    return [(milestone, dict(recorded)) for milestone, recorded in scheduler._brackets[0]._rungs]


def test_rungs_rebuilt_from_records_equal_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    scores = {1: [0.6, 0.6, 0.6, 0.7], 2: [0.5], 3: [0.7, 0.7, 0.8, 0.8], 4: [0.65, 0.65]}
    undisturbed = make_scheduler(spec(), Ledger(tmp_path, "none"))
    assert isinstance(undisturbed, LedgerASHA)
    names = {}
    for seed, values in scores.items():
        status = "complete" if len(values) == 4 else "pruned"
        names[seed] = write_trial(tmp_path / "s", values, status=status, seed=seed, epochs=4)
        decide(undisturbed, names[seed], values)
    rebuilt = make_scheduler(spec(), Ledger(tmp_path, "s"))
    assert isinstance(rebuilt, LedgerASHA)
    assert rungs(rebuilt) == rungs(undisturbed)
    assert decide(rebuilt, "new", [0.1]) == decide(undisturbed, "new", [0.1]) == ["STOP"]
    assert decide(rebuilt, "better", [0.9]) == ["CONTINUE"]


def test_a_trial_that_goes_on_is_not_judged_again_for_epochs_behind_it(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.5, 0.5], status=None, seed=1, epochs=4)
    for seed in (2, 3, 4):
        write_trial(tmp_path / "s", [0.9, 0.9, 0.9, 0.9], seed=seed, epochs=4)
    ledger = Ledger(tmp_path, "s")
    # its epochs were committed first, so it was right to go on with it
    for number, when in ((1, "2025-01-01T00:00:00+00:00"), (2, "2025-01-02T00:00:00+00:00")):
        ledger.directory(name).commit(epoch(number, 0.5, 1.0, False) | {"finished_at": when}, {})
    scheduler = make_scheduler(spec(), ledger)
    assert isinstance(scheduler, LedgerASHA)
    assert ledger.end(name) is None
    trial = SimpleNamespace(trial_id="tunes-own", config={"trial_id": name})
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, epoch(3, 0.5, 1.0, False)) == "CONTINUE"
    assert scheduler.on_trial_result(None, trial, epoch(4, 0.5, 1.0, False)) == "STOP"


def test_a_trial_that_the_killed_driver_had_to_stop_is_ended_as_pruned(tmp_path: Path) -> None:
    for seed in (2, 3):
        write_trial(tmp_path / "s", [0.9] * 4, seed=seed, epochs=4)
    late = write_trial(tmp_path / "s", [0.1], status=None, seed=1, epochs=4)
    ledger = Ledger(tmp_path, "s")
    record = epoch(1, 0.1, 1.0, False) | {"finished_at": "2027-01-01T00:00:00+00:00"}
    ledger.directory(late).commit(record, {})
    make_scheduler(spec(), ledger)
    trial = ledger.trial(late)
    assert trial is not None
    assert (trial.status, trial.reason) == ("pruned", "stopped by asha after epoch 1")
