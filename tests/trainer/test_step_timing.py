"""Timing in turn: what is measured, and what is claimed from it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trainer.loop.clock
import trainer.step_timing
from orchestrator.ledger import Ledger, timing_sessions
from orchestrator.ledger.timing_sessions import Session, fair_ratio, timings
from tests.support.sessions import ABOUT, made_up
from tests.support.small import small_config
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.samplers import Phase, Step
from trainer.step_timing import Contestant, Round, build, in_turn
from trainer.train import train_epoch


class Logged(Contestant):
    """Says when it has its turn."""

    log: list[str]
    name: str

    def turn(self, number: int) -> list[trainer.step_timing.Stretch]:
        if hasattr(self, "name"):
            self.log.append(f"{self.name}{number}")
        return super().turn(number)


def logged(cache: Path, names: str, rounds: int, **changes: Any) -> tuple[dict, list[str]]:
    log: list[str] = []
    made = {name: Logged(small_config(cache, **changes), rounds, 1) for name in names}
    for name, contestant in made.items():
        contestant.name, contestant.log = name, log
    return made, log


def test_configurations_take_turns(cache: Path) -> None:
    contestants, log = logged(cache, "AB", rounds=3)
    rounds = list(in_turn(contestants, 3, repeats=0))
    assert [sorted(log[start : start + 2]) for start in (0, 2, 4)] == [
        ["A0", "B0"], ["A1", "B1"], ["A2", "B2"]
    ]  # fmt: skip
    assert [f"{name}{each.number}" for each in rounds for name in each.order] == log


class Quick:
    """A contestant whose turns take no time."""

    is_built, device = True, torch.device("cpu")

    def turn(self, number: int) -> list[trainer.step_timing.Stretch]:
        return []


def orders(seed: int, rounds: int = 60) -> list[tuple[str, ...]]:
    contestants: Any = {name: Quick() for name in "ABC"}
    taken = list(in_turn(contestants, rounds, repeats=0, seed=seed))
    assert [list(each.turns) for each in taken] == [each.order for each in taken]
    return [tuple(each.order) for each in taken]


def test_every_round_draws_its_order_anew() -> None:
    drawn = orders(seed=1)
    assert len(set(drawn)) == 6  # of three contestants
    assert all(12 <= sum(order[0] == name for order in drawn) <= 30 for name in "ABC")
    assert drawn == orders(seed=1) != orders(seed=2)


def test_a_ratio_holds_while_the_machine_slows_down() -> None:
    """By 15 % over the session: in a fixed order the later configuration would seem slower."""
    held = 0
    for seed in range(200):
        random, speed = np.random.default_rng(seed), np.linspace(1, 1.15, 30)
        columns: dict[str, list[float]] = {"A": [], "B": [], "C": []}
        for number, order in enumerate(orders(seed, rounds=10)):
            for place, name in enumerate(order):
                columns[name].append(speed[3 * number + place] * np.exp(random.normal(0, 0.005)))
        found = made_up(columns).ratio("A", "C")
        held += found.low <= 1 <= found.high
    assert held >= 180  # expected: 190, with a standard error of 3


def test_where_not_all_fit_into_memory_they_are_built_for_their_turns(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = {name: small_config(cache, sampler="round_robin") for name in "AB"}
    together = build(configs, 2, 1)
    assert all(each.is_built for each in together.values())
    monkeypatch.setattr(trainer.step_timing, "free_memory", lambda device: 0)
    one_by_one = build(configs, 2, 1)
    assert [each.is_built for each in one_by_one.values()] == [False, True]
    for each in in_turn(one_by_one, 2, repeats=0):
        assert sorted(each.turns) == ["A", "B"]
        assert sum(contestant.is_built for contestant in one_by_one.values()) == 1


def test_a_turn_takes_other_steps_every_time_spread_over_the_phase(cache: Path) -> None:
    config = small_config(cache, sampler="single_task", train_task="qqp", epochs=1)
    contestant, plan = Contestant(config, 4, 5), Run(config).plan(1)[0].steps
    taken = [_places(plan, phases[0]) for phases in contestant._rounds]
    assert len({place for places in taken for place in places}) == 20
    for places in taken:
        tenths = [place * 5 // len(plan) for place in places]
        assert tenths == [0, 1, 2, 3, 4]


def test_turns_are_spread_over_the_epochs_whose_steps_differ(cache: Path) -> None:
    config = small_config(cache, sampler="annealed", B=100, epochs=3)
    contestant, run = Contestant(config, 6, 2), Run(config)
    plans = [run.plan(number)[0].steps for number in (1, 2, 3)]
    found = [
        [number for number, plan in enumerate(plans, 1) if _places(plan, phases[0])]
        for phases in contestant._rounds
    ]
    assert found == [[1], [1], [2], [2], [3], [3]]


def _places(plan: Any, phase: Phase) -> list[int]:
    """Where in the plan the phase's steps stand; none if they are of another one."""
    keys = [b"".join(draw.rows.tobytes() for draw in step) for step in plan]
    wanted = [b"".join(draw.rows.tobytes() for draw in step) for step in phase.steps]
    return [keys.index(key) for key in wanted] if all(key in keys for key in wanted) else []


