"""What others on the machine may do with what a sweep makes, and a sweep in a hostile shell."""

from __future__ import annotations

import copy
import os
import stat
import time
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.ledger import Ledger
from orchestrator.tracking.projections import sync
from tests.support.command import orch
from tests.support.drivers import PATIENCE_S, SWEEP, Driver, mlflow_runs, trials, undisturbed
from tests.support.hostile import HOSTILE

#: Bits of the group and of others.
_WRITE, _ANY = 0o022, 0o077


def small(**changes: Any) -> dict[str, Any]:
    sweep = copy.deepcopy(SWEEP)
    sweep["search"] = {"algorithm": "list", "seeds": [1]}
    sweep["base"]["sampler"] = "round_robin"
    return {**sweep, "space": {}, "enqueue": [{}], "tracking": {}} | changes


def paths(*tops: Path) -> Iterator[Path]:
    for top in tops:
        yield top
        yield from (path for path in top.rglob("*") if not path.is_symlink())


def allowing(bits: int, *tops: Path) -> list[str]:
    """What of these folders allows the group or others one of these bits."""
    return [
        f"{stat.filemode(mode)} {path}"
        for path in paths(*tops)
        if (mode := path.stat().st_mode) & bits
    ]


@pytest.fixture
def umask() -> Iterator[Callable[[int], object]]:
    before = os.umask(0o022)
    try:
        yield os.umask
    finally:
        os.umask(before)


@pytest.mark.exhaustive(reason="trains, projects and exports under two umasks: a minute")
@pytest.mark.parametrize(("mask", "bits"), [(0o022, _WRITE), (0o077, _ANY)])
def test_files_allow_others_what_the_umask_says(
    tmp_path: Path, umask: Callable[[int], object], mask: int, bits: int
) -> None:
    umask(mask)
    made = tmp_path / "made"
    made.mkdir()
    out = undisturbed(made, made / "cache", small())
    sync(Ledger(out, "s"), {}, print)
    for command in (
        ("report", "s", "-o", "report.html"),
        ("pack", "s", "-o", "s.tar.xz"),
        ("export", "table", "s", "-o", "table.parquet"),
        ("export", "model", "s", "-o", "model"),
        ("evaluate", "s"),
    ):
        assert orch(*command, "--out", str(out), cwd=made).returncode == 0, command
    names = {path.name for path in paths(made)}
    assert names >= {"mlflow.db", "optuna.journal", "s.tar.xz", "table.parquet", "report.html"}
    assert allowing(bits, made) == []


def ray_folders(driver: Driver) -> list[Path]:
    return list(Path("/tmp").glob(f"orch-ray-{driver.process.pid}-*"))


def named_shared_memory(process: psutil.Process) -> list[str]:
    """Paths in /dev/shm that the process has mapped and that others can find there."""
    maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[-1] for line in maps if "/dev/shm/" in line}
    return sorted(path for path in paths if not path.endswith("(deleted)"))


def test_shared_memory_with_a_name_is_found() -> None:
    memory = SharedMemory(create=True, size=4096)
    try:
        assert f"/dev/shm/{memory.name}" in named_shared_memory(psutil.Process())
    finally:
        memory.close()
        memory.unlink()


@pytest.mark.slow(reason="a whole sweep on Ray")
def test_a_sweep_in_a_hostile_shell_is_its_own_and_the_users_alone(
    start: Callable[..., Driver], tmp_path: Path, umask: Callable[[int], object]
) -> None:
    umask(0o022)
    driver = start(small(), environment=HOSTILE)
    end = time.monotonic() + PATIENCE_S
    while " started:" not in driver.text:
        assert driver.process.poll() is None and time.monotonic() < end, driver.text
        time.sleep(0.1)
    tops = ray_folders(driver)
    assert tops and [stat.filemode(top.stat().st_mode) for top in tops] == ["drwx------"] * len(
        tops
    )
    root = psutil.Process(driver.process.pid)
    for process in (root, *root.children(recursive=True)):
        try:
            sockets = [each.laddr for each in process.net_connections("unix") if each.laddr]
            written = [file.path for file in process.open_files() if file.mode != "r"]
            shared = named_shared_memory(process)
        except (psutil.NoSuchProcess, FileNotFoundError):
            continue
        assert not shared, "nothing with a name lies in shared memory"
        for path in (*sockets, *written):
            inside = any(str(path).startswith(f"{top}/") for top in tops)
            open_to_others = os.path.exists(path) and os.stat(path).st_mode & 0o002
            assert inside or not open_to_others or str(path).startswith("/dev/"), path

    assert driver.wait() == 0, driver.text
    (trial,) = trials(driver.out).values()
    assert trial.status == "complete" and trial.config["threads"] == 1
    assert mlflow_runs(driver.out) == {trial.trial_id: ("FINISHED", [1, 2, 3])}
    assert "environment: MKL_CBWR may change" in driver.text
    assert "Traceback" not in driver.text and len(driver.text) < 5_000
    assert allowing(_WRITE, driver.out) == []
    assert ray_folders(driver) == []
