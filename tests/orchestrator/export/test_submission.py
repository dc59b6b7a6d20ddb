"""`orch export submission`: the files of the course, as its own code writes and reads them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from orchestrator.export.submission import FILES
from orchestrator.ledger import Ledger
from orchestrator.ledger.listing import find_trial
from tests.support.command import Answer, orch, orch_process
from tests.support.course_format import DATA, dev_metric, graded, records, written
from tests.support.real_data import REAL, needs_real_data
from tests.support.trained_sweep import train_into, write_spec
from trainer.data.synthetic import generate
from trainer.inference import Model
from trainer.storage.trial_directory import TrialDirectory

TRAIN = {"sst": "ids-sst-train.csv", "qqp": "quora-train.csv", "sts": "sts-train.csv"}
COURSE = {"sst": "sst", "para": "qqp", "sts": "sts"}
#: Fewer dev examples in each epoch than there are: a submission has all of them.
LIMIT = {"source": "cs224n", "dev_limit": {"sst": 9, "qqp": 9, "sts": 9}}


def write_course_data(folder: Path) -> None:
    """Generated sentences in files as the course writes them: an index without a name first, ids
    with capitals, fields in quotes."""
    files = {file: (COURSE[kind.partition("-")[0]], kind.partition("-")[2])
             for kind, file in DATA.items()}  # fmt: skip
    files |= {file: (task, "train") for task, file in TRAIN.items()}
    made = generate(0, 32)
    for file, (task, split) in files.items():
        rows = made[task][split][: 40 if split == "train" else 25]
        with (folder / file).open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerow(["", *rows[0]])
            for number, row in enumerate(rows):
                text = [f'A "fine" {v}' if k == "sentence" else v for k, v in row.items()]
                writer.writerow([number, f" ID-{text[0]}", *text[1:]])


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with `data` and the sweep `s`: one configuration with two seeds, and others."""
    place = tmp_path_factory.mktemp("handing-in")
    (place / "data").mkdir()
    write_course_data(place / "data")
    ledger = Ledger(place / "sweeps", "s")
    data = LIMIT | {"root": str(place / "data")}
    base: dict[str, Any] = {"sampler": "round_robin", "epochs": 2, "learning_rate": 3e-3}
    sst = {"tasks": ["sst"], "data": data | {"dev_limit": {}}}
    three = {"classes": 6}
    trials = {
        "first": train_into(ledger, cache, **base, data=data, seed=1),
        "second": train_into(ledger, cache, **base, data=data, seed=2),
        "sst": train_into(ledger, cache, **base, **sst),
        "other": train_into(ledger, cache, **base, **sst, task_declarations={"sst": three}),
    }
    write_spec(ledger, 2)
    return place, trials


@pytest.fixture
def place(trained: tuple[Path, dict[str, str]], tmp_path: Path) -> Path:
    """A copy of the sweep, in the folder where commands run."""
    shutil.copytree(trained[0] / "sweeps", tmp_path / "sweeps")
    return tmp_path


@pytest.fixture(scope="module")
def data(trained: tuple[Path, dict[str, str]]) -> Path:
    return trained[0] / "data"


@pytest.fixture(scope="module")
def trials(trained: tuple[Path, dict[str, str]]) -> dict[str, str]:
    return trained[1]


def hand_in(place: Path, name: str, *options: str) -> Answer:
    return orch("export", "submission", name, "-o", "out", "--device", "cpu", *options, cwd=place)


def probabilities(place: Path, trial_id: str, kind: str, data: Path, epoch: str) -> np.ndarray:
    """What a trial's model says of the rows of a data file, which the course's way reads."""
    ledger = Ledger(place / "sweeps", "s")
    directory = TrialDirectory(ledger.trials_folder.child(trial_id))
    model = Model.of_trial(directory, find_trial(ledger, trial_id).train_config, "cpu", epoch)
    rows = records(data, kind)
    task = COURSE[kind.partition("-")[0]]
    columns = ["sentence"] if task == "sst" else ["sentence1", "sentence2"]
    return model.probabilities(task, *([row[column] for row in rows] for column in columns))


def decided(shares: np.ndarray) -> np.ndarray:
    return shares.argmax(axis=1).astype(float) if shares.ndim == 2 else shares


