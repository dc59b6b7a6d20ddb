"""The driver's side of attempts, and a worker's, without Ray."""

from __future__ import annotations

import errno
import logging
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger.trial_log import KEPT_LINES, AttemptLog, last_log
from orchestrator.runner.attempt import Report
from orchestrator.scheduling.outcome import outcome_of
from orchestrator.spec.models import ResolvedSpec
from tests.support import faulty
from tests.support.attempts import Driver
from tests.support.ledgers import epoch
from trainer.loop.device import PrecisionError
from trainer.storage.trial_directory import TrialDirectory


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt goes to the driver's folder and sets the number of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))


def test_a_trial_that_is_alone_waits_for_the_others_and_they_for_it(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "memory", "nothing", "warns", entries=2)
    attempts = driver.attempts
    first, second = driver.begin("a"), driver.begin("b")
    assert first and second
    attempts.ended("a", Report(error="MemoryError: no room", kind="memory", ended=True))
    third = driver.begin("c")
    assert third and third._order["trial_id"] != first._order["trial_id"]
    assert driver.begin("d") is None
    for name, attempt in (("b", second), ("c", third)):
        assert driver.begin("e") is None
        while not (report := attempt.epoch()).ended:
            pass
        attempts.ended(name, report)
    alone = driver.begin("f")
    assert alone and attempts.active["f"].alone
    assert alone._order["trial_id"] == first._order["trial_id"]
    assert driver.begin("g") is None