def test_phases_that_some_epochs_lack_count_as_often_as_they_come(cache: Path) -> None:
    config = small_config(cache, sampler="rr_pretrain", train_task="qqp", epochs=4)
    sizes = {size.name: size for size in Contestant(config, 2, 1).sizes}
    assert sizes["pretrain"].updates == 188 / 4 and sizes["pretrain"].examples == 1500 / 4
    assert sizes["round_robin"].updates == 4 and sizes["round_robin"].examples == 3 * 32


def test_an_arrp_epoch_is_the_sum_of_its_extrapolated_phases(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that only the steps move, the extrapolation is the whole epoch's time."""
    cost = {"round_robin": 3.0, "alternating": 0.5}
    now = [0.0]
    monkeypatch.setattr(trainer.loop.clock.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(trainer.loop.clock.time, "perf_counter_ns", lambda: int(now[0] * 1e9))

    def step(run: Run, phase: Phase, step: Step, tally: EpochMetrics) -> None:
        now[0] += cost[phase.name]

    monkeypatch.setattr(Run, "step", step)
    config = small_config(cache, sampler="arrp", B=64)
    contestant = Contestant(config, 5, 2)
    whole = sum(len(phase.steps) * cost[phase.name] for phase in Run(config).plan(1)) / 60
    session = a_session({"a": contestant}, list(in_turn({"a": contestant}, 5, repeats=0)))
    assert session.minutes("a").minutes.value == pytest.approx(whole)
    assert session.minutes("a").parts == pytest.approx({"other": whole} | dict.fromkeys(
        trainer.loop.clock.STEP_PARTS, 0.0))  # fmt: skip


def test_a_turn_of_all_steps_is_the_epoch(cache: Path) -> None:
    config = small_config(cache, sampler="arrp", B=64, epochs=1)
    contestant = Contestant(config, 1, 1000)
    (taken,) = in_turn({"a": contestant}, 1, repeats=0)
    assert [stretch.steps for stretch in taken.turns["a"]] == [4, 8]
    recorded = train_epoch(Run(config), 1)[0]["minutes_per_epoch"] * 60
    timed = sum(stretch.seconds for stretch in taken.turns["a"])
    assert recorded / 5 < timed < recorded * 5  # two moments of a machine that others use


def test_a_slow_combiner_is_seen_in_surgery_alone(cache: Path) -> None:
    contestant = Contestant(small_config(cache, sampler="round_robin"), 1, 4)
    run = contestant._built()
    project = run.combiner.project
    assert project is not None
    slow = replace(run.combiner, project=lambda *given: (time.sleep(0.1), project(*given))[1])
    run.stepper.combiner = slow
    (stretch,) = contestant.turn(0)
    surgery = stretch.parts.pop("surgery")
    assert surgery >= 0.4 and sum(stretch.parts.values()) < 0.3
    assert surgery + sum(stretch.parts.values()) <= stretch.seconds


def test_a_contended_round_is_marked_and_repeated_but_not_for_ever(cache: Path, busy: None) -> None:
    contestants, log = logged(cache, "A", rounds=3, sampler="round_robin")
    contestants["A"]._rounds = [[replace(p, steps=list(p.steps) * 12) for p in phases]
                                for phases in contestants["A"]._rounds]  # fmt: skip
    rounds = list(in_turn(contestants, 3, repeats=2))
    if (os.cpu_count() or 1) < 8:  # one core is a tenth of the machine
        assert [each.contended for each in rounds] == [True] * 5
        assert log == ["A0", "A0", "A0", "A1", "A2"]
        assert a_session(contestants, rounds).problem.startswith("something else ran")
    assert all(each.foreign_load for each in rounds)


def test_a_repetition_waits_until_the_device_is_quiet(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = iter([(True, 0.5), (True, 0.4), (False, 0.0), (False, 0.0)])
    waits: list[float] = []
    monkeypatch.setattr(
        trainer.step_timing.ContentionMonitor, "contention", lambda watch: next(verdicts)
    )
    monkeypatch.setattr(trainer.step_timing.time, "sleep", waits.append)
    contestants, log = logged(cache, "A", rounds=1, sampler="round_robin")
    rounds = list(in_turn(contestants, 1, repeats=1, patience_s=100))
    assert [each.contended for each in rounds] == [True, False]
    assert len(waits) == 2  # the second look found it quiet


# -- what is claimed from it -----------------------------------------------------------------------


def a_session(contestants: dict[str, Contestant], rounds: list[Round], **changes: Any) -> Session:
    configs = [
        {"config_id": name, "label": name, "trial_ids": [], "precision": each.precision,
         "phases": [vars(size) for size in each.sizes]}
        for name, each in contestants.items()
    ]  # fmt: skip
    taken = [
        {**vars(each), "turns": {n: [vars(s) for s in t] for n, t in each.turns.items()}}
        for each in rounds
    ]
    return Session.model_validate({**ABOUT, "configs": configs, "rounds": taken} | changes)


def test_minutes_are_the_mean_over_rounds_and_parts_add_up_to_them() -> None:
    session = made_up({"a": [1, 2, 3, 2, 2], "b": [2, 4, 6, 4, 4]})
    found = session.minutes("a")
    assert found.minutes.value == 2.0  # 60 updates of 2 seconds
    assert found.minutes.low < 2.0 < found.minutes.high
    assert sum(found.parts.values()) == pytest.approx(2.0)
    assert found.surgery_share == pytest.approx(0.25)
    assert found.examples == 480


def test_a_ratio_is_paired_by_round() -> None:
    """The machine's speed trebles and falls; one is always twice the other."""
    session = made_up({"a": [1, 2, 3, 2, 1], "b": [2, 4, 6, 4, 2]})
    found = session.ratio("b", to="a")
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))
    assert list(session.ratios()) == [("b", "a")]
    assert list(session.ratios(baseline="b")) == [("a", "b")]


def test_a_configuration_against_itself_is_found_equal() -> None:
    """Of many simulated sessions on a drifting machine nearly all intervals hold 1."""
    random = np.random.default_rng(5)
    held = 0
    for _ in range(100):
        speed = np.exp(random.normal(0, 0.1, 10).cumsum())
        noise = np.exp(random.normal(0, 0.05, (2, 10)))
        found = made_up({"a": speed * noise[0], "b": speed * noise[1]}).ratio("a", "b")
        held += found.low <= 1 <= found.high
    assert held >= 88


def test_a_true_difference_is_found() -> None:
    random = np.random.default_rng(6)
    speed = np.exp(random.normal(0, 0.1, 10).cumsum())
    noise = np.exp(random.normal(0, 0.03, (2, 10)))
    found = made_up({"a": 0.8 * speed * noise[0], "b": speed * noise[1]}).ratio("a", "b")
    assert found.low <= 0.8 <= found.high < 1


def test_contended_rounds_do_not_count_where_enough_others_are_left() -> None:
    column = [1, 1, 9, 1, 1, 9, 1]
    session = made_up({"a": column}, [False, False, True, False, False, None, False])
    assert session.problem == ""
    assert session.minutes("a").minutes.value == 1 and len(session.quiet) == 5


@pytest.mark.parametrize(
    ("contended", "problem"),
    [
        ([True, False, False, False, False], "something else ran on the device in 1 of 5 rounds"),
        (None, "unknown whether something else ran"),
        ([False] * 4, "fewer than 5 rounds"),
    ],
)
def test_without_enough_quiet_rounds_nothing_can_be_claimed(contended: Any, problem: str) -> None:
    count = len(contended) if contended else 5
    session = made_up({"a": [1.0] * count, "b": [2.0] * count}, contended)
    assert problem in session.problem
    assert session.minutes("a").minutes.value == 1.0  # it can still be looked at
    assert fair_ratio([session], "a", "b") is None


def keep(out: Path, *sessions: Session) -> None:
    folder = out / "s" / timing_sessions.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for session in sessions:
        name = session.started_at.replace(":", "-")
        (folder / f"{name}.json").write_text(session.model_dump_json())


def test_the_newest_uncontended_session_counts(tmp_path: Path) -> None:
    days = [{"started_at": f"2026-01-0{day}T00:00:00.000Z"} for day in (1, 2, 3)]
    five = [1.0] * 5
    keep(
        tmp_path,
        made_up({"a": five, "b": [2.0] * 5}, **days[0]),
        made_up({"a": [3.0] * 5, "c": five}, **days[1]),
        made_up({"a": five, "c": five}, True, **days[2]),
    )
    ledger = Ledger(tmp_path, "s")
    ratio = fair_ratio(timings(ledger), "b", "a")
    assert ratio is not None and ratio.value == pytest.approx(2.0)  # of the session that had both
    assert fair_ratio(timings(ledger), "b", "c") is None
    again = made_up({"a": five, "b": [5.0] * 5}, **days[2])
    ratio = fair_ratio([*timings(ledger), again], "b", "a")
    assert ratio is not None and ratio.value == pytest.approx(5.0)


def test_a_file_that_is_no_session_does_not_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = made_up({"a": [1.0] * 5})
    keep(tmp_path, good)
    folder = tmp_path / "s" / timing_sessions.FOLDER
    lacking = json.loads(good.model_dump_json())
    lacking["rounds"][2]["turns"] = {}
    for name, text in (("half.json", '{"format": 1'), ("lacking.json", json.dumps(lacking))):
        (folder / name).write_text(text)
    (folder / "notes.txt").write_text("mine")
    assert timings(Ledger(tmp_path, "s")) == [good]
    assert "half.json: not a timing session" in caplog.text
    assert "round 2 is not a turn of every configuration" in caplog.text
