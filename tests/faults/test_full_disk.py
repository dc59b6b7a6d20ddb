"""A disk that is full: no epoch is lost, nothing fails for good, the same command goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.drivers import SWEEP, Driver, ended_like, nothing_left, trials, undisturbed
from trainer.storage.trial_directory import TrialDirectory

Start = Callable[..., Driver]
STUB = "tests.faults.chained:train"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small filesystem of its own, where `start` puts its output."""
    place = tmp_path / "a" / "out"
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no filesystem can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """To the last byte."""
    path = disk / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 2**16)
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as stream:
        while True:
            stream.write(b"x")
    assert shutil.disk_usage(disk).free == 0
    return path


@pytest.mark.slow(reason="a whole sweep on a disk of its own")
def test_a_full_disk_stops_the_sweep_with_words_and_the_same_command_goes_on(
    start: Start, disk: Path, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, SWEEP, STUB)
    first = start(SWEEP, train=STUB, environment={"EPOCH_S": "0.5"})
    first.wait_until(lambda: first.epochs() >= 4)
    first.family()
    filler = fill(disk)
    assert first.wait() == 1, first.text
    assert "failed: OutOfSpace: " in first.text and "0 bytes are free" in first.text
    assert "Traceback" not in first.text
    before = trials(disk)
    assert all(trial.status in ("complete", "unfinished") for trial in before.values())
    assert sum(len(trial.records) for trial in before.values()) >= 4
    for trial in before.values():
        if trial.status == "unfinished":  # what was committed can be gone on from
            assert TrialDirectory(trial.path).resume_point() == (trial.records, [])
    nothing_left(first)

    full = start(SWEEP, train=STUB)
    assert full.wait() == 2, full.text
    assert "0 bytes are free; free some" in full.text and "Traceback" not in full.text
    nothing_left(full)

    os.unlink(filler)
    last = start(SWEEP, train=STUB, environment={"EPOCH_S": "0"})
    assert last.wait() == 0, last.text
    ended_like(last, whole)
    for name, trial in before.items():
        assert trials(disk)[name].records[: len(trial.records)] == trial.records
