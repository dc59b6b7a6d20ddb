"""Every row of the papers runs from a config, through the trainer's own command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.published_rows import FOUR, ROWS
from tests.support.resuming import run_trainer
from trainer.storage.trial_directory import TrialDirectory


@pytest.mark.parametrize("name", ROWS)
def test_every_row_trains_and_leaves_its_records(name: str, cache: Path, tmp_path: Path) -> None:
    data = {"source": "synthetic", "size": 16, "cache": str(cache)}
    data["dev_limit"] = {task: 30 for task in ROWS[name].get("tasks", FOUR[:3]) if task != "yelp"}
    config = {
        "data": data, "encoder": "tiny", "sampler": "round_robin", "epochs": 2, "batch_size": 8,
        "learning_rate": 1e-3, "threads": 1,
    } | ROWS[name]  # fmt: skip
    (tmp_path / "c.json").write_text(json.dumps(config))
    out = tmp_path / "trial"
    assert run_trainer("--config", str(tmp_path / "c.json"), "--out", str(out)) == 0
    store = TrialDirectory(out)
    records, end = store.records(), store.end()
    assert end is not None and end["status"] == "complete"
    assert [record["epoch"] for record in records] == [1, 2]
    tasks = config.get("tasks", FOUR[:3])
    scored = [task for task in tasks if task != "yelp"]
    for record in records:
        _has_what_an_epoch_reports(record, tasks, scored)
    table = pq.read_table(out / "predictions/002.parquet")
    assert set(table["task"].to_pylist()) == set(scored)
    analysis = json.loads((out / "analysis.json").read_text())
    assert set(analysis) == set(scored)
    for task in scored:
        assert 0 <= analysis[task]["over"] + analysis[task]["under"] <= 1
        assert analysis[task]["worst"] and analysis[task]["worst"][0]["text"]
        _is_a_leaderboard_file(out / f"test/{task}.csv", task)


def test_a_frozen_trial_is_fine_tuned_by_the_next_one(cache: Path, tmp_path: Path) -> None:
    """The row that needs another one first: frozen, then fine-tuned from there."""
    first, second = (str(tmp_path / name) for name in ("first", "second"))
    data = {"source": "synthetic", "size": 16, "cache": str(cache)}
    shared = {"data": data, "encoder": "tiny", "epochs": 2, "sampler": "round_robin", "threads": 1}
    for out, changes in ((first, {"freeze": "encoder"}), (second, {"start_from": first})):
        (tmp_path / "c.json").write_text(json.dumps(shared | changes))
        assert run_trainer("--config", str(tmp_path / "c.json"), "--out", out) == 0
        end = TrialDirectory(out).end()
        assert end is not None and end["status"] == "complete"
        assert len(TrialDirectory(out).records()) == 2


def _has_what_an_epoch_reports(record: dict[str, Any], tasks: list[str], scored: list[str]) -> None:
    assert set(record["tasks"]) == set(tasks)
    for key in (
        "dev_score",
        "dev_mean",
        "minutes_per_epoch",
        "updates",
        "examples",
        "peak_memory_mb",
    ):
        assert record[key] > 0 or key.startswith("dev") or not record["phases"]
    for name, values in record["tasks"].items():
        assert ("dev_metric" in values) == (name in scored)
        assert (values["train_loss"] is None) == (values["updates"] == 0)
        assert 0 <= values["utilisation"] <= 1
    if record["cosines"]:
        assert 0 <= record["conflict_share"] <= 1
        assert all(-1.000001 <= cosine <= 1.000001 for cosine in record["cosines"].values())


@pytest.mark.parametrize(
    ("sampler", "same"),
    [("round_robin", False), ("untrained", True)],
    ids=["frozen, then fine-tuned", "scored as it was"],
)
def test_a_trial_starts_from_an_earlier_one(
    cache: Path, tmp_path: Path, sampler: str, same: bool
) -> None:
    """Its scores are those of the earlier model if it takes no step."""
    from tests.support.small import small_config
    from trainer.train import train

    first = small_config(cache, freeze="encoder", sampler="round_robin")
    before = [result.record for result in train(first, str(tmp_path / "a"))][-1]
    second = small_config(cache, start_from=str(tmp_path / "a"), sampler=sampler)
    after = [result.record for result in train(second, str(tmp_path / "b"))]
    assert len(after) == 2
    assert (after[-1]["dev_score"] == before["dev_score"]) is same


HEADERS = {
    "sst": "id \t Predicted_Sentiment ",
    "cfimdb": "id \t Predicted_Sentiment ",
    "qqp": "id \t Predicted_Is_Paraphrase ",
    "sts": "id \t Predicted_Similiary ",
}


def _is_a_leaderboard_file(path: Path, task: str) -> None:
    header, *lines = path.read_text().splitlines()
    assert header == HEADERS[task]
    assert len(lines) == 100
    values = {line.split(" , ")[1].strip() for line in lines}
    if task == "qqp":
        assert values <= {"0.0", "1.0"}
    elif task != "sts":
        assert values <= set("01234")
    assert lines[0].split(" , ")[0] == f"{task}-test-0"


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "sequential", "optimizer_state": "per_task", "bregman_weight": 0.5},
        {"sampler": "arrp", "freeze": "encoder", "head_learning_rate": 0.01, "bregman_weight": 0.5},
        {
            "accumulate": 3,
            "schedule": "cosine",
            "layer_decay": 0.9,
            "clip_norm": 0.5,
            "adam_epsilon": 1e-6,
            "smart_weight": 1.0,
            "bregman_weight": 0.5,
        },
    ],
    ids=["three AdamW states", "two rates", "accumulation"],
)
def test_optimizer_states_survive_a_restart(cache: Path, tmp_path: Path, changes: dict) -> None:
    """All AdamW states in one checkpoint, with SMART's slow copy: resumed to the same bits."""
    from tests.support.small import small_config
    from trainer.train import train

    changes = changes | {"epochs": 3, "batch_size": 32, "data": {"size": 16}}
    whole = [r.record["files"] for r in train(small_config(cache, **changes), str(tmp_path / "a"))]
    parts = []
    for _ in range(3):  # one epoch a process would have done
        for result in train(small_config(cache, **changes), str(tmp_path / "b")):
            parts.append(result.record["files"])
            break
    assert parts == whole
    assert "checkpoints/003/slow.safetensors" in whole[-1]


