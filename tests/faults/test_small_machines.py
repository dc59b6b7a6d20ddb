"""Machines that give little: few open files, few processes, hardly any shared memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.drivers import SWEEP, Driver, ended_like, undisturbed

STUB = "tests.faults.chained:train"
Start = Callable[..., Driver]
QUICK = {"EPOCH_S": "0.1"}
#: A command in a mount namespace of its own, with so much shared memory.
TINY = 'mount -t tmpfs -o size={} tmpfs /dev/shm && exec "$@"'
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return undisturbed(tmp_path_factory.mktemp("whole"), cache, SWEEP, STUB)


def works(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.exhaustive(reason="a whole sweep for each limit")
@pytest.mark.parametrize("files", [256, 128])
def test_few_open_files_are_enough(start: Start, whole: Path, files: int) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")
    limited = ("prlimit", f"--nofile={files}:{files}")
    driver = start(SWEEP, train=STUB, environment=QUICK, before=limited)
    assert driver.wait() == 0, driver.text
    ended_like(driver, whole)


@pytest.mark.exhaustive(reason="a whole sweep for each size")
@pytest.mark.parametrize("size", ["1m", "64m"])
def test_little_shared_memory_is_enough(start: Start, whole: Path, size: str) -> None:
    inside = ("unshare", "--mount", "sh", "-c", TINY.format(size), "sh")
    if not works(*inside, "true"):
        pytest.skip("no filesystem can be mounted here")
    driver = start(SWEEP, train=STUB, environment=QUICK, before=inside)
    assert driver.wait() == 0, driver.text
    ended_like(driver, whole)


@pytest.mark.exhaustive(reason="a whole sweep of a plain user")
def test_too_few_processes_are_told_before_anything_starts(
    start: Start, whole: Path, tmp_path: Path, cache: Path
) -> None:
    if not works(*NOBODY, sys.executable, "-c", "import subprocess, sys; "
                 "subprocess.run([sys.executable, '-c', ''], check=True)"):  # fmt: skip
        pytest.skip("a plain user cannot run this interpreter")
    home = tmp_path / "a"
    for folder in (home, *tmp_path.parents[:2], tmp_path, cache):
        folder.mkdir(exist_ok=True)
        os.chmod(folder, 0o777)
    limited = ("prlimit", "--nproc=150:150", *NOBODY)
    environment = {**QUICK, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    first = start(SWEEP, train=STUB, environment=environment, before=limited)
    assert first.wait() == 2, first.text
    assert "ulimit -u: 150 processes" in first.text and "Traceback" not in first.text
    assert not (first.out / "s").exists()
    last = start(SWEEP, train=STUB, environment=environment, before=NOBODY)
    assert last.wait() == 0, last.text
    ended_like(last, whole)
