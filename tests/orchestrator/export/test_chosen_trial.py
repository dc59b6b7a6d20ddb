"""Which trial `SWEEP`, `SWEEP@best` and `SWEEP@TRIAL` mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.compare.compare_sweep import compare_sweep, trials_of
from orchestrator.compare.options import ComparisonOptions
from orchestrator.decision.answer import closing
from orchestrator.errors import UserError
from orchestrator.export.chosen_trial import choose_trial
from orchestrator.ledger import RESOLVED
from tests.support.ledgers import write_trial


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / RESOLVED).write_text("name: s\nquestion: q\nbase: {epochs: 2}\n")
    return tmp_path / "s"


def test_the_best_is_of_the_configuration_with_the_best_mean(sweep: Path) -> None:
    """A single seed with a high score does not win."""
    write_trial(sweep, [0.5, 0.9], seed=1, sampler="arrp")
    write_trial(sweep, [0.5, 0.3], seed=2, sampler="arrp")
    second = write_trial(sweep, [0.5, 0.7], seed=2, sampler="round_robin")
    first = write_trial(sweep, [0.5, 0.8], seed=1, sampler="round_robin")
    for name in ("s", "s@best", str(sweep), f"{sweep}@best"):
        chosen = choose_trial(name, str(sweep.parent))
        assert chosen.trial.trial_id == first
        assert [trial.trial_id for trial in chosen.seeds] == [first, second]


def test_one_lucky_seed_is_not_the_best_configuration(sweep: Path) -> None:
    """Those with the most seeds compete, as in the line `Best:` of the sweep's answer."""
    write_trial(sweep, [0.5, 0.9], seed=1, sampler="arrp")
    write_trial(sweep, [0.5, 0.1], seed=2, sampler="arrp", status="failed")
    first = write_trial(sweep, [0.5, 0.6], seed=1, sampler="round_robin")
    second = write_trial(sweep, [0.5, 0.7], seed=2, sampler="round_robin")
    chosen = choose_trial("s", str(sweep.parent))
    assert chosen.trial.trial_id == second
    assert [trial.trial_id for trial in chosen.seeds] == [first, second]
    ledger = chosen.ledger
    compared = compare_sweep(ledger, trials_of(ledger), ComparisonOptions())
    assert closing.best_of(compared).startswith("round_robin")


def test_a_trials_score_is_that_of_the_epoch_that_counts(sweep: Path) -> None:
    falling = write_trial(sweep, [0.9, 0.4], sampler="arrp", score="best")
    write_trial(sweep, [0.5, 0.7], sampler="round_robin")
    assert choose_trial("s", str(sweep.parent)).trial.trial_id == falling


def test_trials_that_did_not_end_are_never_the_best_but_can_be_named(sweep: Path) -> None:
    complete = write_trial(sweep, [0.5, 0.5], seed=1)
    pruned = write_trial(sweep, [0.9], seed=2, status="pruned")
    assert choose_trial("s", str(sweep.parent)).trial.trial_id == complete
    chosen = choose_trial(f"s@{pruned[:-1]}", str(sweep.parent))
    assert chosen.trial.trial_id == pruned
    assert [trial.trial_id for trial in chosen.seeds] == [complete]


def test_trials_from_before_the_epochs_grew_do_not_count(sweep: Path) -> None:
    write_trial(sweep, [0.9], epochs=1)
    longer = write_trial(sweep, [0.5, 0.6], epochs=2)
    assert choose_trial("s", str(sweep.parent)).trial.trial_id == longer


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t", "no sweep 't'"),
        ("s@", "s@: no trial is named; allowed: best, or a trial's id"),
        ("s@zzz", "no trial 'zzz' in s; known: "),
        ("s@arrp", "2 trials start with 'arrp' in s"),
        ("s", "s: no complete trial"),
    ],
)
def test_what_names_no_trial_is_refused(sweep: Path, name: str, message: str) -> None:
    for seed in (1, 2):
        write_trial(sweep, [0.5], seed=seed, sampler="arrp", status="failed")
    with pytest.raises(UserError, match=message):
        choose_trial(name, str(sweep.parent))
