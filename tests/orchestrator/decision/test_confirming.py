"""The confirming stage: fixed once, on fresh seeds, in pairs, and the same after any crash."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from orchestrator.decision import confirming
from orchestrator.errors import UserError
from orchestrator.ledger.current import confirming as confirming_trials
from orchestrator.ledger.current import searched
from orchestrator.ledger.listing import resolved_spec
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.spec import SweepSpec
from tests.support.decided import SimulatedSweep, Skill, sweep_spec
from tests.support.searches import identify
from tests.support.simulated import World
from trainer.config import TrainConfig


def skills(**of_sampler: float) -> Skill:
    """Skill by sampler, with a little luck by seed."""

    def skill(config: TrainConfig) -> float:
        luck = np.random.default_rng([config.seed, config.B]).normal(0, 0.01)
        return of_sampler[config.sampler] + float(luck)

    return skill


def simulated(
    folder: Path, spec: SweepSpec | None = None, skill: Skill | None = None
) -> SimulatedSweep:
    world = World.of(np.random.default_rng(0), sst=150, qqp=150, sts=80)
    return SimulatedSweep(
        folder, spec or sweep_spec(), world, skill or skills(arrp=0.7, annealed=0.7)
    )


def test_pairs_share_fresh_seeds_that_no_trial_of_the_search_has(tmp_path: Path) -> None:
    sweep = simulated(tmp_path)
    sweep.search()
    sweep.confirm()
    trials = sweep.ledger.trials()
    own = confirming_trials(trials, 1)
    used = {int(trial.config["seed"]) for trial in searched(trials)}
    assert used == {1, 2} and len(searched(trials)) == 12
    by_pair: dict[int, dict[str, int]] = {}
    for trial in own:
        place = by_pair.setdefault(trial.identity["pair"], {})
        place[trial.identity["method"]] = int(trial.config["seed"])
    assert sorted(by_pair) == list(range(1, len(by_pair) + 1)) and len(by_pair) >= 3
    for pair, seeds in by_pair.items():
        assert seeds == {"arrp": 2 + pair, "annealed": 2 + pair}


def test_one_configuration_of_each_method_is_fixed_before_the_first_trial(tmp_path: Path) -> None:
    sweep = simulated(tmp_path)
    sweep.search()
    assert sweep.confirm(most=1) == 1
    decision = resolved_spec(sweep.ledger)["resolved"]["decision"]
    assert set(decision["config_ids"]) == {"arrp", "annealed"}
    assert decision["looks"] == [3, 5, 8] and decision["first_seed"] == 3
    sweep.confirm()
    assert resolved_spec(sweep.ledger)["resolved"]["decision"] == decision
    ids = {trial.identity["config_id"] for trial in confirming_trials(sweep.ledger.trials())}
    assert ids == set(decision["config_ids"].values())


@pytest.mark.parametrize("interval", [1, 4, 7])
def test_a_stage_that_is_interrupted_again_and_again_ends_like_an_undisturbed_one(
    tmp_path: Path, interval: int
) -> None:
    whole, broken = simulated(tmp_path / "whole"), simulated(tmp_path / "broken")
    for sweep in (whole, broken):
        sweep.search()
    whole.confirm()
    runs = [broken.confirm(most=interval) for _ in range(20)]
    assert runs[0] and not runs[-1]
    first, second = (
        {t.trial_id: (t.records[-1]["dev_score"], t.identity["pair"]) for t in s.ledger.trials()
         if "pair" in t.identity}
        for s in (whole, broken)
    )  # fmt: skip
    assert first == second and first
    assert whole.answer() == broken.answer()


def test_the_search_does_not_see_confirming_trials(tmp_path: Path) -> None:
    sweep = simulated(tmp_path)
    sweep.search()
    before = TrialQueue(sweep.spec, sweep.ledger, identify)
    sweep.confirm()
    after = TrialQueue(sweep.spec, sweep.ledger, identify)
    assert after.trial_ids == before.trial_ids and after.planned == before.planned
    assert [e.values for e in after.ended_suggestions()] == [
        e.values for e in before.ended_suggestions()
    ]


def test_a_large_difference_ends_at_the_first_look_and_equal_methods_take_more(
    tmp_path: Path,
) -> None:
    clear = simulated(tmp_path / "clear", skill=skills(arrp=0.5, annealed=0.8))
    clear.search()
    assert clear.confirm() == 6
    answer = clear.answer()
    assert answer.verdict == "NO" and answer.contests[0].score_state == "lower"
    assert answer.contests[0].look == 1 and answer.contests[0].pairs == 3
    assert clear.confirm() == 0  # nothing more is trained
    spec = sweep_spec(decide={"looks": [3, 5, 8], "margin": 0.05, "budget": {"share": 100.0}})
    equal = simulated(tmp_path / "equal", spec)
    equal.search()
    assert equal.confirm() > 6
    assert equal.answer().contests[0].score_state == "reached"


def test_a_diverged_seed_costs_its_pair_and_is_named(tmp_path: Path) -> None:
    def skill(config: TrainConfig) -> float | None:
        return None if (config.sampler, config.seed) == ("arrp", 4) else 0.7

    sweep = simulated(tmp_path, skill=skill)
    sweep.search()
    sweep.confirm()
    answer = sweep.answer()
    one = answer.contests[0].one
    assert one.diverged == 1 and one.seeds == answer.contests[0].pairs - 1
    assert any("1 of" in note and "diverged" in note for note in answer.notes)


def test_the_budget_is_a_share_of_the_search_but_at_least_the_first_look(tmp_path: Path) -> None:
    sweep = simulated(tmp_path)
    sweep.search()
    trials = sweep.ledger.trials()
    # Each of the 12 trials costs 1.03 minutes, so a pair costs 2.06.
    for share, looks in ((0.001, [3]), (0.5, [3]), (1.0, [3, 5]), (2.0, [3, 5, 8])):
        spec = sweep_spec(decide={"looks": [3, 5, 8], "budget": {"share": share}})
        picked = confirming.pick(spec, trials, identify)
        assert confirming.fix(spec, trials, picked, ["arrp"]).looks == looks


def test_nothing_is_trained_if_the_first_look_does_not_fit_a_hard_limit(tmp_path: Path) -> None:
    spec = sweep_spec(decide={"looks": [3, 5], "budget": {"hours": 0.05}})
    sweep = simulated(tmp_path, spec)
    sweep.search()
    assert sweep.confirm() == 0
    picked = confirming.pick(spec, sweep.ledger.trials(), identify)
    with pytest.raises(confirming.DoesNotFit, match="3 pairs.*0.1 hours"):
        confirming.fix(spec, sweep.ledger.trials(), picked, ["arrp"])
    assert sweep.answer().verdict == "NOT DECIDED"


def test_a_method_without_a_complete_trial_is_named(tmp_path: Path) -> None:
    sweep = simulated(tmp_path, skill=lambda config: None if config.sampler == "arrp" else 0.7)
    sweep.search()
    with pytest.raises(UserError, match="arrp: no complete trial"):
        confirming.pick(sweep.spec, sweep.ledger.trials(), identify)
    assert sweep.confirm() == 0


def test_a_challenger_with_an_answer_drops_out(tmp_path: Path) -> None:
    spec = sweep_spec(
        enqueue=[{"sampler": s, "B": 64} for s in ("annealed", "arrp", "proportional")],
        decide={"compare": ["arrp", "proportional", "annealed"], "ask": "score",
                "looks": [3, 5, 8], "budget": {"share": 100.0}},
    )  # fmt: skip
    sweep = simulated(tmp_path, spec, skills(arrp=0.4, annealed=0.7, proportional=0.74))
    sweep.search()
    sweep.confirm()
    counts = Counter(t.identity["method"] for t in confirming_trials(sweep.ledger.trials()))
    assert counts["arrp"] == 3 < counts["proportional"] == counts["annealed"]
    first, second = sweep.answer().contests
    assert first.verdict == "NO" and first.look == 1
    assert second.one.method == "proportional" and second.verdict == "YES" and second.look > 1