def test_all_files_are_whole_and_have_the_bytes_of_the_courses_code(
    place: Path, data: Path, trials: dict[str, str]
) -> None:
    """Capitals, quotes and `dev_limit` change nothing."""
    answer = hand_in(place, f"s@{trials['first']}", "--json")
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    folder = place / "out" / "predictions"
    assert {path.name for path in folder.iterdir()} == {f"{kind}-output.csv" for kind in DATA}
    assert sorted(told["files"]) == sorted(FILES) and not told["missing"] and not told["notes"]
    for kind in DATA:
        values = graded(folder, kind, data)
        expected = decided(probabilities(place, trials["first"], kind, data, "last"))
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        ids = [row["id"] for row in records(data, kind)]
        assert (folder / f"{kind}-output.csv").read_bytes() == written(kind, ids, values)
    own = place / "sweeps" / "s" / "trials" / trials["first"] / "test"
    for name, task in COURSE.items():
        test = (folder / f"{name}-test-output.csv").read_bytes()
        assert test == (own / f"{task}.csv").read_bytes(), "as the trial itself wrote it"
    metrics = [dev_metric(name, graded(folder, f"{name}-dev", data), data) for name in COURSE]
    assert list(told["dev_metrics"].values()) == pytest.approx(metrics)
    assert told["dev_score"] == pytest.approx((metrics[0] + metrics[1] + (metrics[2] + 1) / 2) / 3)


@pytest.mark.parametrize("named", [False, True])
def test_an_ensemble_averages_probabilities_and_values(
    place: Path, data: Path, trials: dict[str, str], named: bool
) -> None:
    seeds = [trials["first"], trials["second"]]
    one = f"s@{trials['second']}"
    answer = (
        hand_in(place, "s", "--ensemble", ",".join(seeds), "--json") if named
        else hand_in(place, one, "--ensemble", "seeds", "--json")
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["trials"] == dict.fromkeys(seeds, 2)
    for kind in DATA:
        both = [probabilities(place, seed, kind, data, "last") for seed in seeds]
        values = graded(place / "out" / "predictions", kind, data)
        np.testing.assert_allclose(values, decided(sum(both) / 2), rtol=1e-5)


def test_a_trial_that_lacks_a_task_is_left_out_of_its_mean(
    place: Path, data: Path, trials: dict[str, str]
) -> None:
    answer = hand_in(place, "s", "--ensemble", f"{trials['first']},{trials['sst']}")
    assert answer.returncode == 0, answer.stderr
    assert "sts-dev-output.csv: of 1 of the 2 trials; others lack it" in answer.stderr
    assert "sst-dev-output.csv" not in answer.stderr
    alone = probabilities(place, trials["first"], "sts-dev", data, "last")
    values = graded(place / "out" / "predictions", "sts-dev", data)
    np.testing.assert_allclose(values, alone, rtol=1e-5)


def test_the_epoch_can_be_chosen(place: Path, data: Path, trials: dict[str, str]) -> None:
    records_file = Ledger(place / "sweeps", "s").directory(trials["first"]).records()
    best = 1 + int(np.argmax([record["dev_score"] for record in records_file]))
    answer = hand_in(place, f"s@{trials['first']}", "--epoch", "best", "--json")
    assert json.loads(answer.stdout)["trials"] == {trials["first"]: best}
    values = graded(place / "out" / "predictions", "sts-dev", data)
    expected = probabilities(place, trials["first"], "sts-dev", data, "best")
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_what_cannot_be_written_is_named_and_the_rest_is_written(
    place: Path, data: Path, trials: dict[str, str]
) -> None:
    shutil.copytree(data, place / "part")
    (place / "part" / "ids-sst-test-student.csv").unlink()
    answer = hand_in(place, f"s@{trials['sst']}", "--data", str(place / "part"))
    assert answer.returncode == 0
    assert "sst-test-output.csv: not written: " in answer.stderr
    assert "has no ids-sst-test-student.csv" in answer.stderr
    assert "para-dev-output.csv: not written: the model was not trained on qqp" in answer.stderr
    assert [path.name for path in (place / "out/predictions").iterdir()] == ["sst-dev-output.csv"]


def test_rows_that_are_not_in_the_file_are_told(
    place: Path, data: Path, trials: dict[str, str]
) -> None:
    shutil.copytree(data, place / "part")
    with (place / "part" / "ids-sst-test-student.csv").open("a") as stream:
        stream.write("25\tcut-off\n")
    answer = hand_in(place, f"s@{trials['sst']}", "--data", str(place / "part"))
    assert answer.returncode == 0
    assert "sst-test-output.csv: left out 1 row: a sentence column is missing" in answer.stderr
    graded(place / "out" / "predictions", "sst-test", data)


def test_an_earlier_submission_is_replaced_whole_and_nothing_else(
    place: Path, trials: dict[str, str]
) -> None:
    assert hand_in(place, f"s@{trials['first']}").returncode == 0
    again = hand_in(place, f"s@{trials['sst']}")
    assert again.returncode == 2 and "--force replaces it" in again.stderr
    assert hand_in(place, f"s@{trials['sst']}", "--force").returncode == 0
    folder = place / "out" / "predictions"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["sst-dev-output.csv", "sst-test-output.csv"]
    (folder / "mine.txt").write_text("")
    refused = hand_in(place, f"s@{trials['sst']}", "--force")
    assert refused.returncode == 2 and "has other files (mine.txt)" in refused.stderr


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("s@sst", ("--ensemble", "seeds", "--epoch", "first"), "allowed: counted, best, last"),
        ("s@other", (), "nothing to hand in: the labels of sst are not the course's"),
        ("s@sst", ("--data", "nowhere"), "nowhere/ids-sst-train.csv: task sst needs this file"),
        ("s", ("--ensemble", "sst,sst"), "names the trial"),
        ("s", ("--ensemble", "zzz"), "no trial 'zzz' in s"),
    ],
)
def test_what_cannot_be_handed_in_is_one_message(
    place: Path, trials: dict[str, str], name: str, options: tuple[str, ...], message: str
) -> None:
    for short, trial_id in trials.items():
        name = name.replace(f"@{short}", f"@{trial_id}")
        options = tuple(option.replace("sst,sst", f"{trials['sst']},{trials['sst']}")
                        for option in options)  # fmt: skip
    answer = hand_in(place, name, *options)
    assert answer.returncode == 2 and message in answer.stderr
    assert answer.stderr.count(message) == 1 and "Traceback" not in answer.stderr
    assert not (place / "out").exists()


