"""Trials that cannot end well do not take the others with them, and are not tried for ever."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.compare.configurations import compare
from tests.support.drivers import (
    SWEEP,
    Driver,
    mlflow_statuses,
    nothing_left,
    optuna_states,
    trials,
    undisturbed,
)
from tests.support.faulty import SEEDS

Start = Callable[..., Driver]
STUB = "tests.faults.chained:train"
LIST: dict[str, Any] = SWEEP | {
    "space": {},
    "search": {"algorithm": "list", "seeds": [1], "objectives": {"dev_score": "max"}},
}


@pytest.mark.exhaustive(reason="a whole sweep")
def test_a_trial_that_diverges_has_failed_at_once_and_the_others_go_on(start: Start) -> None:
    """The real trainer; the gradients overflow while the losses are still finite."""
    sweep = LIST | {
        "enqueue": [
            {"sampler": "round_robin", "bregman_weight": 1e38},
            {"sampler": "round_robin"},
        ]
    }
    driver = start(sweep)
    assert driver.wait() == 1, driver.text
    found = {t.config["bregman_weight"]: t for t in trials(driver.out).values()}
    bad, good = found[1e38], found[0.0]
    assert (bad.status, bad.reason, good.status) == ("failed", "diverged", "complete")
    assert f"failed: {bad.trial_id}: diverged" in driver.text
    assert "tried again" not in driver.text and "Traceback" not in driver.text
    assert optuna_states(driver.out) == {"FAIL": 1, "COMPLETE": 1}
    statuses = {bad.trial_id: "FAILED", good.trial_id: "FINISHED"}
    assert mlflow_statuses(driver.out) == statuses
    nothing_left(driver)


@pytest.mark.exhaustive(reason="a whole sweep")
def test_what_has_no_memory_is_tried_again_alone_and_then_failed_with_that_word(
    start: Start,
) -> None:
    names = ("nothing", "memory", "hungry", "dying", "killed")
    search = LIST["search"] | {"seeds": [SEEDS[name] for name in names]}
    driver = start(
        LIST | {"search": search, "enqueue": [{"sampler": "round_robin"}]},
        train="tests.support.faulty:train",
    )
    assert driver.wait() == 1, driver.text
    seeds = {seed: name for name, seed in SEEDS.items()}
    ends = {seeds[t.config["seed"]]: (t.status, t.reason) for t in trials(driver.out).values()}
    complete = ("complete", "")
    assert {name: ends[name] for name in ("nothing", "memory", "killed")} == dict.fromkeys(
        ("nothing", "memory", "killed"), complete
    )
    assert ends["hungry"][0] == ends["dying"][0] == "failed"
    assert ends["hungry"][1].startswith("out of memory even alone on its device")
    assert ends["dying"][1].startswith("its process died (attempt 4; ")
    assert optuna_states(driver.out) == {"FAIL": 1}  # one configuration, its mean is unknown
    assert Counter(mlflow_statuses(driver.out).values()) == {"FINISHED": 3, "FAILED": 2}
    again = start(
        LIST | {"search": search, "enqueue": [{"sampler": "round_robin"}]},
        train="tests.support.faulty:train",
    )
    assert again.wait() == 1, again.text
    assert " started" not in again.text  # what has failed stays so
    nothing_left(again)


@pytest.mark.exhaustive(reason="whole sweeps with kills at random moments")
def test_pruned_trials_stay_so_over_kills_and_are_not_ranked(
    start: Start, moments: random.Random, tmp_path: Path, cache: Path
) -> None:
    sweep = SWEEP | {
        "base": SWEEP["base"] | {"epochs": 9},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3},
        "search": SWEEP["search"] | {"num_trials": 6},
    }
    (tmp_path / "whole").mkdir()
    whole = trials(undisturbed(tmp_path / "whole", cache, sweep, STUB))
    pruned: dict[str, int] = {}
    for _ in range(3):
        driver = start(sweep, train=STUB, environment={"EPOCH_S": "0.3"})
        before = driver.epochs()
        wanted = before + moments.randint(4, 9)
        driver.wait_until(lambda d=driver, n=wanted: d.epochs() >= n)  # type: ignore[misc]
        driver.kill_all()
        found = trials(driver.out)
        for name, length in pruned.items():
            assert (found[name].status, len(found[name].records)) == ("pruned", length)
        pruned |= {n: len(t.records) for n, t in found.items() if t.status == "pruned"}
    last = start(sweep, train=STUB, environment={"EPOCH_S": "0.1"})
    assert last.wait() == 0, last.text
    found = trials(last.out)
    assert set(found) == set(whole)  # `random` proposes the same, whatever came of it
    states = Counter(trial.status for trial in found.values())
    assert set(states) == {"pruned", "complete"}
    for name, trial in found.items():
        chain = [record["chain"] for record in trial.records]
        assert chain == [record["chain"] for record in whole[name].records[: len(chain)]]
        assert (len(chain) == 9) == (trial.status == "complete")
        assert trial.status == "complete" or len(chain) in (1, 3)
    for name, length in pruned.items():
        assert (found[name].status, len(found[name].records)) == ("pruned", length)
    ranked = {name for row in compare(list(found.values())).rows for name in row.trials}
    assert ranked == {name for name, trial in found.items() if trial.status == "complete"}
    assert set(optuna_states(last.out)) <= {"PRUNED", "COMPLETE"}
    shown = {"pruned": "KILLED", "complete": "FINISHED"}
    assert mlflow_statuses(last.out) == {n: shown[t.status] for n, t in found.items()}
    nothing_left(last)
