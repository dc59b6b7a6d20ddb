"""SIGINT and SIGTERM: the first lets trials commit their epoch, the second stops at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import ray
from ray import tune

from orchestrator.interrupts import SAME_S, answered, during
from orchestrator.runner.attempts import Attempts
from orchestrator.runner.draining import Draining
from orchestrator.signals import handled

#: If trials wait and none runs, we look at Ray's nodes every so many seconds.
_IDLE_S = 15.0


class Stopping(tune.Stopper):
    """Tune asks it after every result and every step whether to stop.

    After the first signal no trial starts, and each that runs ends with its current epoch.  When
    all have ended, or after `resources.grace_seconds`, it raises KeyboardInterrupt.  A trial on a
    node that drains ends there after the epoch that it has committed.
    """

    def __init__(self, attempts: Attempts, draining: Draining | None = None):
        self._attempts = attempts
        self._draining = draining
        self._grace = attempts.spec.resources.grace_seconds
        self._say = attempts.progress.say
        self._first = self._until = 0.0
        self._idle_since = 0.0
        self._waiting = False
        self.signals = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if self._draining is not None:
            self._draining.placed(trial_id, result["node"])
            if self._draining.leaves(trial_id):
                self._attempts.leave(trial_id)
        return self._attempts.stopping or trial_id in self._attempts.leaving

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore that we never make

    def stop_all(self) -> bool:
        self.signals = max(self.signals, self._attempts.progress.stops_asked)
        if self.signals and not self._attempts.stopping:
            self._begin()
        if self._draining is not None:
            self._draining.look()
        if self.signals > 1 or (self._attempts.stopping and self._over()):
            raise KeyboardInterrupt
        if self._attempts.running or not self._attempts.active:
            self._idle_since = 0.0
        elif self._idle():
            self._look_at_nodes()
        return False

    def _idle(self) -> bool:
        """Whether it is time to look again."""
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        if now - self._idle_since < _IDLE_S:
            return False
        self._idle_since = now
        return True

    def _look_at_nodes(self) -> None:
        """Tune waits for nodes without a limit.  But if none is left, Ray itself is gone."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not nodes:
            raise RuntimeError("Ray's daemon has died; run the same command again to continue")
        wanted = self._attempts.spec.resources
        room = any(n.get("CPU", 0) >= wanted.cpu and n.get("GPU", 0) >= wanted.gpu for n in nodes)
        if not room and not self._waiting:
            self._say("no node of the cluster has room for a trial; waiting for one")
        self._waiting = not room

    def _begin(self) -> None:
        promise = self.promise()
        self._attempts.stop()
        self._until = time.monotonic() + self._grace
        if not answered():
            self._attempts.progress.stopping(promise)

    def promise(self) -> str:
        """What a stop waits for, and how long at most."""
        running = len(self._attempts.running)
        if not running:
            return "stopping: no trial is in an epoch"
        who = "1 trial may commit its" if running == 1 else f"{running} trials may commit their"
        return f"stopping: {who} epoch within {self._grace:g} s; a second signal stops at once"

    def _over(self) -> bool:
        return not self._attempts.running or time.monotonic() >= self._until

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Count signals while a sweep runs; raises KeyboardInterrupt if there was one."""

        def note(number: int, frame: FrameType | None) -> None:
            now = time.monotonic()
            if self.signals and now - self._first < SAME_S:
                return
            self.signals += 1
            self._first = self._first or now
            if self.signals > 1:
                raise KeyboardInterrupt

        with handled(note), during(self.promise, None):
            yield
        if self.signals:
            raise KeyboardInterrupt
