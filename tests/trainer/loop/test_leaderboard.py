"""Files of the leaderboard, whatever loss a task was trained with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.course_format import written
from trainer.config.tasks import TASKS, Task
from trainer.loop.leaderboard import leaderboard_file

IDS = ["A1 ", "b2"]


@pytest.mark.parametrize(
    ("kind", "task", "values"),
    [
        ("sst-dev", TASKS["sst"], [3.0, 0.0]),
        ("para-dev", TASKS["qqp"], [0.0, 1.0]),
        ("para-dev", replace(TASKS["qqp"], loss="cross_entropy"), [0.0, 1.0]),
        ("sts-dev", TASKS["sts"], [2.5, -0.125]),
    ],
)
def test_the_bytes_are_those_of_the_courses_code(
    kind: str, task: Task, values: list[float]
) -> None:
    made = leaderboard_file(task, IDS, np.array(values))
    assert made == written(kind, IDS, np.array(values))
