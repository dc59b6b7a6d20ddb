"""`orch predict`: files and pipes in, rows with predictions and probabilities out."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import UserError
from orchestrator.export import sentences
from orchestrator.export.answers import answer_rows
from orchestrator.export.sentences import read_lines
from orchestrator.ledger import Ledger
from tests.support.command import ORCH, orch
from tests.support.paths import ROOT
from tests.support.small import small_config
from tests.support.trained_sweep import train_into, write_spec
from trainer.config.tasks import TASKS, Task
from trainer.data.corpus import prepare
from trainer.storage.trial_directory import predictions_name


@pytest.fixture(scope="module")
def place(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sweep `s` of one trial with three tasks and one with a single task."""
    place = tmp_path_factory.mktemp("predicting")
    ledger = Ledger(place / "sweeps", "s")
    train_into(ledger, cache, epochs=2, learning_rate=3e-3)
    write_spec(ledger, 2)
    ledger = Ledger(place / "sweeps", "one")
    train_into(
        ledger,
        cache,
        epochs=1,
        tasks=["sst"],
        sampler="round_robin",
        data={"dev_limit": {"sst": 60}},
    )
    write_spec(ledger, 1)
    return place


#: Makes these bytes the standard input.
Pipe = Callable[[bytes], None]


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    def pipe(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    return pipe


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("task", ["sst", "qqp", "sts"])
def test_the_dev_set_as_a_file_gives_the_trials_own_predictions(
    place: Path, cache: Path, tmp_path: Path, task: str
) -> None:
    trial = Ledger(place / "sweeps", "s").trials()[0]
    split = prepare(small_config(cache)).splits[task]["dev"]
    columns = ["text1", "text2"][: len(TASKS[task].columns)]
    with (tmp_path / "dev.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t")
        writer.writerow(["id", *map(str, TASKS[task].columns)])
        writer.writerows(zip(split.column("id"), *map(split.column, columns), strict=True))
    answer = orch("predict", "s", str(tmp_path / "dev.csv"), "--task", task, cwd=place)
    assert answer.returncode == 0, answer.stderr
    rows = rows_of(answer.stdout)
    kept = pq.read_table(Path(trial.path, predictions_name(2))).to_pylist()
    kept = [row for row in kept if row["task"] == task]
    assert [row["id"] for row in rows] == [row["id"] for row in kept] and len(rows) == len(split)
    assert [row["text1" if TASKS[task].is_pair else "text"] for row in rows] == split.column(
        "text1"
    )
    assert [float(r["prediction"]) for r in rows] == pytest.approx(
        [r["prediction"] for r in kept], abs=2e-3
    )


def test_all_formats_say_the_same(place: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text('a warm film\n\nso, "dull" and long\r\n')
    for ending in ("csv", "tsv", "jsonl"):
        out = tmp_path / f"out.{ending}"
        answer = orch("predict", "one", str(tmp_path / "in.txt"), "-o", str(out), cwd=place)
        assert (answer.returncode, answer.stdout) == (0, ""), answer.stderr
    table = rows_of((tmp_path / "out.csv").read_text())
    with (tmp_path / "out.tsv").open(newline="") as stream:
        assert list(csv.DictReader(stream, delimiter="\t")) == table
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in table] == ["1", "3"]
    assert [row["text"] for row in table] == ["a warm film", 'so, "dull" and long']
    for row, line in zip(table, lines, strict=True):
        assert {"id": row["id"], "text": row["text"]}.items() <= line.items()
        assert row["prediction"] == line["prediction"] == str(line["class"])
        shares = {f"p_{name}": str(share) for name, share in line["probabilities"].items()}
        assert shares.items() <= row.items() and len(row) == 3 + len(shares)
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert max(line["probabilities"], key=line["probabilities"].get) == line["prediction"]


def test_a_pipe_gives_what_a_file_gives(place: Path, tmp_path: Path, piped: Pipe) -> None:
    pairs = "how to swim\tlearn to swim\nsame\tsame\n"
    (tmp_path / "pairs.csv").write_text("sentence1\tsentence2\n" + pairs)
    file = orch("predict", "s", str(tmp_path / "pairs.csv"), "--task", "sts", cwd=place)
    piped(pairs.encode())
    pipe = orch("predict", "s@best", "-", "--task", "sts", "--json", cwd=place)
    rows = [json.loads(line) for line in pipe.stdout.splitlines()]
    assert [r["id"] for r in rows] == ["1", "2"]
    assert [str(r["prediction"]) for r in rows] == [r["prediction"] for r in rows_of(file.stdout)]


def test_a_line_is_answered_before_the_next_one_is_there() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as end:
        blocks = read_lines(stream, TASKS["sst"], "pipe")
        end.write(b"\xef\xbb\xbfone\n")
        assert next(blocks).texts == [["one"]]
        end.write("zwölf\n\ndr".encode())
        block = next(blocks)
        assert (block.ids, block.texts) == (["2"], [["zwölf"]])
        end.close()
        block = next(blocks)
        assert (block.ids, block.texts) == (["4"], [["dr"]])
        assert list(blocks) == []


def test_a_file_in_blocks_gives_every_row_once(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"film number {number}" for number in range(10)]
    (tmp_path / "any.csv").write_text("\n".join(["remark", *texts]) + "\n")
    for size in (3, 5, 1024):
        monkeypatch.setattr(sentences, "BLOCK", size)
        answer = orch("predict", "one", str(tmp_path / "any.csv"), cwd=place)
        assert [row["text"] for row in rows_of(answer.stdout)] == texts
    assert "sst: 10 rows, by " in answer.stderr


def test_sentences_of_another_column(place: Path, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("id\treview\tstars\nx\tgood\t5\ny\tbad\t1\n")
    answer = orch("predict", "one", str(tmp_path / "f.csv"), "--column", "review", cwd=place)
    assert [(row["id"], row["text"]) for row in rows_of(answer.stdout)] == [
        ("x", "good"), ("y", "bad"),
    ]  # fmt: skip


def test_what_is_cut_is_said(place: Path, piped: Pipe) -> None:
    piped(b"short\n" + b"word " * 300)
    answer = orch("predict", "one", "-", cwd=place)
    assert "sst: 2 rows" in answer.stderr and "; 1 cut to 128 tokens" in answer.stderr


def test_a_closed_pipe_ends_it_quietly(place: Path) -> None:
    command = subprocess.Popen(
        [*ORCH, "predict", "one", "-"], cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert command.stdin and command.stdout and command.stderr
    command.stdin.write(b"a film\n")
    command.stdin.flush()
    assert command.stdout.readline().startswith(b"id,text,prediction,")
    command.stdout.close()
    command.stdin.write(b"a film\n" * 100)
    command.stdin.close()
    assert command.wait(60) == 0
    assert b"Traceback" not in command.stderr.read()
    command.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        ("s -", b"a", "--task: the model has several tasks; choose one: sst, qqp, sts"),
        ("s - --task mine", b"a", "--task mine: not a task of this model; allowed: sst, qqp, sts"),
        ("s - --task qqp", b"a\tb\nc\n", "standard input: line 2: task qqp needs two sentences "
         "with a tab between them; this line has 1"),
        ("one -", b"a\n\xff\n", "standard input: line 2: not UTF-8 text"),
        ("one missing.csv", b"", "missing.csv: there is no such file"),
        ("one two.csv", b"", "two.csv: task sst needs the column 'sentence'"),
        ("one two.csv --column a --column b", b"", "--column: task sst has 1 column(s) of text"),
        ("one two.csv -o two.csv", b"", "-o two.csv: is the file that is read"),
        ("one two.csv -o no/where.csv", b"", "-o no/where.csv: the folder no does not exist"),
        ("one - --format xml", b"a", "--format xml: no such format; allowed: csv, tsv, jsonl"),
        ("one - --epoch 3", b"a", "--epoch 3: no such epoch; allowed: counted, best, last"),
        ("one - --device tpu", b"a", "--device tpu: no such device (did you mean 'cpu'?); allowed"),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted_is_refused_in_a_line(
    place: Path, piped: Pipe, arguments: str, content: bytes, message: str
) -> None:
    (place / "two.csv").write_text("a\tb\nx\ty\n")
    piped(content)
    answer = orch("predict", *arguments.split(), cwd=place)
    assert answer.returncode == 2
    (line,) = [text for text in answer.stderr.splitlines() if text != "loading the model ..."]
    assert message in line


def test_a_file_is_there_only_once_it_is_whole(place: Path, tmp_path: Path, piped: Pipe) -> None:
    out = tmp_path / "o.csv"
    out.write_text("earlier")
    piped(b"a\n\xff\n")
    assert orch("predict", "one", "-", "-o", str(out), cwd=place).returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]
    assert out.read_text() == "earlier"


def test_without_weights_it_says_so(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "sweeps", tmp_path / "sweeps")
    (trial,) = Ledger(tmp_path / "sweeps", "one").trials()
    shutil.rmtree(Path(trial.path, "checkpoints"))
    (tmp_path / "t.txt").write_text("a\n")
    answer = orch("predict", "one", "t.txt", cwd=tmp_path)
    assert answer.returncode == 2 and "holds no weights, as a trial of a pack" in answer.stderr


def test_rows_have_the_names_of_classes() -> None:
    task = Task(
        "nli", ("a", "b"), "label", "cross_entropy", "accuracy", "t.csv", classes=3,
        labels=(("entailment", 0.0), ("neutral", 1.0), ("contradiction", 2.0)),
    )  # fmt: skip
    (row,) = answer_rows(task, np.array([[0.1, 0.2, 0.7]]))
    assert row == {
        "prediction": "contradiction",
        "class": 2,
        "probabilities": {"entailment": 0.1, "neutral": 0.2, "contradiction": 0.7},
    }


def test_a_pair_is_not_read_from_one_column() -> None:
    with pytest.raises(UserError, match="this line has 3"):
        list(read_lines(io.BytesIO(b"a\tb\tc\n"), TASKS["qqp"], "pipe"))
