"""Declarations of tasks: what they may say, what follows from it, every mistake at once."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.config.task_declaration import TaskError, declared_tasks
from trainer.config.tasks import TASKS, Task

NLI: dict[str, Any] = {
    "columns": ["premise", "hypothesis"],
    "label": "relation",
    "loss": "cross_entropy",
    "metric": "accuracy",
    "train": "train.csv",
    "dev": "dev.csv",
}


def declared(**changes: Any) -> Task:
    return declared_tasks({"nli": NLI | changes})["nli"]


def problems(**changes: Any) -> dict[str, str]:
    with pytest.raises(TaskError) as error:
        declared(**changes)
    return {p.key.removeprefix("task_declarations.nli."): str(p) for p in error.value.problems}


def test_class_names_say_how_many_classes_there_are() -> None:
    task = declared(labels={"entailment": 0, "neutral": 1, "no": 2, "contradiction": 2})
    assert (task.classes, task.outputs) == (3, 3)
    assert task.class_names == ("entailment", "neutral", "contradiction")
    assert task.label_of("no") == 2.0
    assert task.label_of("perhaps") is None
    assert declared(labels=["1", "2", "3", "4"]).label_of("4") == 3.0


def test_the_order_of_mappings_is_no_part_of_a_task() -> None:
    """config.json sorts them, and a trial has to be recognised there."""
    labels, splits = {"yes": 1, "ja": 1, "no": 0}, {"train": "a", "dev": ["b"]}
    one = declared(labels=labels, split_column="fold", splits=splits)
    other = declared(
        labels=dict(sorted(labels.items())),
        split_column="fold",
        splits=dict(sorted(splits.items())),
    )
    assert one == other and one.class_names == ("no", "ja")


def test_classes_without_a_name_are_called_by_their_number() -> None:
    assert declared(classes=3, labels={"neutral": 1}).class_names == ("0", "neutral", "2")
    assert declared(classes=3).class_names == ("0", "1", "2")
    assert declared_tasks({})["qqp"].class_names == ("0", "1")
    assert declared_tasks({})["sts"].class_names == ()


def test_one_file_with_a_split_column_serves_every_split() -> None:
    task = declared_tasks(
        {"nli": {k: v for k, v in NLI.items() if k != "dev"} | {"split_column": "fold"}}
    )["nli"]
    assert [task.files(split) for split in ("train", "dev", "test")] == [("train.csv",)] * 3
    assert "validation" in task.split_values("dev")
    named = declared(split_column="fold", splits={"train": [1, 2, 3], "dev": 4})
    assert named.split_values("train") == ("1", "2", "3")
    assert named.split_values("dev") == ("4",)


def test_several_files_make_one_split() -> None:
    task = declared(train=["a.csv", "b.csv"])
    assert task.files("train") == ("a.csv", "b.csv")
    assert declared(train=["a.csv"]).files("train") == declared(train="a.csv").files("train")
    assert task.files("test") == ()


def test_what_came_later_leaves_old_identities_alone() -> None:
    assert set(TASKS["sst"].identity()) == {
        "name", "columns", "label", "loss", "metric", "train", "dev", "test", "classes",
        "label_range", "scored",
    }  # fmt: skip
    assert declared(separator="comma").identity() != declared().identity()
    assert declared(labels=["a", "b"]).identity() != declared(labels=["b", "a"]).identity()


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"classes": 1_000_000_000}, {"classes"}),
        ({"classes": True}, {"classes"}),
        ({"columns": ["premise", "premise"]}, {"columns"}),
        ({"columns": ["premise", "relation"]}, {"columns"}),
        ({"columns": [0, 2]}, {"columns"}),
        ({"columns": []}, {"columns"}),
        ({"header": False}, {"header"}),
        ({"separator": "ab"}, {"separator"}),
        ({"separator": '"'}, {"separator"}),
        ({"quotes": "many"}, {"quotes"}),
        ({"labels": {True: 1, "b": 0}}, {"labels"}),
        ({"labels": ["a", "a"]}, {"labels"}),
        ({"labels": []}, {"labels"}),
        ({"labels": {"a": 0, "b": 0.5}}, {"labels.b"}),
        ({"labels": {"a": 0, "b": 7}, "classes": 3}, {"labels.b"}),
        ({"labels": {"a": -1, "b": 1}}, {"labels.a"}),
        ({"labels": {"a": float("nan")}}, {"labels"}),
        ({"labels": {"a": 0, "b": 10**400}}, {"labels"}),
        ({"train": ["a.csv", "a.csv"]}, {"train"}),
        ({"train": [3]}, {"train"}),
        ({"splits": {"train": "a"}}, {"splits"}),
        ({"split_column": "fold", "splits": {"eval": "a"}}, {"splits"}),
        ({"split_column": "fold", "splits": {"train": "a", "dev": "a"}}, {"splits"}),
        ({"split_column": "relation"}, {"columns"}),
        ({"loss": "mse", "metric": "f1"}, {"metric"}),
        ({"label_range": [0, float("inf")]}, {"label_range"}),
        # All at once.
        ({"classes": 1, "loss": "l1", "metric": 3, "dev": 4}, {"classes", "loss", "metric", "dev"}),
        ({"header": False, "columns": ["a", "a"]}, {"header", "columns"}),
        # What is wrong by itself hides nothing else.
        (
            {"metric": "acc", "columns": ["a", "a"], "labels": {"x": 0, "y": 9}, "classes": 3},
            {"metric", "columns", "labels.y"},
        ),
        ({"loss": "l1", "labels": {"x": 9}, "splits": {"dev": "a"}}, {"loss", "splits"}),
    ],
)
def test_every_mistake_has_its_key(changes: dict[str, Any], keys: set[str]) -> None:
    assert set(problems(**changes)) == keys


def test_the_mistakes_of_all_declarations_come_together() -> None:
    with pytest.raises(TaskError) as error:
        declared_tasks({"a": {"los": 1}, "b c": NLI, "d": 3, "e": {"columns": "text"}})
    assert [problem.key for problem in error.value.problems] == [
        "task_declarations.a.los",
        "task_declarations.a",
        "task_declarations.b c",
        "task_declarations.d",
        "task_declarations.e",
    ]
    for entry in ({"dev": 4, "label": "x"}, {"columns": "", "label": "x"}):
        with pytest.raises(TaskError, match="missing .*loss, metric, train"):
            declared_tasks({"new": entry})
    assert "did you mean 'loss'?" in str(error.value)
    assert "label, loss, metric, train, dev" in str(error.value)
