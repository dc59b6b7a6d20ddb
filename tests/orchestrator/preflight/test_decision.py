"""A sweep's question: free until the first confirming trial, then fixed, and opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.ledger.current import next_number
from orchestrator.preflight.checks import check_same_sweep
from orchestrator.preflight.decision import keep_decision, reopen
from orchestrator.spec import SweepSpec
from orchestrator.spec.models import ResolvedSpec
from tests.support.ledgers import write_trial

SWEEP: dict[str, Any] = {
    "name": "s",
    "base": {"data": {"source": "synthetic"}, "encoder": "tiny", "epochs": 2},
    "search": {"algorithm": "list", "num_trials": 2, "seeds": [1, 2]},
    "enqueue": [{"sampler": "annealed"}, {"sampler": "arrp"}],
    "decide": {"compare": ["arrp", "annealed"], "looks": [3, 5]},
}
DECISION = {
    "number": 1, "configurations": {"arrp": {"B": 950}}, "config_ids": {"arrp": "c"},
    "first_seed": 3, "looks": [3], "margin": 0.01, "prior_variance": 1e-4, "prior_df": 8.0,
    "budget_minutes": 40.0,
}  # fmt: skip


def sweep(decided: bool = False, **changes: Any) -> SweepSpec:
    """The sweep with changed keys (`search_seeds` is `search.seeds`); None removes one."""
    plain = yaml.safe_load(yaml.safe_dump(SWEEP))
    for name, value in changes.items():
        *path, key = name.split("_", 1) if name.partition("_")[0] in plain else [name]
        inner = plain[path[0]] if path else plain
        inner[key] = value
    spec = SweepSpec.model_validate(plain)
    if decided:
        resolved = ResolvedSpec.model_validate({"decision": DECISION})
        spec = spec.model_copy(update={"resolved": resolved})
    return spec


def confirm(folder: Path, seed: int, pair: int, decision: int = 1) -> str:
    identity = {"stage": "confirm", "decision": decision, "pair": pair, "method": "arrp"}
    return write_trial(folder / "s", [0.5, 0.6], sampler="arrp", seed=seed, identity=identity)


def start(ledger: Ledger, spec: SweepSpec) -> SweepSpec:
    """What a run does before it trains."""
    trials = ledger.trials()
    spec = keep_decision(spec, ledger, trials)
    check_same_sweep(ledger.folder, spec, trials)
    return spec


def recorded(ledger: Ledger) -> Any:
    return yaml.safe_load(ledger.folder.read("sweep.yaml") or b"")


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("a larger search", {"search_num_trials": 3}, "search.num_trials: 2 -> 3"),
    ("more seeds", {"search_seeds": [1, 2, 9]}, "search.seeds: [1, 2] -> [1, 2, 9]"),
    ("more epochs", {"base_epochs": 3}, "base.epochs: 2 -> 3"),
    ("another entry", {"enqueue": [*SWEEP["enqueue"], {"sampler": "cycle"}]}, "enqueue: "),
    ("another margin", {"decide_margin": 0.02}, "decide.margin: 0.01 -> 0.02"),
    ("other looks", {"decide_looks": [3, 6]}, "decide.looks: [3, 5] -> [3, 6]"),
    ("other methods", {"decide_compare": ["annealed", "arrp"]}, "decide.compare: "),
    ("another question", {"decide_ask": "score"}, 'decide.ask: "minutes" -> "score"'),
    ("another metric", {"decide_metric": "sst"}, 'decide.metric: "dev_score" -> "sst"'),
]
each_change = pytest.mark.parametrize(
    ("changes", "expected"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES]
)


@each_change
def test_before_the_first_confirming_trial_everything_may_change(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    ledger = Ledger(str(tmp_path), "s")
    start(ledger, sweep(decided=True))
    assert start(ledger, sweep()).resolved.decision is not None
    # The change may choose other configurations, so the sweep decides anew.
    assert start(ledger, sweep(**changes)).resolved.decision is None
    assert "resolved" not in recorded(ledger)


@each_change
def test_after_it_the_question_and_the_search_are_fixed(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    ledger = Ledger(str(tmp_path), "s")
    start(ledger, sweep(decided=True))
    confirm(tmp_path, 3, 1)
    before = ledger.folder.read("sweep.yaml")
    with pytest.raises(SweepError) as caught:
        start(ledger, sweep(**changes))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith(
        "sweep.yaml: the sweep has 1 confirming trial, so its question and its search are fixed; "
        "these keys differ:"
    )
    assert lines[1].startswith(f"  {expected}")
    assert lines[2:] == [
        "undo the changes, or add --reopen: it drops the decision and keeps the trials"
    ]
    assert ledger.folder.read("sweep.yaml") == before
    # The unchanged sweep resumes, and keeps its decision.
    assert start(ledger, sweep()).resolved.decision == sweep(decided=True).resolved.decision


def test_what_decides_nothing_may_still_change(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), "s")
    start(ledger, sweep(decided=True))
    confirm(tmp_path, 3, 1)
    changed = start(ledger, sweep(question="Why?", resources={"cpu": 2}))
    assert changed.resolved.decision is not None
    assert recorded(ledger)["question"] == "Why?"


def test_reopening_drops_the_decision_but_no_trial(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), "s")
    resolved = ResolvedSpec.model_validate({"precision": "fp32", "decision": DECISION})
    start(ledger, sweep().model_copy(update={"resolved": resolved}))
    trials = [confirm(tmp_path, 3, 1), confirm(tmp_path, 4, 2)]
    assert next_number(ledger.trials()) == 2
    assert reopen(ledger, ledger.trials()) == (
        "reopened: decision 1 is dropped; its 2 confirming trials stay in the ledger"
    )
    assert ledger.trial_ids() == sorted(trials)
    assert recorded(ledger)["resolved"] == {"precision": "fp32"}
    assert start(ledger, sweep(decide_margin=0.02)).resolved.decision is None
    assert next_number(ledger.trials()) == 2
    again = reopen(ledger, ledger.trials())
    assert again == "nothing to reopen: the sweep has no decision"


def test_a_decision_without_trials_has_its_number_again(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), "s")
    start(ledger, sweep(decided=True))
    assert reopen(ledger, []) == "reopened: decision 1 is dropped"
    assert next_number([]) == 1


def test_the_search_takes_no_seed_of_a_confirming_trial(tmp_path: Path) -> None:
    """Its trial would be the confirming one, which the search does not count."""
    ledger = Ledger(str(tmp_path), "s")
    start(ledger, sweep(decided=True))
    name = confirm(tmp_path, 3, 1)
    reopen(ledger, ledger.trials())
    with pytest.raises(SweepError) as caught:
        start(ledger, sweep(search_seeds=[1, 2, 3]))
    assert str(caught.value) == (
        f"search.seeds: 3 is the seed of a confirming trial ({name}); choose seeds above 3"
    )
    start(ledger, sweep(search_seeds=[1, 2, 4]))


def test_an_old_sweep_gets_the_block_only_from_its_file(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), "s")
    old = sweep(decide=None)
    start(ledger, old)
    before = ledger.folder.read("sweep.yaml")
    assert "decide" not in recorded(ledger)
    start(ledger, old)
    assert ledger.folder.read("sweep.yaml") == before
    start(ledger, sweep())
    assert recorded(ledger)["decide"]["looks"] == [3, 5]


def test_another_sweep_is_still_refused_first(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), "s")
    start(ledger, sweep(decided=True))
    confirm(tmp_path, 3, 1)
    with pytest.raises(SweepError, match="another sweep has this name"):
        start(ledger, sweep(decide_margin=0.02, search_algorithm="random"))


def test_an_unreadable_decision_is_reported(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), "s")
    start(ledger, sweep(decided=True))
    text = (ledger.folder.read("sweep.yaml") or b"").replace(b"first_seed: 3", b"first_seed: x")
    ledger.folder.write("sweep.yaml", text)
    with pytest.raises(SweepError, match=r"resolved\.decision\.first_seed: .*; restore it, or"):
        start(ledger, sweep())
