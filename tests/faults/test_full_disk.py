"""A disk that is full: no epoch is lost, nothing fails for good, the same command goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.drivers import ROOT, SWEEP, Driver, ended_like, nothing_left, trials, undisturbed
from trainer.storage.trial_directory import TrialDirectory

Start = Callable[..., Driver]
STUB = "tests.faults.chained:train"
FILLING = Path(__file__).parent / "filling"
SMALL = SWEEP | {"search": SWEEP["search"] | {"num_trials": 1}}


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


#: Kinds of files that a sweep writes -> the exit code of the run that cannot write them.
KINDS = {
    "*/s/lock": 2, "*/s/sweep.yaml": 2, "*/s/origin.json": 2, "*/s/driver.log": 0,
    "*/s/status.json": 0, "*/config.json": 1, "*/checkpoints/*": 1, "*/predictions/*": 1,
    "*/epochs/*": 1, "*/end.json": 1, "*/trials/*/logs/*": 0, "*/optuna.journal": 0,
    "*/mlflow.db*": 0, "*/mlartifacts*": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole_small(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return undisturbed(tmp_path_factory.mktemp("small"), cache, SMALL, STUB)


@pytest.mark.exhaustive(reason="two sweeps for each kind of file")
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_for_one_kind_of_file_is_mended_by_the_next_run(
    start: Start, whole_small: Path, tmp_path: Path, kind: str
) -> None:
    """Whatever finds no room: no traceback, nothing half-written, no trial failed."""
    flag = tmp_path / "full"
    flag.touch()
    path = os.pathsep.join(map(str, (FILLING, ROOT)))
    environment = {"FULL_FOR": kind, "FULL_WHILE": str(flag), "PYTHONPATH": path, "EPOCH_S": "0"}
    first = start(SMALL, train=STUB, environment=environment)
    code = first.wait()
    assert "Traceback" not in first.text, first.text
    assert code == KINDS[kind], first.text
    assert code == 0 or "No space left" in first.text or "disk" in first.text, first.text
    assert all(trial.status != "failed" for trial in trials(first.out).values())
    flag.unlink()
    last = start(SMALL, train=STUB, environment={"EPOCH_S": "0"})
    assert last.wait() == 0, last.text
    ended_like(last, whole_small)


@pytest.mark.exhaustive(reason="a whole sweep on a disk of its own")
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
