"""The two stages of a sweep: who sees the trials of the search, and who those that confirm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.fair_timing import choose
from orchestrator.ledger import Ledger
from orchestrator.ledger.current import confirming, is_confirming, searched
from orchestrator.scheduling.extend_epochs import extend
from orchestrator.scheduling.successive_halving import rebuilt
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.spec import SweepSpec
from tests.support.ledgers import BASE, write_trial

SWEEP: dict[str, Any] = {
    "name": "s",
    "base": BASE,
    "search": {"algorithm": "list", "num_trials": 2, "seeds": [1]},
    "enqueue": [{"sampler": "round_robin"}, {"sampler": "annealed"}],
}


def confirm(decision: int, pair: int, method: str = "round_robin") -> dict[str, Any]:
    return {"stage": "confirm", "decision": decision, "pair": pair, "method": method}


def suggested(number: int, sampler: str) -> dict[str, Any]:
    record = {"key": f"e{number}", "params": {"sampler": sampler}, "notes": {}}
    return {"suggestion": record}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two trials of the search, and three that confirm, of two decisions."""
    for number, sampler in enumerate(("round_robin", "annealed")):
        write_trial(tmp_path / "s", [0.5, 0.6 + number / 10], sampler=sampler, seed=1,
                    identity=suggested(number, sampler))  # fmt: skip
    for decision, pair, seed in ((1, 1, 2), (2, 1, 3), (2, 2, 4)):
        write_trial(tmp_path / "s", [0.5, 0.9], sampler="round_robin", seed=seed,
                    identity=confirm(decision, pair))  # fmt: skip
    return Ledger(str(tmp_path), "s")


def test_trials_are_split_by_their_stage(ledger: Ledger) -> None:
    trials = ledger.trials()
    assert sorted(t.config["seed"] for t in searched(trials)) == [1, 1]
    assert sorted(t.config["seed"] for t in confirming(trials)) == [2, 3, 4]
    assert sorted(t.config["seed"] for t in confirming(trials, 2)) == [3, 4]
    assert confirming(trials, 3) == []
    assert not any(map(is_confirming, searched(trials)))


def test_the_queue_counts_no_confirming_trial(ledger: Ledger, tmp_path: Path) -> None:
    both = confirm(1, 1) | suggested(2, "cycle")
    write_trial(tmp_path / "s", [0.5, 0.9], sampler="cycle", seed=1, identity=both)

    def never(config: Any) -> Any:
        raise AssertionError("all trials of the search have ended")

    queue = TrialQueue(SweepSpec.model_validate(SWEEP), ledger, never)
    seeds = {t.trial_id: t.config["seed"] for t in ledger.trials()}
    assert [seeds[name] for name in queue.trial_ids] == [1, 1]
    assert queue.done == 2


def test_halving_ranks_no_confirming_trial(tmp_path: Path) -> None:
    asha = {"scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2}}
    spec = SweepSpec.model_validate(SWEEP | asha)
    confirmed = write_trial(tmp_path / "s", [0.9], status=None, seed=2, identity=confirm(1, 1))
    write_trial(tmp_path / "s", [0.5], status=None, seed=1)
    ledger = Ledger(str(tmp_path), "s")
    halving = rebuilt(spec, ledger, ledger.trials())
    assert halving is not None
    assert halving.ended_late == []
    assert ledger.end(confirmed) is None
    # Only one trial of the search is in the first rung, so a better one passes it.
    assert not halving.result("new", 1, {"dev_score": 0.6})


def test_a_confirming_trial_is_not_extended(tmp_path: Path) -> None:
    write_trial(tmp_path / "s", [0.5, 0.6], seed=2, identity=confirm(1, 1))
    longer = SWEEP | {"base": {**BASE, "epochs": 3}}
    ledger = Ledger(str(tmp_path), "s")

    def never(config: Any) -> Any:
        raise AssertionError("no longer trial is needed")

    assert not extend(SweepSpec.model_validate(longer), ledger, ledger.trials(), never).any


def test_the_configurations_to_time_come_from_the_search(ledger: Ledger) -> None:
    # With the confirming trials, round_robin would have more seeds and a higher score.
    first, second = choose(ledger.trials())
    assert [t.config["sampler"] for t in (*first, *second)] == ["annealed", "round_robin"]
    assert [t.config["seed"] for t in (*first, *second)] == [1, 1]
