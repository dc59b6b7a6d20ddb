"""Samplers of other packages: found by entry point, checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.small import small_config
from trainer.config import ConfigError, TrainConfig
from trainer.loop.run import Run
from trainer.samplers import Draw, Epoch, Phase, SamplerError, registry
from trainer.samplers.epoch_phases import phases_of
from trainer.samplers.round_robin import round_robin
from trainer.storage.provenance import versions
from trainer.train import train_epoch

EPOCH = Epoch(
    sizes={"sst": 30, "qqp": 100, "sts": 20}, batch_sizes=dict.fromkeys(("sst", "qqp", "sts"), 5),
    number=2, epochs=3, seed=1, B=40,
)  # fmt: skip


class Package:
    name, version = "my-samplers", "1.0"


def of_this_file(name: str, made: str) -> EntryPoint:
    entry = EntryPoint(name, f"{__name__}:{made}", registry.GROUP)
    vars(entry)["dist"] = Package  # as importlib sets it for an installed one
    return entry


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This file's functions, as an installed package would bring them."""
    brought = [of_this_file(name, name) for name in ("backwards", "number", "worded")]
    brought += [of_this_file("gone", "not_there"), of_this_file("round_robin", "number")]
    installed = SimpleNamespace(entry_points=lambda group: brought)
    monkeypatch.setattr(registry, "metadata", installed)
    caches = registry.load, registry.entry_of, registry._entry_points
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def backwards(epoch: Epoch) -> list[Phase]:
    """Round robin from its last step to its first, at most B steps."""
    assert isinstance(epoch.B, int)
    (phase,) = round_robin(epoch)
    return [Phase("backwards", phase.steps[::-1][: epoch.B], epoch.frozen)]


backwards.keys = ("B",)  # type: ignore[attr-defined]
number = 3


def worded(epoch: Epoch) -> list[Phase]:
    return round_robin(epoch)


worded.keys = ("size",)  # type: ignore[attr-defined]


def test_it_trains_like_ours_and_only_what_it_reads_is_its_identity(
    installed: None, cache: Path
) -> None:
    config = small_config(cache, sampler="backwards", B=2)
    assert config.canonical()["B"] == 2 and "lambda" not in config.canonical()
    assert config.inactive()["lambda"] == "sampler backwards does not use lambda"
    run = Run(config)
    assert run.description()["versions"]["my-samplers"] == "1.0"
    record, _ = train_epoch(run, 1)
    assert record["updates"] == 2 and record["phases"][0]["name"] == "backwards"


def test_a_name_that_is_ours_stays_ours(installed: None, cache: Path) -> None:
    config = small_config(cache, sampler="round_robin")
    assert "B" in config.inactive()
    run = Run(config)
    assert train_epoch(run, 1)[0]["phases"][0]["name"] == "round_robin"
    assert set(run.description()["versions"]) == set(versions())


def test_an_unknown_name_lists_what_is_installed(installed: None) -> None:
    with pytest.raises(ConfigError, match="did you mean 'backwards'.*untrained, backwards, gone"):
        TrainConfig.from_dict({"sampler": "backward"})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "gone: .*test_entry_points:not_there cannot be loaded: AttributeError"),
        ("number", "number: .*test_entry_points:number is not a function"),
        ("worded", "worded reads size, which are not keys of samplers.*B, steps_per_epoch"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_starts(
    installed: None, name: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        TrainConfig.from_dict({"sampler": name})


def plan(*draws: Draw) -> Callable[[Epoch], list[Phase]]:
    return lambda epoch: [Phase("main", [tuple(draws)])]


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


CHANCE = np.random.default_rng()


@pytest.mark.parametrize(
    ("sampler", "reason"),
    [
        (lambda epoch: [], "no phase"),
        (lambda epoch: [3], "a phase is not a trainer.samplers.Phase"),
        (lambda epoch: [Phase("main", [])], "phase main has no step"),
        (lambda epoch: round_robin(epoch) * 2, "two phases have the same name"),
        (plan(), "needs one draw for each of its tasks"),
        (plan(Draw("sst", rows(1)), Draw("sst", rows(2))), "one draw for each of its tasks"),
        (plan(Draw("mnli", rows(1))), "step 1: unknown task 'mnli'; allowed: sst, qqp, sts"),
        (plan(Draw("sts", rows(20))), "rows of sts must be int64 from 0 to 19"),
        (plan(Draw("sts", rows(-1))), "rows of sts must be int64 from 0 to 19"),
        (plan(Draw("sts", rows())), "rows of sts must be int64"),
        (plan(Draw("sts", np.array([1.0]))), "rows of sts must be int64"),
        (lambda epoch: epoch.sizes["mnli"], "KeyError: 'mnli'"),
        (
            lambda epoch: [Phase("main", [(Draw("qqp", CHANCE.permutation(100)),)])],
            "its phases differ from call to call; take all randomness from epoch.generator",
        ),
    ],
)
def test_a_plan_that_cannot_be_trained_is_refused(
    monkeypatch: pytest.MonkeyPatch, sampler: Any, reason: str
) -> None:
    monkeypatch.setattr(registry, "load", lambda name: sampler)
    with pytest.raises(SamplerError, match=f"sampler mine, epoch 2: .*{reason}"):
        phases_of("mine", EPOCH)


def test_a_sound_plan_comes_through_unchanged(installed: None) -> None:
    (made,) = phases_of("backwards", EPOCH)
    (ours,) = round_robin(EPOCH)
    assert len(made.steps) == len(ours.steps) == 4
    assert all(
        np.array_equal(a.rows, b.rows)
        for step, twin in zip(made.steps, reversed(ours.steps), strict=True)
        for a, b in zip(step, twin, strict=True)
    )
