"""The course's submission format, written from the course's own code and not from ours.

Its data are read with `csv.DictReader(fp, delimiter="\\t")` and `record["id"].lower().strip()`.
Its files are written with `f"id \\t Predicted_Sentiment \\n"` and `f"{id} , {value} \\n"`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HEADERS = {
    "sst": b"id \t Predicted_Sentiment \n",
    "para": b"id \t Predicted_Is_Paraphrase \n",
    "sts": b"id \t Predicted_Similiary \n",
}
#: The data files that the ids come from.
DATA = {
    "sst-dev": "ids-sst-dev.csv",
    "sst-test": "ids-sst-test-student.csv",
    "para-dev": "quora-dev.csv",
    "para-test": "quora-test-student.csv",
    "sts-dev": "sts-dev.csv",
    "sts-test": "sts-test-student.csv",
}
LABELS = {"sst": "sentiment", "para": "is_duplicate", "sts": "similarity"}
_VALUES = {"sst": {*"01234"}, "para": {"0.0", "1.0"}}


def records(data: Path, kind: str) -> list[dict[str, str]]:
    """The rows of a data file, as the course's code reads them."""
    with (data / DATA[kind]).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def graded(folder: Path, kind: str, data: Path) -> np.ndarray:
    """The values of a submission file, float64 (n,), after a grader's checks.

    Args:
        kind: as `sst-dev`.
        data: the course's data, whose ids must all be there, each once and in their order.
    """
    content = (folder / f"{kind}-output.csv").read_bytes()
    task = kind.partition("-")[0]
    assert content.startswith(HEADERS[task])
    assert content.endswith(b" \n") and b"\r" not in content
    values = []
    lines = content.decode("utf-8").split("\n")[1:-1]
    rows = records(data, kind)
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert line.endswith(" ") and line.count(" , ") == 1
        example, value = line[:-1].split(" , ")
        assert example == row["id"].lower().strip()
        if task in _VALUES:
            assert value in _VALUES[task]
        else:
            assert "." in value and math.isfinite(float(value))
        values.append(float(value))
    return np.array(values)


def written(kind: str, ids: Sequence[str], values: np.ndarray) -> bytes:
    """What the course's code writes for classes (n,) or paraphrases and similarities (n,)."""
    task = kind.partition("-")[0]
    rows = values.astype(int) if task == "sst" else values.astype(np.float32)
    pairs = zip(ids, rows, strict=True)
    return HEADERS[task] + b"".join(f"{p.lower().strip()} , {s} \n".encode() for p, s in pairs)


def dev_metric(task: str, values: np.ndarray, data: Path) -> float:
    """Accuracy, or Pearson's r, of a dev file's values."""
    labels = np.array([float(row[LABELS[task]]) for row in records(data, f"{task}-dev")])
    if task == "sts":
        return float(np.corrcoef(values, labels)[0, 1])
    return float(np.mean(values == labels))
