"""A sweep that grows while it is interrupted, that is begun anew, or that is not the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.drivers import SWEEP, Driver, ended_like, nothing_left, trials, undisturbed

Start = Callable[..., Driver]
STUB: dict[str, Any] = {"train": "tests.faults.chained:train", "environment": {"EPOCH_S": "0"}}
SLOW: dict[str, Any] = {"train": "tests.faults.chained:train", "environment": {"EPOCH_S": "0.4"}}


def grown(epochs: int = 3, **search: Any) -> dict[str, Any]:
    return SWEEP | {
        "base": SWEEP["base"] | {"epochs": epochs},
        "search": SWEEP["search"] | search,
    }


@pytest.mark.exhaustive(reason="six sweeps, most of them killed")
def test_more_trials_seeds_and_epochs_over_kills_end_like_a_sweep_that_had_them_at_once(
    start: Start, tmp_path: Path, cache: Path
) -> None:
    stages = [
        grown(num_trials=2, seeds=[1]),
        grown(num_trials=5, seeds=[1]),
        grown(num_trials=5, seeds=[1, 2]),
    ]
    for sweep in stages[:2]:
        driver = start(sweep, **SLOW)
        before = driver.epochs()
        driver.wait_until(lambda d=driver, n=before: d.epochs() >= n + 2)  # type: ignore[misc]
        driver.kill_all()
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, stages[-1], STUB["train"])
    last = start(stages[-1], **STUB)
    assert last.wait() == 0, last.text
    ended_like(last, whole)

    longer = grown(epochs=5, num_trials=5, seeds=[1, 2])
    first = start(longer, **SLOW)
    first.wait_until(lambda: first.text.count(" epoch ") >= 3)
    first.kill_all()
    last = start(longer, **STUB)
    assert last.wait() == 0, last.text
    text = first.text + last.text
    assert "trials resume after the epochs they have" in text
    assert (
        "trials start again from epoch 1: " in text
    )  # annealed: its schedule depends on the last epoch
    found = {n: t for n, t in trials(last.out).items() if t.config["epochs"] == 5}
    assert len(found) == 10
    for trial in found.values():
        assert (trial.status, len(trial.records)) == ("complete", 5)
    for name, trial in trials(whole).items():  # what was there stays
        assert [r["chain"] for r in trials(last.out)[name].records] == [
            r["chain"] for r in trial.records
        ]
    nothing_left(last)


@pytest.mark.exhaustive(reason="a sweep that is killed, refused and begun anew")
def test_a_changed_sweep_is_refused_with_its_changes_and_fresh_begins_anew(
    start: Start, tmp_path: Path, cache: Path
) -> None:
    first = start(SWEEP, **SLOW)
    first.wait_until(lambda: first.epochs() >= 3)
    first.kill_all()
    before = trials(first.out)
    other = SWEEP | {"base": SWEEP["base"] | {"learning_rate": 2e-3}}
    refused = start(other, **STUB)
    assert refused.wait() == 2, refused.text
    assert "base.learning_rate: 0.001 -> 0.002" in refused.text
    assert "--fresh" in refused.text and "--set name=" in refused.text
    assert trials(first.out) == before
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, other, STUB["train"])
    fresh = start(other, "--fresh", **STUB)
    assert fresh.wait() == 0, fresh.text
    aside = [path for path in fresh.out.glob("s.*") if path.is_dir()]
    assert len(aside) == 1 and str(aside[0]) in fresh.text
    kept = {path.name for path in (aside[0] / "trials").iterdir()}
    assert kept >= set(before)
    assert set(trials(fresh.out)) == set(trials(whole))
    nothing_left(fresh)
