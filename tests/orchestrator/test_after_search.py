"""What happens when a search is over: timing first, and confirming where it still matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.after_search import AfterOptions, AfterSearch
from orchestrator.decision.confirming import pick
from orchestrator.preflight.decision import keep_decision
from tests.support.decided import SimulatedSweep, sweep_spec
from tests.support.searches import identify
from tests.support.simulated import World


@pytest.fixture
def sweep(tmp_path: Path) -> SimulatedSweep:
    """A sweep whose search is over; both methods are equally good."""
    world = World.of(np.random.default_rng(0), sst=100, qqp=100, sts=50)
    simulated = SimulatedSweep(tmp_path, sweep_spec(), world, lambda config: 0.7)
    simulated.search()
    return simulated


def after(sweep: SimulatedSweep, said: list[str] | None = None, **options: Any) -> AfterSearch:
    say = (said if said is not None else []).append
    return AfterSearch(sweep.spec, sweep.ledger, identify, AfterOptions(**options), say)


def test_the_questions_configurations_are_timed_for_a_share_of_the_sweep(
    sweep: SimulatedSweep,
) -> None:
    order = after(sweep).timing_order(places=1)
    assert order is not None and len(order.trial_ids) == 2
    # 12 trials of 1.03 minutes: 5 % of 741.6 s.
    assert order.seconds == pytest.approx(0.05 * 12 * 1.03 * 60)
    few = after(sweep).timing_order(places=4)
    assert few is not None and few.seconds == 20  # at least
    ids = pick(sweep.spec, sweep.ledger.trials(), identify).config_ids
    of_trials = {t.trial_id: t.identity["config_id"] for t in sweep.ledger.trials()}
    assert [of_trials[name] for name in order.trial_ids] == [ids["arrp"], ids["annealed"]]


def test_nothing_is_timed_twice_also_on_a_busy_machine(sweep: SimulatedSweep) -> None:
    sweep.time(0.9, contended=True)
    assert after(sweep).timing_order(1) is None


def test_nothing_is_timed_or_confirmed_if_the_user_does_not_want_it(sweep: SimulatedSweep) -> None:
    assert after(sweep).is_wanted()
    assert not after(sweep, timing=False, confirm=False).is_wanted()
    assert after(sweep, timing=False).is_wanted() and after(sweep, confirm=False).is_wanted()


def test_a_sweep_without_a_question_does_neither(tmp_path: Path) -> None:
    world = World.of(np.random.default_rng(0), sst=50, qqp=50, sts=30)
    sweep = SimulatedSweep(tmp_path, sweep_spec(decide=None), world, lambda config: 0.7)
    sweep.search()
    assert not after(sweep).is_wanted()


@pytest.mark.parametrize(
    ("ratio", "confirms"), [(0.8, True), (1.2, False), (1.0, False), (0.97, True)]
)
def test_confirming_is_left_out_where_an_epoch_does_not_take_fewer_minutes(
    sweep: SimulatedSweep, ratio: float, confirms: bool
) -> None:
    sweep.time(ratio)
    said: list[str] = []
    assert (after(sweep, said).confirm_queue() is not None) == confirms
    assert confirms == (not said or "left out" not in said[0])


def test_confirm_trains_it_all_the_same(sweep: SimulatedSweep) -> None:
    sweep.time(1.2)
    assert sweep.answer().verdict == "NO"
    assert after(sweep, confirm=True).confirm_queue() is not None


def test_minutes_do_not_matter_if_the_question_is_the_score(tmp_path: Path) -> None:
    world = World.of(np.random.default_rng(0), sst=50, qqp=50, sts=30)
    spec = sweep_spec(decide={"ask": "score", "looks": [3], "budget": {"share": 100.0}})
    sweep = SimulatedSweep(tmp_path, spec, world, lambda config: 0.7)
    sweep.search()
    sweep.time(1.2)
    assert after(sweep).confirm_queue() is not None


def test_a_stage_that_has_begun_is_finished_whatever_a_later_timing_says(
    sweep: SimulatedSweep,
) -> None:
    assert sweep.confirm(most=2) == 2
    sweep.time(1.2)
    assert sweep.confirm() > 0


def test_a_configuration_that_the_search_never_tried_is_timed_when_it_has_trials(
    tmp_path: Path,
) -> None:
    world = World.of(np.random.default_rng(0), sst=50, qqp=50, sts=30)
    choose = {"arrp": {"sampler": "arrp", "B": 96}}
    spec = sweep_spec(decide={"choose": choose, "looks": [3], "budget": {"share": 100.0}})
    sweep = SimulatedSweep(tmp_path, spec, world, lambda config: 0.7)
    sweep.search()
    assert after(sweep).timing_order(1) is None
    sweep.confirm()
    decided = keep_decision(spec, sweep.ledger, sweep.ledger.trials())
    order = replace(after(sweep), spec=decided).timing_order(1)
    assert order is not None and len(order.trial_ids) == 2


def test_a_configuration_is_known_by_what_it_is_not_by_how_it_is_written(tmp_path: Path) -> None:
    """`lambda: 1.0` is the default, so the configuration is one that the search tried."""
    world = World.of(np.random.default_rng(0), sst=50, qqp=50, sts=30)
    choose = {"arrp": {"sampler": "arrp", "B": 64, "lambda": 1.0}}
    spec = sweep_spec(decide={"choose": choose, "looks": [3], "budget": {"share": 100.0}})
    sweep = SimulatedSweep(tmp_path, spec, world, lambda config: 0.7)
    sweep.search()
    picked = pick(spec, sweep.ledger.trials(), identify).config_ids
    contest = sweep.answer().contests[0]
    assert contest.one.config_id == picked["arrp"] and contest.one.seeds == 2


def test_why_nothing_is_confirmed_is_kept_for_the_user(tmp_path: Path) -> None:
    world = World.of(np.random.default_rng(0), sst=50, qqp=50, sts=30)
    spec = sweep_spec(decide={"looks": [3], "budget": {"hours": 0.01}})
    sweep = SimulatedSweep(tmp_path, spec, world, lambda config: 0.7)
    sweep.search()
    stage = after(sweep, timing=False)
    assert not stage.is_wanted()
    assert "the first look (3 pairs) takes about" in stage.problem
