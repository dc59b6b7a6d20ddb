"""The ledger reads trial directories back, whatever state a crash left them in."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ledgers import epoch, write_trial
from orchestrator.ledger import Ledger
from trainer.store import TrialDirectory


@pytest.mark.parametrize("status", ["complete", "pruned", "failed", None])
def test_a_trial_reads_back_as_it_was_written(tmp_path: Path, status: str | None) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.5], status=status, reason="why", seed=7)
    (trial,) = Ledger(tmp_path, "s").trials()
    assert trial.trial_id == name
    assert trial.status == (status or "unfinished")
    assert trial.reason == ("why" if status else "")
    assert [record["epoch"] for record in trial.records] == [1, 2]
    assert trial.train_config.seed == 7
    assert trial.identity["fingerprint"] == "f"
    assert trial.summary["dev_score"] == 0.5


def test_a_sweep_that_was_never_begun_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path, "s").trials() == []
    assert Ledger(tmp_path, "s").trial("arrp-000000000000") is None


def test_a_directory_without_a_config_is_no_trial(tmp_path: Path) -> None:
    (tmp_path / "s" / "trials" / "arrp-000000000000").mkdir(parents=True)
    assert Ledger(tmp_path, "s").trials() == []


def test_an_epoch_after_a_gap_does_not_count(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4], status=None)
    ledger = Ledger(tmp_path, "s")
    ledger.directory(name).commit(epoch(3, 0.9, 1.0, False), {})
    trial = ledger.trial(name)
    assert trial is not None and [record["epoch"] for record in trial.records] == [1]


def test_the_first_end_of_a_trial_stays(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.6], status=None)
    ledger = Ledger(tmp_path, "s")
    ledger.close(name, "pruned", "stopped")
    ledger.close(name, "failed", "too late")
    trial = ledger.trial(name)
    assert trial is not None
    assert (trial.status, trial.reason) == ("pruned", "stopped")
    assert trial.summary["epochs"] == 2 and trial.summary["dev_score"] == 0.6


def test_a_trial_that_fails_before_its_first_epoch_can_be_closed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "s")
    ledger.close("arrp-000000000000", "failed", "its process died")
    assert TrialDirectory(ledger.path("arrp-000000000000")).end() == {
        "status": "failed",
        "reason": "its process died",
        "summary": {},
    }


def test_a_metric_outside_the_summary_is_its_mean_over_the_epochs(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.6])
    trial = Ledger(tmp_path, "s").trial(name)
    assert trial is not None
    assert trial.value("dev_score") == 0.6
    assert trial.value("examples_per_second") == 50.0
    assert math.isnan(trial.value("unheard_of"))
