"""`orch export table`: every number of every trial and epoch, one type a column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from orchestrator.export.tables import UNITS, column_name, epochs_table, trials_table
from orchestrator.ledger import Ledger
from tests.support.command import orch
from tests.support.ledgers import write_trial
from tests.support.trained_sweep import write_spec
from trainer.config import TrainConfig
from trainer.metrics import EPOCH, TASK, field_at, is_number, numbers


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path, "s")
    write_spec(ledger, 2)
    sweep = tmp_path / "s"
    write_trial(sweep, [0.5, 0.75], seed=1, sampler="arrp", B=64)
    write_trial(sweep, [0.75, 0.5], seed=2, sampler="arrp", B={"qqp": 64}, score="best")
    write_trial(sweep, [0.6], seed=1, sampler="round_robin", status="pruned", reason="asha")
    write_trial(sweep, [], seed=1, sampler="annealed", status="failed", reason="diverged")
    write_trial(sweep, [0.4], seed=1, epochs=1)
    return ledger


def test_a_row_is_a_trial(ledger: Ledger) -> None:
    frame = trials_table(ledger).to_pandas().set_index("trial_id")
    trials = {trial.trial_id: trial for trial in ledger.trials()}
    assert set(frame.index) == set(trials) and len(frame) == 5
    for trial_id, row in frame.iterrows():
        trial = trials[str(trial_id)]
        assert (row["seed"], row["status"]) == (trial.config["seed"], trial.status)
        assert row["config.sampler"] == trial.config["sampler"]
        assert row["current"] == (trial.config["epochs"] == 2)
        if not trial.records:
            assert pandas.isna(row["dev_score"]) and row["epochs"] == 0
            continue
        counted = trial.records[trial.epoch - 1]
        assert row["dev_score"] == counted["dev_score"]
        assert row["tasks.sst.dev_accuracy"] == counted["tasks"]["sst"]["dev_metric"]
        assert row["tasks.sts.dev_pearson"] == counted["tasks"]["sts"]["dev_metric"]
    best = frame[frame["seed"] == 2].iloc[0]
    assert (best["dev_score"], best["epoch"], best["last_dev_score"]) == (0.75, 1, 0.5)


def test_a_parameter_that_does_not_act_is_empty(ledger: Ledger) -> None:
    frame = trials_table(ledger).to_pandas()
    acts = frame["config.sampler"] == "arrp"
    assert frame["config.lambda"].notna().tolist() == acts.tolist()
    assert set(frame["config.B"].dropna()) == {64, TrainConfig().B}
    assert frame["config.B.qqp"].dropna().tolist() == [64]


def test_every_number_of_every_epoch_is_there(ledger: Ledger) -> None:
    frame = epochs_table(ledger).to_pandas().set_index(["trial_id", "epoch"])
    assert len(frame) == 6
    for trial in ledger.trials():
        for record in trial.records:
            row = frame.loc[trial.trial_id, record["epoch"]]
            for place, value in numbers(record).items():
                assert row[column_name(place, record)] == value
            assert row["counts"] == (record["epoch"] == trial.epoch)
    assert frame.groupby("trial_id")["counts"].sum().eq(1).all()


def test_a_number_with_a_unit_says_it() -> None:
    record: dict[str, Any] = {"tasks": {"sst": {"metric": "f1"}}}
    for table, before in ((EPOCH, ()), (TASK, ("tasks", "sst"))):
        for name in table:
            for place in ((*before, name), (*before, name, "part")):
                if (field := field_at(place)) and field.unit:
                    assert UNITS[field.unit] in column_name(place, record)
    assert column_name(("parts", "training"), record) == "parts.training_minutes"
    assert column_name(("tasks", "sst", "dev_metric"), record) == "tasks.sst.dev_f1"


@pytest.mark.parametrize("of", ["trials", "epochs"])
def test_both_formats_hold_the_same(ledger: Ledger, tmp_path: Path, of: str) -> None:
    for name in ("t.csv", "t.parquet"):
        answer = orch("export", "table", "s", "--of", of, "-o", name, "--out", ".", cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
    parquet = pandas.read_parquet(tmp_path / "t.parquet")
    text = pandas.read_csv(tmp_path / "t.csv")
    assert list(parquet.columns) == list(text.columns)
    for name in parquet.columns:
        if parquet[name].dtype.kind in "iuf":
            assert parquet[name].equals(text[name].astype(parquet[name].dtype)), name
    printed = orch("export", "table", "s", "--of", of, "-o", "-", "--out", ".", cwd=tmp_path)
    assert printed.stdout == (tmp_path / "t.csv").read_text()


def test_it_says_what_it_wrote(ledger: Ledger, tmp_path: Path) -> None:
    answer = orch("export", "table", "s", "--json", "--out", ".", cwd=tmp_path)
    told = json.loads(answer.stdout)
    assert (told["path"], told["rows"]) == ("s-trials.csv", 5)
    assert told["columns"]["dev_score"] == "double" and told["columns"]["seed"] == "int64"
    assert is_number(pandas.read_csv(tmp_path / "s-trials.csv")["dev_score"].mean().item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--format xls", "--format xls: no such format; allowed: csv, parquet"),
        ("--of seeds", "--of seeds: no such table; allowed: trials, epochs, predictions"),
        ("-o no/t.csv", "-o no/t.csv: its folder does not exist"),
    ],
)
def test_what_cannot_be_written_is_refused(
    ledger: Ledger, tmp_path: Path, options: str, message: str
) -> None:
    answer = orch("export", "table", "s", "--out", ".", *options.split(), cwd=tmp_path)
    assert (answer.returncode, answer.stderr) == (2, message + "\n")
