"""`start_from` in a sweep file: trials that differ in what they start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.compare.configurations import BASIS
from orchestrator.errors import SweepError
from orchestrator.ledger.labels import labels
from orchestrator.preflight.checks import examples, identifier, prepare_data
from orchestrator.spec import load_spec
from tests.support.drivers import SWEEP, Driver, trials
from tests.support.small import small_config
from trainer.train import train


@pytest.fixture(scope="module")
def earlier(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "first"
    list(train(small_config(cache, epochs=1, freeze="bert", shared_layer=True), str(path)))
    return path


def sweep(cache: Path, starts: list[str]) -> dict[str, Any]:
    base = {**SWEEP["base"], "data": {**SWEEP["base"]["data"], "cache": str(cache)}}
    search = {**SWEEP["search"], "num_trials": len(starts), "seeds": [1]}
    entries = [{"sampler": "round_robin", "start_from": start} for start in starts]
    return {**SWEEP, "base": base, "search": search, "enqueue": entries, "space": {}}


def written(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def test_two_starts_are_two_trials_with_a_name_each(
    cache: Path, earlier: Path, tmp_path: Path
) -> None:
    spec = load_spec(written(tmp_path / "s.yaml", sweep(cache, ["", str(earlier)])))
    identify = identifier()
    prepare_data(spec, identify)
    configs = {identify(config)["trial_id"]: config for config in examples(spec)}
    assert len(configs) == 2
    names = labels(configs)
    assert sorted(names.values()) == [
        "round_robin", f"round_robin start_from={earlier}",
    ]  # fmt: skip


def test_a_start_that_is_not_there_is_refused_before_anything_starts(
    cache: Path, earlier: Path, tmp_path: Path
) -> None:
    spec = load_spec(written(tmp_path / "s.yaml", sweep(cache, ["", str(tmp_path / "nowhere")])))
    with pytest.raises(SweepError, match="start_from: .*nowhere: no trial and no exported model"):
        prepare_data(spec, identifier())
    content = sweep(cache, [str(earlier)])
    content["base"]["encoder"] = "mini"
    spec = load_spec(written(tmp_path / "t.yaml", content))
    with pytest.raises(SweepError, match=r"its encoder has hidden 64 \(this encoder: 256\)"):
        prepare_data(spec, identifier())


@pytest.mark.slow(reason="a whole sweep")
def test_a_sweep_with_two_starts_trains_resumes_and_compares(
    start: Any, cache: Path, earlier: Path
) -> None:
    driver: Driver = start(sweep(cache, ["", str(earlier)]))
    assert driver.wait() == 0, driver.text
    records = trials(driver.out).values()
    assert {trial.status for trial in records} == {"complete"} and len(records) == 2
    assert len({BASIS["data"](trial) for trial in records}) == 1  # they may be compared
    assert len({trial.identity["fingerprint"] for trial in records}) == 2
    again: Driver = start(sweep(cache, ["", str(earlier)]))
    assert again.wait() == 0, again.text
    assert len(trials(again.out)) == 2
