"""A user who may start too few processes for Ray is told so before anything starts."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.preflight.process_limits import check_processes
from orchestrator.spec.models import ResourcesSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")
TWO = ResourcesSpec(cpu=1, max_concurrent=2)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with 40 threads in two processes, and another one with 900."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for pid, (user, threads) in {"1": (0, 900), "2": (1000, 30), "3": (1000, 10)}.items():
        (tmp_path / pid).mkdir()
        text = f"Name:\tx\nUid:\t{user}\t{user}\t{user}\t{user}\nThreads:\t{threads}\n"
        (tmp_path / pid / "status").write_text(text)
    return tmp_path


def limited(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))


def test_too_few_are_named_with_what_is_needed(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 249)
    with pytest.raises(SweepError, match="ulimit -u: 249 .* and 40 are there.* about 210 more"):
        check_processes(TWO, proc)


@pytest.mark.parametrize("limit", [250, resource.RLIM_INFINITY])
def test_enough_are_enough(proc: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    limited(monkeypatch, limit)
    check_processes(TWO, proc)


def test_the_limit_of_users_does_not_bind_root(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 10)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    check_processes(TWO, proc)


def test_the_limit_of_a_container_binds_everybody(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = proc / "group" / "inner"
    group.mkdir(parents=True)
    (proc / "group" / "pids.max").write_text("100\n")
    (proc / "group" / "pids.current").write_text("7\n")
    (group / "pids.max").write_text("max\n")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    (proc / "self").mkdir()
    monkeypatch.setattr("orchestrator.preflight.process_limits._ROOT", proc)
    (proc / "self" / "cgroup").write_text("1:name=systemd:/x\n0::/group/inner\n")
    with pytest.raises(SweepError, match=r"group/pids\.max: 100 .* and 7 are there"):
        check_processes(TWO, proc)
