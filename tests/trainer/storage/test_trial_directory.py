"""The trial directory: write-once files, commit records, falling back, nothing believed blindly."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ledgers import epoch as epoch_record
from tests.support.paths import ROOT
from trainer.storage.folder import OutOfSpace
from trainer.storage.local_folder import LocalFolder
from trainer.storage.summary import summarise
from trainer.storage.trial_directory import (
    WEIGHTS,
    StoreError,
    TrialDirectory,
    checkpoint_name,
)


def commit(store: TrialDirectory, epoch: int) -> dict[str, Any]:
    files = {checkpoint_name(epoch, "weights"): b"w%d" % epoch, f"predictions/{epoch}": b"p"}
    return store.commit(epoch_record(epoch, epoch / 10, 1.0, False), files)


def change(store: TrialDirectory, name: str, **changes: Any) -> None:
    """Overwrite keys of a JSON file behind the trainer's back."""
    value = json.loads(store.read(name) or b"") | changes
    store.write(name, json.dumps(value).encode())


def epochs(records: list[dict[str, Any]]) -> list[int]:
    return [record["epoch"] for record in records]


@pytest.fixture(params=["folder", "uri", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TrialDirectory:
    """A plain folder, the same as a URI, and a prefix of an S3 bucket."""
    if request.param == "s3":
        return TrialDirectory(request.getfixturevalue("remote"))
    path = str(tmp_path / "trial")
    return TrialDirectory(path if request.param == "folder" else f"file://{path}")


def test_the_newest_two_checkpoints_are_kept(store: TrialDirectory) -> None:
    for epoch in (1, 2, 3, 4):
        commit(store, epoch)
    assert store.names("checkpoints") == ["003", "004"]
    assert epochs(store.records()) == [1, 2, 3, 4]
    assert store.checkpoint(4, "weights") == b"w4"
    with pytest.raises(StoreError, match="no checkpoints/001/weights"):
        store.checkpoint(1, "weights")


def test_nothing_but_the_trials_files_is_there(store: TrialDirectory) -> None:
    commit(store, 1)
    store.write_end("complete")
    assert store.folder.names() == ["checkpoints", "end.json", "epochs", "predictions"]
    assert store.folder.folders() == ["checkpoints", "epochs", "predictions"]
    for folder, name in {"epochs": "001.json", "checkpoints/001": "weights"}.items():
        assert store.names(folder) == [name]


def test_what_is_not_there_reads_as_nothing(store: TrialDirectory) -> None:
    assert store.config() is None and store.end() is None and store.records() == []
    assert store.names("logs") == [] and not store.folder.has("config.json")
    store.folder.delete("config.json")
    assert store.resume_point() == ([], [])


def test_a_folder_is_found_again_by_its_path(store: TrialDirectory) -> None:
    store.folder.child("inner").write("a/b", b"1")
    assert TrialDirectory(store.folder.child("inner").path).read("a/b") == b"1"
    assert store.folder.child("inner").parent.read("inner/a/b") == b"1"
    assert store.folder.child("inner").name == "inner"
    store.folder.delete("inner")
    assert not store.folder.has("inner")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", ".", "a\\b", "a\0b"])
def test_no_name_leads_out_of_the_directory(store: TrialDirectory, name: str) -> None:
    for action in (store.read, store.names, store.folder.delete, store.folder.child):
        with pytest.raises(StoreError, match="leads out of this folder"):
            action(name)
    with pytest.raises(StoreError, match="leads out of this folder"):
        store.write(name, b"")


def test_an_epoch_without_its_record_did_not_happen(store: TrialDirectory) -> None:
    commit(store, 1)
    commit(store, 2)
    store.folder.delete("epochs/002.json")
    assert epochs(store.resume_point()[0]) == [1]


def test_what_a_killed_writer_left_half_written_is_gone_when_the_trial_goes_on(
    tmp_path: Path,
) -> None:
    """A process that is killed within its commit, for real."""
    code = (
        "import os, sys\n"
        "from trainer.storage.trial_directory import TrialDirectory, checkpoint_name as n\n"
        "store = TrialDirectory(sys.argv[1])\n"
        "os.fsync = lambda file: os.kill(os.getpid(), 9)\n"
        "store.write(n(2, 'weights'), b'w' * 10_000)"
    )
    store = TrialDirectory(tmp_path / "t")
    commit(store, 1)
    before = set((tmp_path / "t").rglob("*.json"))
    killed = subprocess.run([sys.executable, "-c", code, store.path], cwd=ROOT)
    assert killed.returncode == -9 and list((tmp_path / "t").rglob(".writing-*"))
    assert epochs(store.resume_point()[0]) == [1]
    assert not list((tmp_path / "t").rglob(".writing-*"))
    assert set((tmp_path / "t").rglob("*.json")) == before


def test_no_epoch_is_committed_after_one_that_was_deleted(store: TrialDirectory) -> None:
    """The trial would have a gap for ever; so it begins again."""
    commit(store, 1)
    store.folder.delete("epochs")
    with pytest.raises(StoreError, match=r"epochs/001\.json is gone"):
        commit(store, 2)
    assert store.resume_point() == ([], []) and not store.folder.has("epochs/002.json")


@pytest.mark.parametrize("lost", ["epochs/001.json", "epochs/002.json", "config.json"])
def test_a_complete_trial_that_lost_files_is_not_over(store: TrialDirectory, lost: str) -> None:
    store.write_config({})
    records = [commit(store, 1), commit(store, 2)]
    store.write_end("complete", "", summarise(records))
    assert store.is_over()
    store.folder.delete(lost)
    assert not store.is_over() and store.end() is None


@pytest.mark.parametrize("status", ["pruned", "failed"])
def test_other_ends_stand_without_epochs(store: TrialDirectory, status: str) -> None:
    store.write_end(status, "", {"epochs": 2})
    assert store.is_over() and store.end() is not None


@pytest.mark.parametrize("damage", ["truncated", "one bit", "deleted", "no predictions"])
def test_a_damaged_epoch_falls_back_one_epoch_and_says_so(
    store: TrialDirectory, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for epoch in (1, 2, 3):
        commit(store, epoch)
    name = "predictions/3" if damage == "no predictions" else checkpoint_name(3, "weights")
    if damage in ("deleted", "no predictions"):
        store.folder.delete(name)
    else:
        store.write(name, b"w" if damage == "truncated" else b"v3")
    with caplog.at_level(logging.WARNING):
        records, notes = store.resume_point()
    assert epochs(records) == [1, 2] == epochs(store.records())
    reason = "is missing" if "dele" in damage or "no" in damage else "does not match its sha256"
    expected = f"epoch 3 cannot be resumed from ({name} {reason}); falling back to epoch 2"
    assert notes == [expected] and expected in caplog.text
    assert store.names("epochs") == ["001.json", "002.json"]
    assert store.resume_point() == (records, [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not JSON"),
        (b'{"epoch": 2', "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"[" * 100_000, "has more than 50 lists and mappings within each other"),
        (b"[" * 60 + b"]" * 60, "has more than 50 lists and mappings within each other"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"epoch": 7}', "is of epoch 7"),
        (b'{"epoch": 2}', "dev_score is not a number"),
        ({"epoch": 2.0}, "is of epoch 2.0"),
        ({"dev_score": float("nan")}, "dev_score is not a number"),
        ({"minutes_per_epoch": "1"}, "minutes_per_epoch is not a number"),
        ({"conflict_share": []}, "conflict_share is not a number"),
        ({"contended": "yes"}, "contended is not true, false or null"),
        ({"tasks": []}, "tasks is not a mapping"),
        ({"tasks": {"sst": 1}}, "tasks.'sst' is not a mapping"),
        ({"tasks": {"\x1b[2J": {}}}, "tasks.'\\x1b[2J' is not a mapping"),
        ({"tasks": {"sst": {"dev_metric": "1"}}}, "tasks.sst.dev_metric is not a number"),
        ({"files": {"../../../etc/passwd": "0"}}, "names something outside the trial"),
        ({"files": ["/etc/passwd"]}, "names something outside the trial"),
        ({"tasks": {"sst": {"utilisation": "all"}}}, "tasks.sst.utilisation is not a number"),
        ({"tasks": {"sst": {"dev_metric": 0.5}}}, "tasks.sst.metric is not a name"),
        ({"phases": ["first"]}, "phases is not a list of mappings"),
        ({"phases": [{"minutes": "1"}]}, "minutes of a phase is not a number"),
        ({"phases": [{"cosines": {"qqp|sst": "x"}}]}, "cosines of a phase is not a mapping"),
        ({"cosines": 1}, "cosines is not a mapping of numbers"),
        ({"conflicts": {"qqp|sst": "often"}}, "conflicts is not a mapping of numbers"),
        ({"finished_at": "today"}, "finished_at is not a time"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_record_that_is_none_ends_the_history_before_it(
    tmp_path: Path, content: bytes | dict[str, Any], reason: str
) -> None:
    store = TrialDirectory(tmp_path)
    for epoch in (1, 2, 3):
        commit(store, epoch)
    if isinstance(content, bytes):
        store.write("epochs/002.json", content)
    else:
        change(store, "epochs/002.json", **content)
    found, wrong = store.history()
    assert epochs(found) == [1] == epochs(store.records())
    assert wrong.startswith("epochs/002.json: ") and reason in wrong
    records, notes = store.resume_point()
    # The first checkpoint was dropped when the third epoch was committed.
    assert records == [] and len(notes) == 2 and reason in notes[0]
    assert store.names("epochs") == []


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("dev_score", "dev_score is not a number"),
        ("tasks", "tasks is not a mapping"),
        ("contended", "contended is not true, false or null"),
    ],
)
def test_a_record_without_what_readers_rely_on_is_none(
    tmp_path: Path, key: str, reason: str
) -> None:
    store = TrialDirectory(tmp_path)
    commit(store, 1)
    record = store.records()[0]
    del record[key]
    store.write("epochs/001.json", json.dumps(record).encode())
    assert store.history() == ([], f"epochs/001.json: {reason}")


def test_a_record_without_a_checkpoint_is_no_point_to_resume_from(tmp_path: Path) -> None:
    store = TrialDirectory(tmp_path)
    for epoch in (1, 2):
        commit(store, epoch)
    change(store, "epochs/002.json", files={})
    records, notes = store.resume_point()
    assert epochs(records) == [1] and "its record names no checkpoint" in notes[0]


def test_with_no_usable_checkpoint_the_trial_starts_over(store: TrialDirectory) -> None:
    for epoch in (1, 2, 3):
        commit(store, epoch)
    for epoch in (2, 3):
        store.folder.delete(checkpoint_name(epoch, "weights"))
    records, notes = store.resume_point()
    assert records == [] == store.records()
    assert [note.split()[1] for note in notes] == ["3", "2", "1"]


@pytest.mark.parametrize(
    "content",
    [b'{"status": "comp', b"[]", b'{"status": "done"}', b'{"status": []}',
     b'{"status": "failed", "reason": 1}', b'{"status": "complete", "summary": []}'],
)  # fmt: skip
def test_an_end_that_is_none_is_absent(tmp_path: Path, content: bytes) -> None:
    store = TrialDirectory(tmp_path)
    store.write("end.json", content)
    assert store.end() is None
    store.write_end("complete")
    assert store.end() == {"status": "complete", "reason": "", "summary": {}}


def test_only_the_three_ends_exist_and_numbers_stay_json(store: TrialDirectory) -> None:
    with pytest.raises(ValueError, match="not complete, pruned or failed"):
        store.write_end("done")
    with pytest.raises(ValueError, match="epoch 1: dev_score is not a number"):
        store.commit(epoch_record(1, float("nan"), 1.0, False), {})
    store.write_end("pruned", "asha", {"epochs": 1})
    assert store.end() == {"status": "pruned", "reason": "asha", "summary": {"epochs": 1}}
    assert json.loads(store.read("end.json") or b"")["status"] == "pruned"


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrialDirectory(tmp_path)
    assert store.write("config.json", b"first") == hashlib.sha256(b"first").hexdigest()

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.storage.local_folder.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write("config.json", b"second")
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    assert store.read("config.json") == b"first"


def test_an_epoch_is_not_begun_to_be_written_without_room_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrialDirectory(tmp_path)
    commit(store, 1)
    monkeypatch.setattr(LocalFolder, "free", lambda folder: 5_000_000)
    with pytest.raises(OutOfSpace, match=r"8\.4 MB are needed, 5\.0 MB are free") as caught:
        commit(store, 2)
    assert (caught.value.needed, caught.value.free) == (8 * 2**20 + 3, 5_000_000)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # between processes
    assert epochs(store.resume_point()[0]) == [1] and store.names("checkpoints") == ["001"]


_FULL = """
import sys
from pathlib import Path
from tests.support.ledgers import epoch
from trainer.storage.local_folder import LocalFolder
from trainer.storage.summary import summarise
from trainer.storage.trial_directory import OutOfSpace, TrialDirectory, checkpoint_name

folder = Path(sys.argv[1])
store = TrialDirectory(folder / "trial")
def commit(number):
    files = {checkpoint_name(number, name): bytes(3 * 2**20) for name in ("weights", "optimizer")}
    store.commit(epoch(number, 0.5, 1.0, False), files)
def refused(number):
    try:
        commit(number)
    except OutOfSpace as error:
        print(error)
        return True
commit(1)
before = sorted(p for p in folder.rglob("*"))
known = LocalFolder.free
LocalFolder.free = lambda self: None  # the check ahead sees nothing: the disk itself refuses
(folder / "ballast").write_bytes(bytes(4 * 2**20))  # one of the two files fits
assert refused(2)
(folder / "ballast").unlink()
assert sorted(p for p in folder.rglob("*")) == before
assert [r["epoch"] for r in store.resume_point()[0]] == [1]
commit(2)
LocalFolder.free = known
assert refused(3) and store.names("checkpoints") == ["001", "002"]
store.write_end("failed", "out of disk space " * 1000)
assert store.end()["status"] == "failed"
"""


def on_small_disk(size: str, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script in `folder`, which is a file system of this size for it alone."""
    mount = f"mount -t tmpfs -o size={size} tmpfs '{folder}' && echo mounted && "
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount + script]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, timeout=120,
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if "mounted" not in answer.stdout:
        pytest.skip(f"a file system cannot be mounted here: {answer.stderr.strip()}")
    return answer


def test_a_full_disk_costs_the_epoch_that_does_not_fit_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "full.py").write_text(_FULL)
    disk = tmp_path / "disk"
    script = f"'{sys.executable}' '{tmp_path / 'full.py'}' '{disk}'"
    answer = on_small_disk("15m", script, disk)
    assert answer.returncode == 0, answer.stderr
    _, blind, ahead = answer.stdout.splitlines()
    assert blind.endswith("trial: out of disk space: 3.1 MB are needed")
    assert "14.7 MB are needed, " in ahead and ahead.endswith(" MB are free")


def test_an_epochs_weights_stay_without_the_rest_of_its_checkpoint(store: TrialDirectory) -> None:
    for epoch in (1, 2, 3, 4):
        files = {checkpoint_name(epoch, name): b"%d" % epoch for name in (WEIGHTS, "optimizer")}
        store.commit(
            epoch_record(epoch, 0.5, 1.0, False), files, weights_of={1} if epoch > 1 else ()
        )
    assert store.names("checkpoints") == ["001", "003", "004"]
    assert store.names("checkpoints/001") == [WEIGHTS]
    assert store.names("checkpoints/003") == ["optimizer", WEIGHTS]
    record = store.records()[0]
    assert store.weights(record) == (b"1", record["files"][checkpoint_name(1, WEIGHTS)])
    store.write(checkpoint_name(1, WEIGHTS), b"other")
    with pytest.raises(StoreError, match=r"001/weights.safetensors does not match its sha256"):
        store.weights(record)
