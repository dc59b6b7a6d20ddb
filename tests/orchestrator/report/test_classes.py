"""Named classes, many classes, other ranges of labels, and the section on the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from orchestrator.report import data, trial
from orchestrator.report.errors import TaskErrors, WorstError
from orchestrator.report.parts import Table
from tests.support.reported import write_sweep
from trainer.config.tasks import TASKS, Task
from trainer.loop.error_analysis import DISTANCES, distance_edges, distance_groups, most_confused

NAMES = ("entailment", "neutral", "contradiction")


def task_of(**changes: Any) -> Task:
    plain = Task("nli", ("text",), "label", "cross_entropy", "accuracy", "train.csv", classes=3)
    return replace(plain, **changes)


def errors_of(task: Task, labels: np.ndarray, predictions: np.ndarray) -> TaskErrors:
    worst = [WorstError(id="x", text=["a"], label=labels[0], prediction=predictions[0])]
    return TaskErrors(task, labels, predictions, None, worst, "")


def test_declared_classes_are_named_in_the_matrix_and_in_the_worst_errors() -> None:
    task = task_of(labels=tuple((name, float(n)) for n, name in enumerate(NAMES)))
    each = errors_of(task, np.array([2.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    (figure, *_) = trial._figures("t", each)
    assert all(name in figure.alt for name in NAMES)
    (table,) = (part for part in trial._worst(each) if isinstance(part, Table))
    assert [cell.text for cell in table.data.rows[0][1:3]] == ["contradiction", "entailment"]


def test_a_declaration_s_names_come_before_those_of_our_tasks() -> None:
    own = replace(TASKS["cfimdb"], labels=(("bad", 0.0), ("good", 1.0)))
    assert trial._names(own) == ("bad", "good")
    assert trial._names(TASKS["cfimdb"]) == ("negative", "positive")
    assert trial._class_of(TASKS["sts"], 1.25) == "1.25"


@pytest.mark.parametrize("classes", [11, 60, 300])
def test_many_classes_are_summarised(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 3000).astype(float)
    predictions = np.where(rng.random(3000) < 0.6, labels, rng.integers(0, 5, 3000)).astype(float)
    each = errors_of(task_of(classes=classes), labels, predictions)
    (figure, *_) = trial._figures("t", each)
    assert len(figure.alt) < 400 and f"{classes} classes" in figure.alt
    (table,) = trial._confused(each)
    expected = confusion_matrix(labels, predictions, labels=range(classes))
    assert (each.confusion() == expected).all()
    np.fill_diagonal(expected, 0)
    first = [cell.text for cell in table.data.rows[0]]
    assert int(first[2]) == expected.max() == expected[int(first[0]), int(first[1])]
    assert len(table.data.rows) == 10


def test_few_errors_are_not_filled_up_with_pairs_that_never_happened() -> None:
    counts = np.diag([5, 5, 5])
    counts[2, 0] = 1
    assert most_confused(counts, NAMES, 10) == [
        {"true": "contradiction", "predicted": "entailment", "examples": 1}
    ]


@pytest.mark.parametrize("bounds", [(0.0, 5.0), (-1.0, 1.0), (1.0, 100.0)])
def test_distances_are_shares_of_the_range(bounds: tuple[float, float]) -> None:
    task = task_of(loss="mse", metric="pearson", label_range=bounds)
    width = bounds[1] - bounds[0]
    groups = distance_groups(task, np.array([0.05, 0.15, -0.3, 0.9]) * width)
    assert [np.flatnonzero(groups[name]).tolist() for name in DISTANCES] == [[0], [1], [2], [3]]
    each = errors_of(task, np.array([bounds[0]]), np.array([bounds[1]]))
    figure = next(iter(trial._figures("t", each)))
    assert f"near up to {0.2 * width:g}" in figure.caption


def test_on_the_course_s_similarities_the_groups_are_those_of_the_paper() -> None:
    assert list(distance_edges(TASKS["sts"]).values())[:3] == [0.5, 1.0, 2.0]


def test_the_data_section_has_every_reason_and_differing_trials_apart(tmp_path: Any) -> None:
    trials = write_sweep(tmp_path / "s", seeds=(1,), epochs=1).trials()[:2]
    assert data.section(trials).parts == []  # they recorded nothing
    for number, each in enumerate(trials):
        dropped = {"the label is missing": 1 + number}
        each.identity["rows"] = {"sst": {"train": {"rows": 9, "usable": 9, "dropped": dropped}}}
    table = data.section(trials).parts[1]
    assert isinstance(table, Table)
    assert [row[3].text for row in table.data.rows] == [
        "the label is missing: 1 (10.0%)",
        "the label is missing: 2 (18.2%)",
    ]