def test_trials_without_weights_are_refused_before_anything_is_read(
    place: Path, trials: dict[str, str]
) -> None:
    shutil.rmtree(place / "sweeps/s/trials" / trials["second"] / "checkpoints")
    answer = hand_in(place, f"s@{trials['first']}", "--ensemble", "seeds", "--data", "nowhere")
    assert answer.returncode == 2
    assert f"no weights of {trials['second']}, as in a pack" in answer.stderr


@needs_real_data
@pytest.mark.slow(reason="a sweep on the course's data")
def test_a_sweep_on_the_courses_data_becomes_a_submission(tmp_path: Path, cache: Path) -> None:
    limit = {"sst": 300, "qqp": 300, "sts": 300}
    data = {"source": "cs224n", "root": str(REAL), "cache": str(cache), "limit": limit,
            "dev_limit": limit}  # fmt: skip
    base = {"data": data, "encoder": "tiny", "epochs": 1, "threads": 1, "sampler": "round_robin"}
    sweep = {
        "name": "real", "question": "Does it go from the course's data to its files?",
        "base": base, "space": {"learning_rate": {"choices": [1e-3]}},
        "search": {"num_trials": 1, "seeds": [1, 2]}, "resources": {"cpu": 1},
        "tracking": {"report": False, "registered_model": "none"},
    }  # fmt: skip
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(sweep))
    done = orch_process("sweep", "real.yaml", cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    answer = hand_in(tmp_path, "real", "--ensemble", "seeds", "--json")
    assert answer.returncode == 0, answer.stderr
    told, folder = json.loads(answer.stdout), tmp_path / "out" / "predictions"
    here = {kind for kind, file in DATA.items() if (REAL / file).is_file()}
    assert {path.name for path in folder.iterdir()} == {f"{kind}-output.csv" for kind in here}
    assert set(told["missing"]) == {f"{kind}-output.csv" for kind in DATA.keys() - here}
    for kind in here:
        values = graded(folder, kind, REAL)
        ids = [row["id"] for row in records(REAL, kind)]
        assert (folder / f"{kind}-output.csv").read_bytes() == written(kind, ids, values)
        if kind.endswith("-dev"):
            task = kind.partition("-")[0]
            metric = told["dev_metrics"][COURSE[task]]
            assert dev_metric(task, values, REAL) == pytest.approx(metric)