def test_an_untrained_trial_is_scored_as_it_was_initialised(cache: Path, tmp_path: Path) -> None:
    """P0's random row: no step, no minutes, the scores of fresh weights, and an exact resume."""
    from tests.support.resuming import untimed
    from tests.support.small import small_config
    from trainer.loop.run import Run
    from trainer.train import train

    config = small_config(cache, sampler="untrained", epochs=3, bregman_weight=0.5)
    other = small_config(
        cache, sampler="untrained", epochs=3, combiner="sum", learning_rate=0.1, batch_size=2,
        smart_weight=1.0, accumulate=2, schedule="cosine", dropout=0.5, freeze="encoder",
    )  # fmt: skip
    assert config.canonical() == other.canonical()
    fresh = {task: each.metric for task, each in Run(config).evaluate("dev").items()}
    whole = [result.record for result in train(config, str(tmp_path / "a"))]
    for record in whole:
        assert {task: record["tasks"][task]["dev_metric"] for task in fresh} == fresh
        assert record["minutes_per_epoch"] == record["updates"] == record["examples"] == 0
        assert record["train_loss"] is None and record["examples_per_second"] is None
        assert record["phases"] == [] and record["contended"] is False
    parts = []
    for _ in range(3):  # one epoch a process would have done
        for result in train(config, str(tmp_path / "b")):
            parts.append(untimed(result.record))
            break
    assert parts == [untimed(record) for record in whole]


def test_label_distribution_and_confusion_are_counted(cache: Path, tmp_path: Path) -> None:
    from tests.support.small import small_config
    from trainer.train import train

    config = small_config(cache, epochs=1)
    list(train(config, str(tmp_path / "t")))
    analysis = json.loads((tmp_path / "t/analysis.json").read_text())
    rows = pq.read_table(tmp_path / "t/predictions/001.parquet").to_pylist()
    for task, classes in (("sst", 5), ("qqp", 2)):
        mine = [row for row in rows if row["task"] == task]
        assert sum(analysis[task]["label_share"]) == pytest.approx(1)
        for label in range(classes):
            of_label = [row["prediction"] for row in mine if row["label"] == label]
            expected = [of_label.count(other) / len(of_label) for other in range(classes)]
            assert analysis[task]["confusion"][label] == pytest.approx(expected)
    false = [row for row in rows if row["task"] == "qqp" and row["prediction"] > row["label"]]
    assert analysis["qqp"]["false_positives"] == pytest.approx(len(false) / 60)
    assert sum(analysis["sts"]["distance"].values()) == pytest.approx(1)
    distances = [abs(w["prediction"] - w["label"]) for w in analysis["sts"]["worst"]]
    assert distances == sorted(distances, reverse=True)


def test_the_leaderboards_ids_are_the_test_files(cache: Path, tmp_path: Path) -> None:
    from tests.support.small import small_config
    from trainer.loop.run import Run

    run = Run(small_config(cache))
    content = run.final_files()["test/sts.csv"].decode()
    rows = list(csv.reader(content.splitlines()[1:]))
    assert [row[0].strip() for row in rows] == run.corpus.splits["sts"]["test"].column("id")


def test_test_sets_are_predicted_unless_told_otherwise(cache: Path) -> None:
    from tests.support.small import small_config
    from trainer.loop.run import Run

    told, other = small_config(cache), small_config(cache, predict_test=False)
    names = {f"test/{task}.csv" for task in told.tasks}
    assert set(Run(told).final_files()) == {"analysis.json", *names}
    assert set(Run(other).final_files()) == {"analysis.json"}
    assert told.canonical() == other.canonical()
