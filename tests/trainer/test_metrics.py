"""The table of what an epoch records: it has every key of a real record, and no other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.ledgers import epoch
from tests.support.small import small_config
from trainer.metrics import (
    EPOCH,
    PHASE,
    TASK,
    Kind,
    dotted,
    field_at,
    not_finite,
    numbers,
    of_trial,
    value_of_trial,
)
from trainer.storage.trial_directory import TrialDirectory, checkpoint_name
from trainer.train import train


@pytest.fixture(scope="module")
def records(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of a trial whose second epoch fell back to the first one, so that it has notes."""
    store = TrialDirectory(tmp_path_factory.mktemp("recorded") / "trial")
    config = small_config(cache, record_conflicts=True)
    list(train(config, store.path))
    store.folder.delete("end.json")
    store.folder.delete(checkpoint_name(2, "weights.safetensors"))
    list(train(config, store.path))
    return store.records()


#: Keys of epochs in fp16, and of a GPU's that could not be recorded.
WHERE_IT_HAPPENS = {"skipped_updates", "recording_problem"}


def test_every_key_of_a_real_record_is_in_the_table_and_the_reverse(
    records: list[dict[str, Any]],
) -> None:
    tasks = [task for record in records for task in record["tasks"].values()]
    phases = [phase for record in records for phase in record["phases"]]
    for table, parts in ((EPOCH, records), (TASK, tasks), (PHASE, phases)):
        assert {key for part in parts for key in part} | WHERE_IT_HAPPENS == {
            *table, *WHERE_IT_HAPPENS
        }  # fmt: skip
    assert set(EPOCH) >= WHERE_IT_HAPPENS


def test_every_number_of_a_real_record_has_an_entry(records: list[dict[str, Any]]) -> None:
    for record in records:
        places = numbers(record)
        assert ("tasks", "sst", "dev_loss") in places
        assert ("phases", "round_robin", "cosines", "qqp|sst") in places
        assert ("parts", "surgery") in places
        assert [dotted(place) for place in places if field_at(place) is None] == []


def test_an_entry_is_consistent() -> None:
    for name, field in [*EPOCH.items(), *TASK.items(), *PHASE.items()]:
        numeric = field.kind in (Kind.NUMBER, Kind.NUMBERS)
        assert numeric or not (field.mlflow or field.objective or field.show or field.compare), name
        assert field.better or not field.objective, name


def test_numbers_are_found_wherever_they_stand() -> None:
    record = epoch(3, 0.5, 1.0, True) | {
        "gradient_norm": 1.5,
        "layers": {"pooler": {"norm": 2}, "kind": "linear"},
        "quantiles": [0.1, math.inf],
        "phases": [{"name": "one", "minutes": 1.0}, {"minutes": 2.0}],
        "empty": None,
        "\ud800": 1,
    }
    record["tasks"]["sst"]["gradient_norm"] = 2.5
    found = {dotted(place): value for place, value in numbers(record).items()}
    assert found["gradient_norm"] == 1.5 and found["tasks.sst.gradient_norm"] == 2.5
    assert found["layers.pooler.norm"] == 2 and found["quantiles.0"] == 0.1
    assert (found["phases.one.minutes"], found["phases.1.minutes"]) == (1.0, 2.0)
    assert found["\\ud800"] == 1
    assert not {"epoch", "contended", "quantiles.1", "layers.kind", "empty"} & set(found)


def test_a_trial_has_the_last_epochs_scores_and_the_mean_of_what_an_epoch_costs() -> None:
    two = [epoch(1, 0.4, 1.0, False), epoch(2, 0.6, 3.0, False)]
    two[0]["train_loss"], two[1]["train_loss"] = 2.0, 1.0
    del two[0]["examples_per_second"]
    whole = of_trial(two)
    assert whole["dev_score",] == 0.6 and whole["minutes_per_epoch",] == 2.0
    assert whole["train_loss",] == 1.5 and whole["tasks", "sst", "train_loss"] == 1.0
    assert ("examples_per_second",) not in whole  # one epoch lacks it
    for name in ("dev_score", "minutes_per_epoch", "train_loss"):
        assert value_of_trial(name, two) == whole[name,]
    assert math.isnan(value_of_trial("examples_per_second", two))
    assert math.isnan(value_of_trial("dev_score", [])) and of_trial([]) == {}


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"a": 1.0, "tasks": {"sst": {"dev_loss": math.nan}}}, "tasks.sst.dev_loss"),
        ({"phases": [{"minutes": 1.0}, {"minutes": math.inf}]}, "phases.1.minutes"),
        ({"a": 1, "b": [None, "nan"], "c": True}, ""),
    ],
)
def test_the_first_number_that_is_not_finite_is_named(record: dict[str, Any], name: str) -> None:
    assert not_finite(record) == name
