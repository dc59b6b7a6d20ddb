"""How a start of Ray is told, and how a start that fails."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import runner
from orchestrator.runner import auth_token, local_ray

#: The module; the package has a function of this name.
cluster = importlib.import_module("orchestrator.runner.cluster")


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Puts something in the place of `ray.init`."""

    def set_it(start: Callable[[], None]) -> None:
        monkeypatch.setattr(cluster, "_init", lambda *about: start())
        monkeypatch.setattr(cluster.ray, "shutdown", lambda: None)
        monkeypatch.setattr(auth_token, "is_set", lambda: True)

    return set_it


def _fails() -> None:
    raise RuntimeError("no room in /dev/shm\nand so on")


def test_a_ray_that_does_not_start_here_is_no_wrong_input(starts: Any) -> None:
    starts(_fails)
    with pytest.raises(runner.ClusterError) as caught, runner.joined(None):
        pass
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith("Ray does not start on this machine: no room in /dev/shm;")
    assert "orch doctor" in str(caught.value) and "same command again" in str(caught.value)


def test_a_cluster_that_does_not_answer_is_a_wrong_address(starts: Any) -> None:
    starts(_fails)
    with pytest.raises(runner.ClusterError) as caught, runner.joined("h:1"):
        pass
    assert caught.value.exit_code == 2
    assert str(caught.value) == "Ray does not start or answer at h:1: no room in /dev/shm"


def test_a_start_that_takes_long_is_told(starts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_TELL_S", 0.2)
    starts(lambda: time.sleep(0.5))
    said: list[str] = []
    with runner.joined(None, say=said.append):
        pass
    assert len(said) >= 1 and said[0] == "Ray is still starting: 0 s; Ctrl-C leaves"


def test_the_folder_is_the_users_alone_and_short_enough_for_sockets() -> None:
    folder = local_ray.temp_folder()
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        longest = "session_2026-11-29_12-28-35_524934_4194304/sockets/plasma_store"
        path = Path(str(folder).replace(f"-{os.getpid()}-", "-4194304-"))
        assert len(str(path / local_ray._RAYS_OWN / longest)) <= 107
    finally:
        folder.rmdir()
