"""What was left out is told at the start, and too much of it stops everything."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.doctor.inputs import input_findings
from orchestrator.preflight.checks import identifier, prepare_data
from orchestrator.spec import SweepSpec
from tests.support.small import small_config
from trainer.__main__ import main
from trainer.config import TrainConfig
from trainer.data.corpus import DataError, prepare
from trainer.data.left_out import lines, of_rows, too_much
from trainer.storage.trial_directory import StoreError
from trainer.train import train


def files(folder: Path, bad: int, rows: int = 100) -> dict[str, Any]:
    """A config of a task whose training file has so many labels out of range."""
    for split in ("train", "dev"):
        text = "text\tlabel\n"
        for n in range(rows):
            label = 9 if split == "train" and n < bad else n % 2
            text += f"{split} sentence number {n}{' and more words' * 3}\t{label}\n"
        (folder / f"{split}.txt").write_text(text)
    return {
        "data": {"source": "files", "root": str(folder), "cache": str(folder / "cache")},
        "tasks": ["mine"],
        "task_declarations": {
            "mine": {
                "columns": ["text"], "label": "label", "loss": "cross_entropy", "classes": 2,
                "metric": "accuracy", "train": "train.txt", "dev": "dev.txt",
            }
        },
        "encoder": "tiny", "sampler": "proportional", "epochs": 1, "batch_size": 8,
        "steps_per_epoch": 2, "threads": 1,
    }  # fmt: skip


def spec_of(config: dict[str, Any]) -> SweepSpec:
    return SweepSpec.model_validate({"name": "s", "base": config})


def data_findings(config: dict[str, Any]) -> dict[str, str]:
    findings = input_findings(spec_of(config))
    return {found.found: found.level for found in findings if found.what == "data"}


def test_every_reason_has_its_share_and_clean_splits_share_a_line() -> None:
    rows = {
        "a": {
            "train": {"rows": 40, "usable": 60, "dropped": {"no label": 30, "odd": 10}},
            "dev": {"rows": 9, "usable": 9, "dropped": {}, "noted": {}},
        },
        "b": {"train": {"rows": 8, "usable": 8, "noted": {"cut to 8 tokens": 2}}},
    }
    assert lines(of_rows(rows)) == [
        "data: a train: 40 of 100 rows dropped (40.0%): no label: 30 (30.0%), odd: 10 (10.0%)",
        "data: b train: 8 rows, none dropped; cut to 8 tokens: 2 (25.0%)",
        "data: no row dropped or cut: a (dev)",
    ]
    assert too_much(of_rows(rows), []) and not too_much(of_rows(rows), ["a"])


@pytest.mark.parametrize("damaged", [None, [], {"a": 3}, {"a": {"dev": {"rows": "x"}}}])
def test_an_edited_config_json_is_no_traceback(damaged: Any) -> None:
    assert isinstance(lines(of_rows(damaged)), list)


@pytest.mark.parametrize(
    ("bad", "level"), [(0, ""), (1, "ok"), (2, "warning"), (33, "warning"), (34, "error")]
)
def test_doctor_warns_above_one_per_cent_and_refuses_above_a_third(
    tmp_path: Path, bad: int, level: str
) -> None:
    found = data_findings(files(tmp_path, bad))
    told = {text: lvl for text, lvl in found.items() if text.startswith("mine train")}
    assert list(told.values()) == ([level] if level else [])


def test_above_a_third_nothing_starts_unless_the_task_is_named(tmp_path: Path) -> None:
    config = files(tmp_path, 34)
    with pytest.raises(DataError, match=r"34 of 100 rows dropped .*\n.*allow_dropped to \[mine\]"):
        prepare(TrainConfig.from_dict(config))
    config["data"]["allow_dropped"] = ["mine"]
    assert len(prepare(TrainConfig.from_dict(config)).splits["mine"]["train"]) == 66
    assert set(data_findings(config).values()) <= {"ok", "warning"}


def test_the_cut_rows_are_told_once_the_cache_has_them(tmp_path: Path) -> None:
    config = files(tmp_path, 0)
    config["data"]["max_length"] = 8
    assert not any("cut to 8" in text for text in data_findings(config))
    prepare(TrainConfig.from_dict(config))
    found = data_findings(config)
    assert {level for text, level in found.items() if "cut to 8 tokens: 100 (100.0%)" in text} == {
        "ok"
    }


def test_trainer_and_sweep_say_it_at_the_start_and_show_says_it_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = files(tmp_path, 20)
    (tmp_path / "config.json").write_text(json.dumps(config))
    told = "data: mine train: 20 of 100 rows dropped (20.0%): the label is outside 0..1: 20 (20.0%)"
    assert told in prepare_data(spec_of(config), identifier())
    out = tmp_path / "sweeps" / "s" / "trials" / "t"
    with caplog.at_level(logging.INFO, "trainer"):
        assert main(["--config", str(tmp_path / "config.json"), "--out", str(out)]) == 0
    assert told in caplog.messages
    shown = CliRunner().invoke(app, ["show", "s", "t", "--out", str(tmp_path / "sweeps")])
    assert told in shown.output, shown.output


def test_a_trial_that_began_with_other_rows_is_not_resumed(tmp_path: Path) -> None:
    config = small_config(tmp_path / "cache")
    out = tmp_path / "trial"
    next(train(config, str(out)))
    path = out / "config.json"
    written = json.loads(path.read_text())
    written["rows"]["sst"]["train"]["usable"] += 1
    path.write_text(json.dumps(written))
    with pytest.raises(StoreError, match=r"other rows of the same files \(sst train"):
        next(train(config, str(out)))
    # A trial of an earlier version has no `usable`; its `rows` decide.
    del written["rows"]["sst"]["train"]["usable"]
    path.write_text(json.dumps(written))
    next(train(replace(config), str(out)))


def test_stats_and_doctor_tell_what_is_in_train_and_dev(tmp_path: Path) -> None:
    config = files(tmp_path, 5)
    config["task_declarations"]["mine"]["labels"] = {"0": 0, "1": 1}
    lines_of = (tmp_path / "train.txt").read_text().splitlines()
    with (tmp_path / "dev.txt").open("a") as stream:
        stream.write(f"{lines_of[50].upper()}\n{lines_of[51]}\n")
    says = "mine dev: 2 of 102 rows (2.0%) are also in train: 1 exactly (101), 1 but for case"
    found = data_findings(config)
    assert [level for text, level in found.items() if text.startswith(says)] == ["warning"]
    (tmp_path / "s.yaml").write_text(json.dumps({"name": "s", "base": config}))
    done = CliRunner().invoke(app, ["data", "stats", str(tmp_path / "s.yaml")])
    assert says in done.output and "5 of 100 rows dropped" in done.output, done.output
