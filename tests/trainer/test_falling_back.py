"""Checkpoints that do not verify: the trial ends as if nothing had been, and says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trainer.__main__
from tests.support.resuming import TIMINGS, results
from tests.support.small import small_config
from trainer.config import TrainConfig
from trainer.storage.local_folder import LocalFolder
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train


@pytest.fixture(scope="module")
def config(cache: Path) -> TrainConfig:
    return small_config(cache, epochs=3)


@pytest.fixture(scope="module")
def undisturbed(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("falling") / "undisturbed"
    assert len(list(train(config, str(folder)))) == 3
    return folder


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def forget_files(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {}}))


#: What is done to which files, and the epochs that are given up with the reason for the newest.
DAMAGES: dict[str, tuple[Callable[[Path], None], list[str], list[int], str]] = {
    "a flipped bit": (flip_a_bit, ["checkpoints/003/optimizer.safetensors"], [3], "sha256"),
    "a missing file": (Path.unlink, ["checkpoints/003/weights.safetensors"], [3], "is missing"),
    "a torn record": (truncate, ["epochs/003.json"], [3], "is not JSON"),
    "a record without files": (forget_files, ["epochs/003.json"], [3], "names no checkpoint"),
    "no predictions": (Path.unlink, ["predictions/003.parquet"], [3], "is missing"),
    "no checkpoint at all": (
        truncate,
        ["checkpoints/003/weights.safetensors", "checkpoints/002/optimizer.safetensors"],
        [3, 2, 1],
        "sha256",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_trial_ends_like_an_undisturbed_one(
    config: TrainConfig, undisturbed: Path, tmp_path: Path, damage: str
) -> None:
    harm, names, given_up, reason = DAMAGES[damage]
    folder = tmp_path / "trial"
    shutil.copytree(undisturbed, folder)
    (folder / "end.json").unlink()
    for name in names:
        harm(folder / name)
    trained = [result.epoch for result in train(config, str(folder))]
    assert trained == sorted(given_up)
    records = TrialDirectory(folder).records()
    notes = records[trained[0] - 1]["notes"]
    assert [int(note.split()[1]) for note in notes] == given_up
    assert reason in notes[0] and f"falling back to epoch {given_up[0] - 1}" in notes[0]
    assert all("notes" not in r for r in records if r["epoch"] != trained[0])
    assert results(folder) == results(undisturbed)
    assert untimed_end(folder) == untimed_end(undisturbed)


def untimed_end(folder: Path) -> dict[str, Any]:
    """end.json without its minutes, and whether another process was seen beside it."""
    end = TrialDirectory(folder).end() or {}
    return end | {"summary": {k: v for k, v in end["summary"].items() if k not in TIMINGS}}


def test_a_torn_end_behind_the_last_epoch_is_written_again(
    config: TrainConfig, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "trial"
    shutil.copytree(undisturbed, folder)
    truncate(folder / "end.json")
    (folder / "analysis.json").unlink()
    assert list(train(config, str(folder))) == []
    assert TrialDirectory(folder).end() == TrialDirectory(undisturbed).end()
    for name in ("analysis.json", "epochs/003.json"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_disk_that_fills_up_costs_no_epoch_that_was_committed(
    config: TrainConfig, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.__main__.signal, "signal", lambda *arguments: None)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    folder = tmp_path / "trial"
    arguments = ["--config", str(tmp_path / "config.json"), "--out", str(folder)]
    sizes = iter([10**9, 10**9, 10**6])
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "free", lambda folder: next(sizes))
        assert trainer.__main__.main(arguments) == 1
    assert len(TrialDirectory(folder).records()) == 2 and not (folder / "end.json").exists()
    assert trainer.__main__.main(arguments) == 0
    assert results(folder) == results(undisturbed)


def test_a_torn_config_is_written_again(
    config: TrainConfig, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "trial"
    shutil.copytree(undisturbed, folder)
    truncate(folder / "config.json")
    (folder / "end.json").unlink()
    assert list(train(config, str(folder))) == []
    assert TrialDirectory(folder).config() == TrialDirectory(undisturbed).config()
