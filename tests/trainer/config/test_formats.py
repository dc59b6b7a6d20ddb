"""Old configs keep their meaning, and today's are never taken for old ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger.trial_id import config_id, trial_id
from tests.support.resuming import results
from tests.support.small import small_config
from trainer.config import FORMAT, ConfigError, TrainConfig, stored_config, translate
from trainer.config.acting import born_defaults
from trainer.config.formats import changes
from trainer.data.sources import fingerprint
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train

#: A trial that the first format wrote, with the ids that it had then.
OLD: dict[str, Any] = {
    "data": {"source": "synthetic", "size": 32, "max_length": 128}, "encoder": "tiny",
    "epochs": 2, "learning_rate": 1e-3, "batch_size": 8, "seed": 1,
    "sampler": "arrp", "B": 64, "dropout": 0.5, "freeze": "encoder", "attention_dropout": 0.1,
    "smart_epsilon": 1e-5, "smart_noise": 1e-5, "smart_step_size": 1e-3,
}  # fmt: skip
OLD_IDS = {
    "arrp-d4913b73b31f": {},
    "annealed-691df3706be0": {"sampler": "annealed", "dropout": 0.1, "freeze": "none"},
    "round_robin-f958f3169c4c": {"sampler": "round_robin", "dropout": 0.3, "freeze": "none"},
    "round_robin-af754ec03607": {
        "sampler": "round_robin", "dropout": 0.3, "freeze": "none", "combiner": "sum",
        "smart_weight": 5.0, "bregman_weight": 1.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", OLD_IDS)
def test_a_trial_of_the_first_format_keeps_its_id(name: str) -> None:
    config = TrainConfig.from_dict(stored_config({"config": OLD | OLD_IDS[name]}))
    assert trial_id(config, fingerprint(config)) == name


def test_the_configuration_keeps_its_id_too() -> None:
    config = TrainConfig.from_dict(stored_config({"config": OLD}))
    assert config_id(config, fingerprint(config)) == "arrp-18cceadc3ca5"


def test_todays_meaning_of_an_old_config_is_another_trial() -> None:
    """`dropout: 0.5` of the first format acted in the encoder too; today's does not."""
    old = TrainConfig.from_dict(stored_config({"config": OLD}))
    new = TrainConfig.from_dict(OLD)
    assert (old.dropout, old.encoder_dropout) == (0.5, 0.5)
    assert (new.dropout, new.encoder_dropout) == (0.5, 0.1)
    assert trial_id(old, "f") != trial_id(new, "f")


def test_smart_of_the_first_format_keeps_its_ball() -> None:
    said = {"smart_weight": 5.0, "dropout": 0.3, "encoder_dropout": 0.3}
    old, new = TrainConfig.from_dict(translate(said, 1)), TrainConfig.from_dict(said)
    assert (old.smart_radius, old.smart_epsilon, new.smart_radius) == ("absolute", 1e-5, "relative")
    assert old.smart_noise == 1e-5 and old.smart_step_size == 1e-3
    assert trial_id(old, "f") != trial_id(new, "f")
    # Without SMART its keys say nothing.
    plain = [TrainConfig.from_dict({**translate(said, n), "smart_weight": 0.0}) for n in (1, 2)]
    assert trial_id(plain[0], "f") == trial_id(plain[1], "f")


def test_what_a_config_says_itself_stays() -> None:
    said = {"dropout": 0.5, "encoder_dropout": 0.2, "data": {"max_length": 64}}
    assert translate(said, 1).items() >= said.items()


def test_a_missing_dropout_was_the_default_of_its_time() -> None:
    assert translate({}, 1)["encoder_dropout"] == 0.3
    assert translate({}, FORMAT) == {}


@pytest.mark.parametrize("written_in", [0, FORMAT + 1, "2", True, None])
def test_a_format_of_a_newer_version_is_refused_by_name(written_in: Any) -> None:
    with pytest.raises(ConfigError, match="format: .* is not a format that this version knows"):
        translate({}, written_in)


def test_every_change_is_said_in_words() -> None:
    assert all(changes(step) for step in range(1, FORMAT))
    assert changes(FORMAT) == ()


def test_a_changed_default_is_hashed_against_the_one_that_its_key_was_born_with() -> None:
    born, today = born_defaults(TrainConfig), TrainConfig().to_dict()
    assert born["data"]["max_length"] == 128
    assert today["data"]["max_length"] == 0
    assert born["dropout"] == today["dropout"] == 0.3


def test_only_long_tasks_are_cut_later_and_only_they_are_new_trials() -> None:
    short = TrainConfig.from_dict({"tasks": ["sst", "qqp"]})
    mixed = TrainConfig.from_dict({"tasks": ["sst", "cfimdb"]})
    assert short.canonical()["data"]["max_length"] == 128
    assert mixed.canonical()["data"]["max_length"] == {"sst": 128, "cfimdb": 512}
    old = TrainConfig.from_dict(translate({"tasks": ["sst", "cfimdb"]}, 1))
    assert old.canonical()["data"]["max_length"] == 128


def test_a_trial_of_the_first_format_resumes_to_equal_records(tmp_path: Path) -> None:
    config = small_config(tmp_path / "cache", dropout=0.4, encoder_dropout=0.4, epochs=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for _ in train(config, str(whole)):
        pass
    epochs = train(config, str(cut))
    next(epochs)
    epochs.close()  # type: ignore[attr-defined]
    store = TrialDirectory(cut)
    description = store.config()
    assert description is not None
    assert description.pop("format") == FORMAT
    del description["config"]["encoder_dropout"]  # as the first format had written it
    description["config"]["data"]["max_length"] = 128
    store.write_config(description)
    again = TrainConfig.from_dict(stored_config(description))
    assert again.canonical() == config.canonical()
    for _ in train(again, str(cut)):
        pass
    assert results(cut) == results(whole)
