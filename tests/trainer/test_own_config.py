"""A trial trains again from its own config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.hosts import multiplying_bf16
from tests.support.resuming import results, run_trainer
from tests.support.small import small_config
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train


def trained(config: Any, folder: Path) -> Path:
    for _ in train(config, str(folder), identity={"trial_id": "t-1", "sweep": "s"}):
        pass
    return folder / "config.json"


@pytest.mark.parametrize(("native", "precision"), [(False, "fp32"), (True, "bf16")])
def test_a_trials_own_config_gives_its_records_to_the_bit(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool, precision: str
) -> None:
    """Also where `precision: auto` would become another one today."""
    config = small_config(cache, precision="auto", combiner="pcgrad", device="cpu")
    multiplying_bf16(monkeypatch, native)
    own = trained(config, tmp_path / "t")
    multiplying_bf16(monkeypatch, True)
    assert run_trainer("--config", str(own), "--out", str(tmp_path / "again")) == 0
    assert results(tmp_path / "again") == results(tmp_path / "t")
    again = TrialDirectory(tmp_path / "again").config() or {}
    assert again["precision"] == json.loads(own.read_text())["precision"] == precision


def test_a_config_of_an_earlier_format_keeps_its_meaning(cache: Path, tmp_path: Path) -> None:
    own = trained(small_config(cache, epochs=1, dropout=0.2, encoder_dropout=0.2), tmp_path / "t")
    stored = json.loads(own.read_text())
    for key in ("encoder_dropout", "smart_radius", "smart_epsilon", "smart_step_size"):
        del stored["config"][key]
    del stored["format"]
    (tmp_path / "old.json").write_text(json.dumps(stored))
    assert run_trainer("--config", str(tmp_path / "old.json"), "--out", str(tmp_path / "o")) == 0
    again = (TrialDirectory(tmp_path / "o").config() or {})["config"]
    assert (again["encoder_dropout"], again["smart_radius"]) == (0.2, "absolute")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"config": ["epochs"]}, "config: not a mapping of keys to values"),
        ({"format": 99, "config": {"epochs": 1}}, "format: 99 is not a format that this version"),
        ({"config": {"epochs": 0}, "format": 2}, "epochs: "),
        (["epochs"], "config: "),
    ],
)
def test_a_config_that_is_none_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, problem: str
) -> None:
    (tmp_path / "c.json").write_text(json.dumps(content))
    assert run_trainer("--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "o")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line
    assert not (tmp_path / "o").exists()
