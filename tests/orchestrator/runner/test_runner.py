"""Attempts at trials in real Ray workers: what is tried again, what is closed, what is told."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil
import pytest

from orchestrator import runner
from orchestrator.ledger.trial_log import last_log
from tests.support.attempts import Sweep, make_spec
from tests.support.faulty import SEEDS
from tests.support.paths import ROOT
from trainer.storage.trial_directory import TrialDirectory


@pytest.fixture(scope="module")
def places() -> Iterator[int]:
    """Ray, without its memory monitor: what other processes take must end no worker here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        with runner.cluster(make_spec("nothing").resources, None) as places:
            yield places


@pytest.fixture(scope="module")
def faults(places: int, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """One sweep with a trial of every kind."""
    names = [name for name in SEEDS if name not in ("hog", "slow", "slow too")]
    return Sweep(make_spec(*names), tmp_path_factory.mktemp("faults"), places)


def test_nothing_listens_beyond_loopback(places: int) -> None:
    me = psutil.Process()
    open_to = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in (me, *me.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert open_to == {"127.0.0.1"}


def test_every_trial_ends_and_the_sweep_goes_on(faults: Sweep) -> None:
    assert faults.queue.error == ""
    names = {seed: name for name, seed in SEEDS.items()}
    limit = "its process died (attempt 2; resources.max_failures is 1)"
    memory = "out of memory even alone on its device: MemoryError: no room"
    ends = {names[seed]: (trial.status, trial.reason) for seed, trial in faults.trials.items()}
    assert ends == {
        "nothing": ("complete", ""),
        "once": ("complete", ""),
        "always": ("failed", "ValueError: a fault that stays"),
        "killed": ("complete", ""),
        "dying": ("failed", limit),
        "diverges": ("failed", "diverged"),
        "memory": ("complete", ""),
        "hungry": ("failed", memory),
        "warns": ("complete", ""),
        "no end": ("failed", "its training ended without an end record"),
    }


def test_a_passing_fault_is_tried_again_from_the_committed_epoch(faults: Sweep) -> None:
    assert len(faults.attempts("once")) == 2
    lines = faults.lines("once")
    assert lines[1].startswith("epoch 1/2")
    assert lines[2] == "is tried again from its last epoch: OSError: a passing fault"
    assert lines[-2].startswith("epoch 2/2") and lines[-1] == "complete"


def test_the_same_error_twice_is_not_tried_a_third_time(faults: Sweep) -> None:
    assert len(faults.attempts("always")) == 2


@pytest.mark.parametrize("fault", ["memory", "hungry"])
def test_what_does_not_fit_into_memory_is_tried_again_alone_in_a_new_process(
    faults: Sweep, fault: str
) -> None:
    first, alone = faults.attempts(fault)
    others = [first]
    for trial in faults.trials.values():
        if trial is not faults.trial(fault):
            others += faults.attempts(trial)
    assert alone["pid"] not in {other["pid"] for other in others}
    assert not [o for o in others if o["begin"] < alone["end"] and alone["begin"] < o["end"]]
    assert any("so it runs alone" in line for line in faults.lines(fault))


def test_a_warning_of_the_trainer_is_said_without_the_folder(faults: Sweep) -> None:
    assert "epoch 3 cannot be resumed from" in faults.lines("warns")


def test_every_attempt_leaves_its_log(faults: Sweep) -> None:
    directory = TrialDirectory(faults.trial("once").path)
    assert directory.names("logs") == ["001.txt", "002.txt"]
    first = (directory.read("logs/001.txt") or b"").decode()
    assert "attempt 1" in first and "Traceback" in first and "a passing fault" in first
    assert [line.split(maxsplit=2)[2] for line in last_log(directory)] == ["INFO attempt 2"]


def test_nothing_is_printed_where_the_answer_stands(faults: Sweep) -> None:
    """Ray explains itself on stdout whenever a worker dies."""
    assert faults.printed == ""
