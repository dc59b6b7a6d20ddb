"""The end of a sweep: slow is not dead, and dead is not waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.search import PersistentStudy
from orchestrator.tracking import MlflowProjection, SweepDescription, background
from orchestrator.tracking.background import BackgroundProjection
from orchestrator.tracking.projections import StudyProjection

#: What stands for 30 s, and how long the projection takes.
_LIMIT_S, _LONG_S = 0.3, 1.5


class _Slow:
    """A projection with one long step; nothing of it is counted before its end."""

    name = "MLflow at sqlite:///m.db"
    projected = 0

    def __init__(self, step: Callable[[], object], *, is_local: bool):
        self.is_local = is_local
        self._step = step
        self.finished = threading.Event()

    def begin(self) -> None:
        pass

    def update(self, trial_ids: Iterable[str]) -> None:
        pass

    def finish(self, status: str, trial_ids: Iterable[str]) -> None:
        self._step()
        self.finished.set()


def _works() -> None:
    """A thread of which nothing is heard, and which has little of the machine."""
    end = time.monotonic() + _LONG_S
    while time.monotonic() < end:
        sum(range(10_000))


def _waits() -> None:
    time.sleep(_LONG_S)


def closed(slow: _Slow, said: list[str]) -> bool:
    under_way = BackgroundProjection(slow, said.append)
    under_way.start()
    return under_way.close("FINISHED", [])


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_END_S", _LIMIT_S)
    monkeypatch.setattr(background, "_AT_WORK_S", 0.001)


def test_a_local_database_is_waited_for_while_it_is_at_work() -> None:
    said: list[str] = []
    slow = _Slow(_works, is_local=True)
    assert closed(slow, said) and slow.finished.is_set()
    assert len(said) == 1 and "is slow" in said[0] and "Ctrl-C leaves" in said[0]


@pytest.mark.parametrize(("step", "is_local"), [(_waits, True), (_waits, False), (_works, False)])
def test_what_does_not_answer_is_given_up(step: Callable[[], object], is_local: bool) -> None:
    said: list[str] = []
    slow = _Slow(step, is_local=is_local)
    begun = time.monotonic()
    assert not closed(slow, said)
    assert time.monotonic() - begun < _LONG_S
    assert len(said) == 1 and "does not answer (no answer for 0.3 s)" in said[0]


def test_only_files_are_local(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "s")
    for uri, local in (("sqlite:///mlflow.db", True), ("http://h:1", False)):
        assert MlflowProjection(uri, SweepDescription("s"), ledger).is_local == local
    for uri, local in ((f"journal:{tmp_path}/j", True), ("postgresql+psycopg://h/o", False)):
        study = PersistentStudy(uri, "s", "id", {"dev_score": "max"})
        assert StudyProjection(study, list).is_local == local
