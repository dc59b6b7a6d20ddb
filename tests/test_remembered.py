"""What is remembered of a large ledger is what its files say, and no file's change goes unseen."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledgers import epoch, write_trial
from orchestrator import remembered
from orchestrator.ledger import Ledger, TrialRecord
from trainer.store import TrialDirectory

TRIALS = [
    {"sampler": "round_robin"},
    {"sampler": "annealed", "B": 64, "dropout": 0.25},
    {"sampler": "arrp", "B": {"qqp": 64}, "lambda": {"qqp": 0.5}, "freeze": "encoder"},
    {"sampler": "cycle", "batch_size": {"sst": 2, "qqp": 3, "sts": 4}},
    {"sampler": "single_task", "tasks": ["sst"], "data": {"limit": {"sst": 9}}},
]


@pytest.fixture(autouse=True)
def _every_ledger_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "FEWEST", 1)
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "cache"))


def written(tmp_path: Path) -> list[Path]:
    """The folders of some trials that ended a while ago."""
    names = [write_trial(tmp_path / "s", [0.4, 0.5], **config) for config in TRIALS]
    settle(tmp_path)
    return [tmp_path / "s" / "trials" / name for name in names]


def settle(tmp_path: Path) -> None:
    for file in (tmp_path / "s").rglob("*.json"):
        told = file.stat()
        if told.st_mtime > time.time() - 60:
            os.utime(file, ns=(told.st_mtime_ns - 10**11, told.st_mtime_ns - 10**11))


def read(tmp_path: Path) -> dict[str, TrialRecord]:
    return {trial.trial_id: trial for trial in Ledger(tmp_path, "s").trials()}


def read_anew(tmp_path: Path) -> dict[str, TrialRecord]:
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    return read(tmp_path)


def exactly(trials: dict[str, TrialRecord]) -> str:
    """Everything that a reader can see, types included."""
    return repr([(t, t.train_config, t.train_config.canonical()) for t in trials.values()])


def forbid(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trials that are read from their files from now on."""
    asked: list[str] = []
    before = Ledger._read

    def noted(self: Ledger, trial_id: str) -> Any:
        asked.append(trial_id)
        return before(self, trial_id)

    monkeypatch.setattr(Ledger, "_read", noted)
    return asked


def test_what_is_remembered_is_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    first = read(tmp_path)
    asked = forbid(monkeypatch)
    second = read(tmp_path)
    assert asked == [] and len(second) == len(TRIALS)
    assert exactly(second) == exactly(first)
    relative = Ledger(os.path.relpath(tmp_path), "s").trials()
    assert asked == [] and {t.path for t in relative} == {
        Ledger(os.path.relpath(tmp_path), "s").path(t.trial_id) for t in relative
    }


def _rewrite(file: str) -> Callable[[Path], None]:
    """The same size, other digits, its old time."""

    def change(trial: Path) -> None:
        told = (trial / file).stat()
        content = (trial / file).read_text()
        changed = content.replace("0.5", "0.7").replace("cpu", "gpu")
        assert changed != content and len(changed) == len(content)
        TrialDirectory(str(trial)).write(file, changed.encode())
        os.utime(trial / file, ns=(told.st_mtime_ns, told.st_mtime_ns))

    return change


def _grow(trial: Path) -> None:
    TrialDirectory(str(trial)).commit(epoch(3, 0.9, 1.0, False), {})


@pytest.mark.parametrize(
    "change",
    [
        _rewrite("epochs/002.json"),
        _rewrite("end.json"),
        _rewrite("config.json"),
        _grow,
        lambda trial: (trial / "end.json").unlink(),
        lambda trial: (trial / "epochs/001.json").unlink(),
        lambda trial: (trial / "epochs/002.json").write_bytes(b"{"),
        lambda trial: (trial / "config.json").unlink(),
        shutil.rmtree,
    ],
)
def test_every_change_of_a_file_is_seen(tmp_path: Path, change: Callable[[Path], None]) -> None:
    trial = written(tmp_path)[1]
    before = read(tmp_path)
    change(trial)
    found, unreadable = read(tmp_path), Ledger(tmp_path, "s").read().unreadable
    assert exactly(found) != exactly(before)
    assert exactly(found) == exactly(read_anew(tmp_path))
    assert unreadable == Ledger(tmp_path, "s").read().unreadable


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "config", {"sampler": "arrp", "dropout": 0, "lambda": 1}),  # 0 is 0.0
        ("epochs/001.json", "remark", float("nan")),
        ("config.json", "device", "half of a pair: \ud800"),
    ],
)
def test_what_json_cannot_say_twice_is_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, key: str, value: object
) -> None:
    trial = written(tmp_path)[0]
    said = json.loads((trial / file).read_text())
    (trial / file).write_text(json.dumps({**said, key: value}))
    settle(tmp_path)
    first = read(tmp_path)
    asked = forbid(monkeypatch)
    assert exactly(read(tmp_path)) == exactly(first) and asked == [trial.name]


def test_files_of_just_now_and_unfinished_trials_are_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    fresh = write_trial(tmp_path / "s", [0.4], sampler="proportional")
    unfinished = write_trial(tmp_path / "s", [0.4], sampler="interleaved", status=None)
    read(tmp_path)
    asked = forbid(monkeypatch)
    assert len(read(tmp_path)) == len(TRIALS) + 2
    assert set(asked) == {fresh, unfinished}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[1, 2, 3]", b"[[], 7, {}]"])
def test_a_damaged_memory_costs_time_alone(tmp_path: Path, content: bytes) -> None:
    written(tmp_path)
    first = read(tmp_path)
    (memory,) = (tmp_path / "cache/ledgers").iterdir()
    memory.write_bytes(content)
    assert exactly(read(tmp_path)) == exactly(first)


def test_another_versions_judgement_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    read(tmp_path)
    asked = forbid(monkeypatch)
    monkeypatch.setattr(remembered, "_judges", lambda: [[1, 2]])
    read(tmp_path)
    assert len(asked) == len(TRIALS)


def test_a_ledger_reads_where_nothing_can_be_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "file"))
    assert len(read(tmp_path)) == len(TRIALS)


def test_what_nobody_asks_for_is_forgotten(tmp_path: Path) -> None:
    written(tmp_path)
    old, other = (tmp_path / "cache/ledgers" / name for name in ("old.json", "other.json"))
    old.parent.mkdir(parents=True)
    for file in (old, other):
        file.write_text("[]")
    os.utime(old, (0, 0))
    read(tmp_path)
    assert not old.exists() and other.exists()
