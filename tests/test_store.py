"""The trial directory: write-once files, commit records, falling back."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from trainer.store import StoreError, TrialDirectory, checkpoint_name


def commit(store: TrialDirectory, epoch: int) -> None:
    files = {checkpoint_name(epoch, "weights"): b"w%d" % epoch, f"predictions/{epoch}": b"p"}
    store.commit({"epoch": epoch, "dev_score": epoch / 10}, files)


@pytest.fixture(params=["folder", "uri"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TrialDirectory:
    """A plain folder and the same through a pyarrow URI."""
    path = str(tmp_path / "trial")
    return TrialDirectory(path if request.param == "folder" else f"file://{path}")


def test_the_newest_two_checkpoints_are_kept(store: TrialDirectory, tmp_path: Path) -> None:
    for epoch in (1, 2, 3, 4):
        commit(store, epoch)
    assert sorted(p.name for p in (tmp_path / "trial/checkpoints").iterdir()) == ["003", "004"]
    assert [record["epoch"] for record in store.records()] == [1, 2, 3, 4]
    assert store.checkpoint(4, "weights") == b"w4"
    with pytest.raises(StoreError, match="no checkpoints/001/weights"):
        store.checkpoint(1, "weights")


def test_nothing_temporary_stays_behind(store: TrialDirectory, tmp_path: Path) -> None:
    commit(store, 1)
    store.write_end("complete")
    names = {
        str(p.relative_to(tmp_path / "trial"))
        for p in (tmp_path / "trial").rglob("*")
        if p.is_file()
    }
    assert names == {"checkpoints/001/weights", "predictions/1", "epochs/001.json", "end.json"}


def test_an_epoch_without_its_record_did_not_happen(store: TrialDirectory, tmp_path: Path) -> None:
    commit(store, 1)
    commit(store, 2)
    (tmp_path / "trial/epochs/002.json").unlink()
    assert [record["epoch"] for record in store.resume_point()] == [1]


@pytest.mark.parametrize("damage", ["truncated", "one bit", "deleted"])
def test_a_damaged_checkpoint_falls_back_one_epoch_and_says_so(
    store: TrialDirectory, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for epoch in (1, 2, 3):
        commit(store, epoch)
    file = tmp_path / "trial" / checkpoint_name(3, "weights")
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes(b"w" if damage == "truncated" else b"v3")
    with caplog.at_level(logging.WARNING):
        assert [record["epoch"] for record in store.resume_point()] == [1, 2]
    assert "epoch 3 cannot be resumed from" in caplog.text
    assert not (tmp_path / "trial/epochs/003.json").exists()


@pytest.mark.parametrize("content", [b"", b'{"epoch": 2', b"[]", b'{"epoch": 7}'])
def test_an_unreadable_record_ends_the_history_before_it(
    store: TrialDirectory, tmp_path: Path, content: bytes
) -> None:
    for epoch in (1, 2, 3):
        commit(store, epoch)
    (tmp_path / "trial/epochs/002.json").write_bytes(content)
    assert [record["epoch"] for record in store.records()] == [1]


def test_with_no_usable_checkpoint_the_trial_starts_over(
    store: TrialDirectory, tmp_path: Path
) -> None:
    for epoch in (1, 2, 3):
        commit(store, epoch)
    for epoch in (2, 3):
        (tmp_path / "trial" / checkpoint_name(epoch, "weights")).unlink()
    assert store.resume_point() == []
    assert store.records() == []


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrialDirectory(tmp_path)
    store.write("config.json", b"first")

    def full_disk(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.store.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        store.write("config.json", b"second")
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    assert store.read("config.json") == b"first"


def test_only_the_three_ends_exist_and_numbers_stay_json(store: TrialDirectory) -> None:
    with pytest.raises(ValueError, match="not complete, pruned or failed"):
        store.write_end("done")
    with pytest.raises(ValueError, match="JSON"):
        store.commit({"epoch": 1, "dev_score": float("nan")}, {})
    store.write_end("pruned", "asha", {"epochs": 1})
    assert store.end() == {"status": "pruned", "reason": "asha", "summary": {"epochs": 1}}
    assert json.loads(store.read("end.json") or b"")["status"] == "pruned"
