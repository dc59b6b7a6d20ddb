"""SIGTERM is heard while Ray's processes end, which takes a second."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from types import SimpleNamespace

import pytest
import ray

import orchestrator.runner.cluster  # noqa: F401
from orchestrator.signals import handled

cluster = sys.modules["orchestrator.runner.cluster"]


def test_a_signal_while_rays_processes_end_reaches_its_handler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[int] = []
    ended: list[bool] = []

    def end_processes(check_alive: bool) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        ended.append(check_alive)

    node = SimpleNamespace(kill_all_processes=end_processes)

    def shutdown() -> None:
        # What Ray 2.60 does, seen in /proc/PID/status.
        ctypes.CDLL(None).signal(int(signal.SIGTERM), None)
        node.kill_all_processes(check_alive=False)

    monkeypatch.setattr(ray._private.worker, "_global_node", node)
    monkeypatch.setattr(ray, "shutdown", shutdown)
    with handled(lambda number, frame: heard.append(number), signal.SIGTERM):
        cluster._shut_down()
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM, signal.SIGTERM] and ended == [False]