def test_a_stopped_sweep_begins_nothing_and_leaves_its_trials_unfinished(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing", "warns")
    attempt = driver.begin("a")
    assert attempt
    report = attempt.epoch()
    assert driver.attempts.stop() == 1
    driver.attempts.ended("a", report)
    assert driver.begin("b") is None and not driver.attempts.active
    assert driver.status(attempt) is None


def test_a_trial_that_fails_while_the_sweep_stops_is_left_for_its_next_run(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing", max_failures=0)
    attempt = driver.begin("a")
    assert attempt and driver.attempts.stop() == 1
    driver.attempts.died("a", "it was told to end too")
    assert driver.status(attempt) is None
    assert "stopped: its process died" in driver.said.getvalue()


def test_a_worker_that_comes_late_is_not_waited_for(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing")
    assert driver.attempts.next("a")
    assert driver.attempts.stop() == 0
    driver.attempts.started("a")
    assert not driver.attempts.running


def test_a_trial_that_tune_stops_is_pruned(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing")
    attempt = driver.begin("a")
    assert attempt
    driver.attempts.ended("a", attempt.epoch())
    end = TrialDirectory(attempt._order["directory"]).end()
    assert end and (end["status"], end["reason"]) == ("pruned", "stopped by asha after epoch 1")


def test_a_full_disk_fails_no_trial_and_stops_the_sweep(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing", "warns")
    attempt = driver.begin("a")
    assert attempt
    driver.attempts.ended("a", Report(error="OutOfSpace: 3 GB are needed", kind="space"))
    assert driver.status(attempt) is None
    assert driver.begin("b") is None
    assert driver.queue.error.startswith("OutOfSpace: 3 GB are needed; free some space, ")


@pytest.mark.parametrize("kind", ["folder", "limit"])
def test_a_folder_or_machine_that_gives_nothing_more_fails_no_trial(
    kind: str, tmp_path: Path
) -> None:
    driver = Driver(tmp_path, "nothing", "warns")
    attempt = driver.begin("a")
    assert attempt
    driver.attempts.ended("a", Report(error="OSError: no", kind=kind, ended=True))
    assert driver.status(attempt) is None and driver.begin("b") is None
    assert driver.queue.error.startswith("OSError: no; ")
    assert driver.queue.error.endswith(", then run the same command again")


def test_an_error_that_cannot_be_recorded_costs_its_own_trial_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(*given: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "trials/x")

    driver = Driver(tmp_path, "nothing", "warns")
    for _ in range(2):
        attempt = driver.begin("a")
        assert attempt
        monkeypatch.setattr(driver.queue.ledger, "close", close)
        driver.attempts.ended("a", Report(error="PermissionError: no", ended=True))
    assert driver.begin("b") and not driver.queue.error
    outcome = outcome_of(driver.queue.ledger, [driver.queue], interrupted=False)
    reason = outcome.failed[attempt._order["trial_id"]]
    assert reason.startswith("PermissionError: no; ") and "Permission denied" in reason
    assert outcome.exit_code == 1


def test_a_host_that_would_emulate_fails_no_trial_and_stops_the_sweep(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing", "warns")
    attempt = driver.begin("a")
    assert attempt
    driver.attempts.ended("a", Report(error="PrecisionError: not here", kind="host", ended=True))
    assert driver.status(attempt) is None
    assert driver.begin("b") is None
    assert driver.queue.error == "PrecisionError: not here"


@pytest.mark.parametrize(("precision", "expected"), [("auto", "fp32"), ("bf16", None)])
def test_a_trial_of_auto_gets_the_precision_of_its_sweep(
    precision: str, expected: str | None, tmp_path: Path
) -> None:
    driver = Driver(tmp_path, "nothing")
    resolved = ResolvedSpec(precision="fp32")
    driver.attempts.spec = driver.spec.model_copy(update={"resolved": resolved})
    job = driver.queue.next()
    assert job is not None
    order = driver.attempts._order(replace(job, config=replace(job.config, precision=precision)))
    assert order["identity"].get("precision") == expected


def test_a_trial_whose_folder_cannot_be_used_stops_no_other(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing", "warns")
    attempt = driver.begin("a")
    assert attempt
    directory = Path(attempt._order["directory"])
    directory.parent.mkdir(parents=True)
    directory.write_text("in the way")
    driver.attempts.ended("a", Report(epoch=1))
    assert driver.queue.unkept.keys() == {directory.name} and not driver.queue.error
    assert driver.begin("b")


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "read-only"), ValueError("anything")])
def test_what_cannot_be_told_or_closed_stops_the_handing_out(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*given: Any) -> None:
        raise error

    driver = Driver(tmp_path, "nothing", "warns")
    assert driver.begin("a")
    monkeypatch.setattr(driver.queue.ledger, "end", end)
    driver.attempts.ended("a", Report(epoch=1))
    assert "cannot be closed" in driver.queue.error
    assert driver.begin("b") is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "memory"),
        (OSError(errno.ENOMEM, "no"), "memory"),
        (OSError(errno.ENOSPC, "no"), "space"),
        (OSError(errno.EROFS, "no"), "folder"),
        (OSError(errno.ESTALE, "no"), "folder"),
        (OSError(errno.EMFILE, "no"), "limit"),
        (BlockingIOError(errno.EAGAIN, "no"), "limit"),
        (RuntimeError("can't start new thread"), "limit"),
        (PermissionError(errno.EACCES, "no"), "error"),
        (PrecisionError("no bf16", "go elsewhere"), "host"),
        (RuntimeError("anything"), "error"),
    ],
)
def test_an_error_is_reported_with_its_kind(
    error: Exception, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*given: Any) -> None:
        raise error

    driver = Driver(tmp_path, "nothing")
    attempt = driver.begin("a")
    assert attempt
    monkeypatch.setattr(faulty, "_work", work)
    report = attempt.epoch()
    assert (report.kind, report.ended) == (kind, True)
    assert report.error == f"{type(error).__name__}: {error}"


def test_a_report_holds_what_the_driver_reads_and_no_more(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing")
    attempt = driver.begin("a")
    assert attempt
    report = attempt.epoch()
    record = epoch(1, 0.5, 1.0, False)
    metrics = {name: record[name] for name in report.metrics}
    assert report == Report(1, metrics, host=socket.gethostname())
    assert {"dev_score", "minutes_per_epoch"} <= set(report.metrics)
    assert attempt.epoch().ended


def test_a_log_keeps_its_newest_lines(tmp_path: Path) -> None:
    directory = TrialDirectory(tmp_path)
    assert last_log(directory) == []
    AttemptLog(directory).close()
    assert directory.names("logs") == []
    log = AttemptLog(directory)
    for number in range(3 * KEPT_LINES):
        logging.getLogger("trainer").info("line %d", number)
    log.close()
    lines = last_log(directory)
    assert len(lines) == KEPT_LINES and lines[-1].endswith(f"INFO line {3 * KEPT_LINES - 1}")
    logging.getLogger("trainer").warning("nobody listens")
    assert last_log(directory) == lines


def test_a_warning_is_in_the_log_before_the_attempt_ends(tmp_path: Path) -> None:
    directory = TrialDirectory(tmp_path)
    log = AttemptLog(directory)
    logging.getLogger("trainer").warning("%s: look here", directory.path)
    assert last_log(directory)[0].endswith("look here")
    assert log.warnings() == ["look here"] and log.warnings() == []
    log.close()


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    log = AttemptLog(TrialDirectory(tmp_path))
    logging.getLogger("trainer").warning("look here")
    assert log.warnings() == ["look here"]
    log.close()
