"""What others see of a driver: its status while it lives, and nothing once it is gone."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.ledger.driver_status import (
    STALE_S,
    STATUS,
    Best,
    DriverStatus,
    Live,
    RunningTrial,
    live_trial,
    read_status,
    write_status,
)
from orchestrator.ledger.listing import find_trial, sweep_summary, trial_summaries
from orchestrator.ledger.sweep_lock import SweepLock
from tests.support.ledgers import write_trial
from trainer.storage import local_folder


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, "s")


def status_of(lock: SweepLock, **values: object) -> DriverStatus:
    own = {key: lock.holder[key] for key in ("host", "pid", "started")}
    return DriverStatus.from_dict({"name": "s", **own, **values})


def test_a_status_is_read_as_it_was_written(ledger: Ledger) -> None:
    running = RunningTrial("arrp-1", "arrp λ=0.5, seed 3", 3, 1, 4, 0.5, 0.02, 12.5, "node1")
    with SweepLock(ledger.folder) as lock:
        status = status_of(
            lock, stage="search", done=3, kept=1, running=1, waiting=5, failed=1, planned=9,
            trials=[vars(running)], best=vars(Best("arrp", 0.61, 3)), seconds_left=None,
        )  # fmt: skip
        assert write_status(ledger.folder, status)
        assert read_status(ledger) == status
        assert status.trials == (running,) and status.best == Best("arrp", 0.61, 3)


def test_without_a_driver_there_is_no_status(ledger: Ledger) -> None:
    assert read_status(ledger) is None
    with SweepLock(ledger.folder) as lock:
        write_status(ledger.folder, status_of(lock))
        here = ledger.folder.local
        assert here is not None
        content = (here / "lock").read_text()
    assert read_status(ledger) is None
    dead = json.loads(content) | {"process_start": "another boot:1"}
    (here / "lock").write_text(json.dumps(dead))
    assert read_status(ledger) is None


def test_a_driver_that_could_write_nothing_lives_all_the_same(ledger: Ledger) -> None:
    """Its lock says so; what an earlier driver or anything else left in the file is not its."""
    with SweepLock(ledger.folder) as lock:
        for content in (None, b"", b"[1]", b'{"name": "s", "pid": 1, "trials": [3]}'):
            if content is not None:
                ledger.folder.write(STATUS, content)
            status = read_status(ledger)
            assert status is not None
            assert (status.pid, status.stage, status.trials) == (os.getpid(), "start", ())
            assert status.started == lock.holder["started"]


def test_another_hosts_driver_lives_while_its_status_is_fresh(ledger: Ledger) -> None:
    here = ledger.folder.local
    assert here is not None
    with SweepLock(ledger.folder) as lock:
        other = lock.holder | {"host": "elsewhere"}
        (here / "lock").write_text(json.dumps(other))
        assert read_status(ledger) is None  # it has written nothing yet
        write_status(ledger.folder, status_of(lock, host="elsewhere", heartbeat=1000.0))
        fresh = read_status(ledger, now=lambda: 1000 + STALE_S - 1)
        assert fresh is not None and fresh.host == "elsewhere"
        assert read_status(ledger, now=lambda: 1000 + STALE_S + 1) is None
        (here / "lock").unlink()


def test_a_file_that_cannot_be_written_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a file where the folder should be")
    assert not write_status(Ledger(tmp_path, "s").folder, DriverStatus("s"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_or_read_only_disk_raises_nothing(
    code: int, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(local_folder, "write_whole", refuse)
    assert not write_status(ledger.folder, DriverStatus("s"))


def test_unfinished_trials_run_or_wait_while_a_driver_lives(ledger: Ledger, tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    complete = write_trial(sweep, [0.5, 0.6], sampler="arrp")
    first = write_trial(sweep, [0.5], status=None, sampler="arrp", seed=1)
    second = write_trial(sweep, [0.5], status=None, sampler="arrp", seed=2)

    def statuses() -> dict[str, str]:
        return {row["trial_id"]: row["status"] for row in trial_summaries(Live.of(ledger).reading)}

    assert statuses() == {complete: "complete", first: "unfinished", second: "unfinished"}
    with SweepLock(ledger.folder) as lock:
        trial = RunningTrial(second, "arrp", 2, 1, 2)
        status = status_of(lock, trials=[vars(trial)], running=1, waiting=7, planned=9, done=1)
        write_status(ledger.folder, status)
        assert statuses() == {complete: "complete", first: "waiting", second: "running"}
        counts = sweep_summary(ledger, Live.of(ledger))["trials"]
        assert counts == {"complete": 1, "running": 1, "waiting": 7}
        assert live_trial(find_trial(ledger, second), read_status(ledger)).status == "running"
    assert statuses()[second] == "unfinished"
    assert sweep_summary(ledger, Live.of(ledger))["trials"] == {"complete": 1, "unfinished": 2}
