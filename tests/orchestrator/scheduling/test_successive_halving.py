"""Rungs: Ray's decisions, several objectives, and that a restart finds them as they were."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler

from orchestrator.ledger import Ledger
from orchestrator.scheduling.successive_halving import Halving, Rungs, rebuilt
from orchestrator.spec import SweepSpec, load_spec
from tests.support.ledgers import epoch, write_trial
from trainer.config import ConfigError


def make_spec(**changes: Any) -> SweepSpec:
    mapping = {
        "name": "s",
        "base": {"data": {"source": "synthetic"}, "encoder": "tiny", "epochs": 4},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    }
    return SweepSpec.model_validate(mapping | changes)


def halving(out: Path, name: str = "s", **changes: Any) -> Halving:
    ledger = Ledger(out, name)
    found = rebuilt(make_spec(**changes), ledger, ledger.trials())
    assert found is not None
    return found


def decide(found: Halving, trial_id: str, scores: list[float]) -> list[bool]:
    """Whether a new trial stops behind each of its epochs, until it does."""
    decisions: list[bool] = []
    for number, score in enumerate(scores, 1):
        if not any(decisions):
            record = epoch(number, score, 1.0, False)
            decisions.append(found.result(trial_id, number, record))
    return decisions


@pytest.mark.parametrize("seed", range(60))
def test_decisions_equal_rays(seed: int) -> None:
    random_ = random.Random(seed)
    grace, factor = random_.choice([1, 2, 3]), random_.choice([2, 3, 4])
    epochs = random_.choice([5, 10, 27])
    rays = ASHAScheduler(
        time_attr="epoch", metric="value", mode="max", max_t=epochs, grace_period=grace,
        reduction_factor=factor, brackets=1, stop_last_trials=False,
    )  # fmt: skip
    ours = Rungs(grace, factor, epochs)
    behind: dict[int, int] = {}
    decisions = 0
    for _ in range(400):
        trial = random_.randrange(40)
        if behind.get(trial, 0) >= epochs:
            continue
        if trial not in behind:
            rays.on_trial_add(None, SimpleNamespace(trial_id=trial))
        number = behind[trial] = behind.get(trial, 0) + 1
        # Half of the sequences have many equal values.
        value = random_.randrange(6) / 10 if seed % 2 else random_.random()
        stops = ours.result(str(trial), number, [value])
        result = {"epoch": number, "value": value}
        decision = rays.on_trial_result(None, SimpleNamespace(trial_id=trial), result)
        assert stops == (decision == "STOP")
        decisions += stops
        if stops:
            behind[trial] = epochs
    assert decisions


def fronts(points: list[list[float]]) -> list[int]:
    """Non-dominated fronts by their definition: peel one off after the other."""

    def dominates(a: list[float], b: list[float]) -> bool:
        return a != b and all(x >= y for x, y in zip(a, b, strict=True))

    found = [-1] * len(points)
    for number in range(len(points)):
        left = [i for i, front in enumerate(found) if front < 0]
        for i in left:
            if not any(dominates(points[j], points[i]) for j in left):
                found[i] = number
    return found


@pytest.mark.parametrize("objectives", [2, 3])
def test_fronts_are_non_dominated_fronts(objectives: int) -> None:
    random_ = random.Random(objectives)
    rungs = Rungs(1, 3, 1)
    points: list[list[float]] = []
    for number in range(150):
        points.append([random_.randrange(12) / 10 for _ in range(objectives)])
        rungs.result(str(number), 1, points[-1])
        if number % 10 == 9:
            ranks = rungs._rungs[0]._ranks[: number + 1]
            assert (-ranks).tolist() == fronts(points)


def test_a_trade_off_is_kept_and_what_is_worse_in_all_stops(tmp_path: Path) -> None:
    search = {"objectives": {"dev_score": "max", "minutes_per_epoch": "min"}}
    scheduler = {"name": "asha", "rank": "fronts", "grace_epochs": 1, "reduction_factor": 2}
    found = halving(tmp_path, search=search, scheduler=scheduler)

    def stops(name: str, score: float, minutes: float) -> bool:
        return found.result(name, 1, epoch(1, score, minutes, False))

    assert not stops("good", 0.9, 10.0)
    assert not stops("quick", 0.5, 1.0)
    assert stops("worse than both", 0.4, 11.0)
    assert not stops("between", 0.7, 5.0)
    assert not stops("better than all", 0.95, 0.5)


def test_fronts_need_two_objectives(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\nscheduler: {name: asha, rank: fronts}\n")
    with pytest.raises(ConfigError, match=r"scheduler.rank: fronts need two objectives"):
        load_spec(str(path))
    load_spec(str(path), None, ["search.objectives={dev_score: max, minutes_per_epoch: min}"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_not_ranked(value: float) -> None:
    rungs = Rungs(1, 2, 4)
    assert not rungs.result("broken", 1, [value])
    assert not rungs.result("first", 1, [0.5])
    assert rungs.result("worse", 1, [0.4])


def test_rungs_rebuilt_from_records_decide_like_those_of_an_undisturbed_run(
    tmp_path: Path,
) -> None:
    scores = {1: [0.6, 0.6, 0.6, 0.7], 2: [0.5], 3: [0.7, 0.7, 0.8, 0.8], 4: [0.65, 0.65]}
    undisturbed = halving(tmp_path, "none")
    for seed, values in scores.items():
        status = "complete" if len(values) == 4 else "pruned"
        name = write_trial(tmp_path / "s", values, status=status, seed=seed, epochs=4)
        decide(undisturbed, name, values)
    restarted = halving(tmp_path)
    for trial, values in {"weak": [0.1], "so so": [0.66] * 4, "best": [0.9] * 4}.items():
        assert decide(restarted, trial, values) == decide(undisturbed, trial, values), trial
    assert decide(restarted, "weaker", [0.1]) == [True]


def test_what_comes_again_is_not_counted_again() -> None:
    rungs = Rungs(1, 2, 4)
    for _ in range(5):
        rungs.result("a", 1, [0.2])
    rungs.result("b", 1, [0.8])
    assert not rungs.result("c", 1, [0.6])  # the median of 0.2 and 0.8 is 0.5
    assert not rungs.result("a", 1, [0.0])


def test_a_trial_that_goes_on_is_not_judged_again_for_epochs_behind_it(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.5, 0.5], status=None, seed=1, epochs=4)
    for seed in (2, 3, 4):
        write_trial(tmp_path / "s", [0.9, 0.9, 0.9, 0.9], seed=seed, epochs=4)
    ledger = Ledger(tmp_path, "s")
    # its epochs were committed first, so it was right to go on with it
    for number, when in ((1, "2025-01-01T00:00:00+00:00"), (2, "2025-01-02T00:00:00+00:00")):
        ledger.directory(name).commit(epoch(number, 0.5, 1.0, False) | {"finished_at": when}, {})
    found = halving(tmp_path)
    assert ledger.end(name) is None
    assert not found.result(name, 3, epoch(3, 0.5, 1.0, False))
    assert found.result(name, 4, epoch(4, 0.5, 1.0, False))


def test_a_clock_that_was_set_back_reorders_no_trial(tmp_path: Path) -> None:
    """What the trial did last decides, not what has the newest stamp."""
    ledger = Ledger(tmp_path, "s")
    name = write_trial(tmp_path / "s", [0.3, 0.9], status=None, seed=1, epochs=4)
    other = write_trial(tmp_path / "s", [0.9], status=None, seed=2, epochs=4)
    for trial, number, score, month in ((name, 1, 0.3, 3), (other, 1, 0.9, 2), (name, 2, 0.9, 1)):
        record = epoch(number, score, 1.0, False) | {"finished_at": f"2027-0{month}-01T00:00:00"}
        ledger.directory(trial).commit(record, {})
    found = Halving(make_spec())
    assert found.replay(ledger.trials()) == {}


def test_a_trial_that_the_killed_driver_had_to_stop_is_ended_as_pruned(tmp_path: Path) -> None:
    for seed in (2, 3):
        write_trial(tmp_path / "s", [0.9] * 4, seed=seed, epochs=4)
    late = write_trial(tmp_path / "s", [0.1], status=None, seed=1, epochs=4)
    ledger = Ledger(tmp_path, "s")
    record = epoch(1, 0.1, 1.0, False) | {"finished_at": "2027-01-01T00:00:00+00:00"}
    ledger.directory(late).commit(record, {})
    halving(tmp_path)
    trial = ledger.trial(late)
    assert trial is not None
    assert (trial.status, trial.reason) == ("pruned", "stopped by asha after epoch 1")


def test_no_scheduler_has_no_rungs(tmp_path: Path) -> None:
    assert rebuilt(make_spec(scheduler={"name": "none"}), Ledger(tmp_path, "s"), []) is None


def test_searched_epochs_have_rungs_up_to_the_longest_trial(tmp_path: Path) -> None:
    found = halving(tmp_path, space={"epochs": {"choices": [4, 32]}})
    assert found._rungs._rungs[0].milestone == 32


@pytest.mark.parametrize("objectives", [1, 2])
def test_a_result_among_thousands_is_fast(objectives: int) -> None:
    random_ = random.Random(0)
    rungs = Rungs(1, 3, 1)
    for number in range(3000):
        rungs.result(str(number), 1, [random_.random() for _ in range(objectives)])
    begun = time.process_time()
    for number in range(200):
        rungs.result(f"new {number}", 1, [random_.random() for _ in range(objectives)])
    assert (time.process_time() - begun) / 200 < 0.005
