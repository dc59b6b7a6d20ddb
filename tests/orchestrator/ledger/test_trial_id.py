"""What is the same trial: what acts, the seed and the data; nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from orchestrator.ledger.trial_id import config_id, trial_id
from trainer.config import TrainConfig, translate

BASE: dict[str, Any] = {"data": {"source": "synthetic"}, "encoder": "tiny", "sampler": "arrp"}


def identify(fingerprint: str = "f" * 64, **changes: Any) -> str:
    return trial_id(TrainConfig.from_dict(BASE | changes), fingerprint)


def test_an_id_names_its_sampler_and_a_folder() -> None:
    assert re.fullmatch(r"arrp-[0-9a-f]{12}", identify())
    assert re.fullmatch(r"round_robin-[0-9a-f]{12}", identify(sampler="round_robin"))


@pytest.mark.parametrize(
    "change", [{"lambda": 0.5}, {"B": 5}, {"seed": 2}, {"epochs": 3}, {"freeze": "encoder"}]
)
def test_what_acts_is_part_of_the_id(change: dict[str, Any]) -> None:
    assert identify(**change) != identify()


def test_the_data_are_part_of_the_id() -> None:
    assert identify("a") != identify("b")


@pytest.mark.parametrize("change", [{"lambda": 0.5}, {"B": 5}, {"draws_per_step": 2}])
def test_what_does_not_act_is_not_part_of_the_id(change: dict[str, Any]) -> None:
    assert identify(sampler="round_robin", **change) == identify(sampler="round_robin")


@pytest.mark.parametrize(
    "change",
    [
        {"device": "cpu", "threads": 3},
        {"data": {"source": "synthetic", "cache": "/elsewhere", "root": "x"}},
        {"lambda": 1},
        {"tasks": ["sst", "qqp", "sts"]},
    ],
)
def test_where_it_runs_and_how_it_is_written_do_not_matter(change: dict[str, Any]) -> None:
    assert identify(**change) == identify()


@pytest.mark.parametrize(
    ("precision", "name"),
    [
        ("fp32", "arrp-b942a279f34d"),
        ("bf16", "arrp-9b089ffdfa4a"),
        ("bf16-emulated", "arrp-9b089ffdfa4a"),
        ("auto", "arrp-a066bb93c50d"),
    ],
)
def test_ids_of_earlier_sweeps_stay(precision: str, name: str) -> None:
    """Their folders carry these names: `auto` is part of the identity, its result is not."""
    config = TrainConfig.from_dict(translate(BASE | {"precision": precision}, 1))
    assert trial_id(config, "f" * 64) == name


def test_seeds_of_one_configuration_share_its_config_id() -> None:
    ids = {config_id(TrainConfig.from_dict(BASE | {"seed": seed}), "f") for seed in (1, 2)}
    assert len(ids) == 1
    other = TrainConfig.from_dict(BASE | {"B": 5})
    assert config_id(other, "f") not in ids
