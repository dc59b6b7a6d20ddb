"""What an epoch's numbers are called in MLflow: charts and queries are made of these names."""

from __future__ import annotations

from mlflow.utils.validation import _validate_metric_name

from orchestrator.tracking import epoch_metrics
from orchestrator.tracking.metric_names import metric_name
from tests.support.ledgers import epoch

#: Of an epoch as a whole; a name that was given stays.
NAMES = {
    "dev_score": "dev/score",
    "dev_mean": "dev/mean",
    "minutes_per_epoch": "time/epoch_minutes",
    "evaluation_minutes": "time/evaluation_minutes",
    "checkpoint_minutes": "time/checkpoint_minutes",
    "setup_minutes": "time/setup_minutes",
    "train_loss": "train/loss",
    "updates": "train/updates",
    "examples": "train/examples",
    "conflict_share": "train/conflict_share",
    "peak_memory_mb": "system/peak_memory_mb",
    "foreign_load": "system/foreign_load",
    "examples_per_second": "system/examples_per_second",
}


def test_the_names_that_were_given_stay() -> None:
    record = epoch(1, 0.5, 2.0, None) | {"foreign_load": 0.1, "parts": {"surgery": 0.25}}
    record |= {"conflicts": {"qqp|sst": 0.75}}
    found = epoch_metrics(record)
    for key, name in NAMES.items():
        assert found.pop(name) == record[key], key
    assert found.pop("time/surgery_minutes") == 0.25
    assert found.pop("train/conflict_qqp_sst") == 0.75
    assert found.pop("train/cosine_qqp_sst") == 0.1
    for task, metric in (("sst", "accuracy"), ("sts", "pearson")):
        values = record["tasks"][task]
        assert found.pop(f"dev/{task}_{metric}") == values["dev_metric"]
        assert found.pop(f"train/{task}_{metric}") == values["train_metric"]
        assert found.pop(f"dev/{task}_loss") == values["dev_loss"]
        for key, name in (("train_loss", "loss"), ("examples", "examples")):
            assert found.pop(f"train/{task}_{name}") == values[key]
        assert found.pop(f"train/{task}_utilisation") == values["utilisation"]
        assert found.pop(f"train/{task}_updates") == values["updates"]
    assert found == {}


def test_what_has_no_name_is_called_by_its_place() -> None:
    record = epoch(1, 0.5, 2.0, False) | {"gradient_norm": 1, "layers": {"pooler": {"norm": 2.0}}}
    record["phases"] = [{"name": "round_robin", "minutes": 3.0, "cosines": {"qqp|sst": 0.5}}]
    record["tasks"]["sst"]["gradient_norm"] = 4.0
    found = epoch_metrics(record)
    assert found["epoch/gradient_norm"] == 1.0 and found["epoch/layers/pooler/norm"] == 2.0
    assert found["phases/round_robin/minutes"] == 3.0
    assert found["phases/round_robin/cosines/qqp_sst"] == 0.5
    assert found["tasks/sst/gradient_norm"] == 4.0


def test_mlflow_takes_every_name() -> None:
    for part in ("", ".", "..", "/etc", "a/../b", "x:y", "λ=½", "\N{REPLACEMENT CHARACTER}", "%"):
        for place in ((part,), ("tasks", part, "loss"), ("phases", part, part), ("parts", part)):
            _validate_metric_name(metric_name(place))
    assert len(metric_name(("x" * 999,))) == 250


def test_values_that_are_no_finite_numbers_are_left_out() -> None:
    record = epoch(1, 0.5, 2.0, True)
    record |= {"peak_memory_mb": float("inf"), "train_loss": None, "parts": None, "x": "high"}
    found = epoch_metrics(record)
    assert not {"system/peak_memory_mb", "train/loss", "epoch/x", "epoch/contended"} & set(found)
