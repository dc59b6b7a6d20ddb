"""What a sweep is doing, put together from the driver's events."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.ledger.driver_status import RUNNING, Best, DriverStatus, RunningTrial
from orchestrator.ledger.labels import label
from orchestrator.ledger.ledger import minutes_of
from orchestrator.progress.pace import Pace

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord
    from orchestrator.scheduling.job_queue import Job

#: Ended trials that stay in view.
_SHOWN_ENDED = 5


@dataclass
class _Scores:
    """The ended seeds of a configuration."""

    config: Any
    values: dict[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values.values())


class SweepState:
    """The status of a sweep, which any thread may read.

    Args:
        name: the sweep's.
        varied: dotted config keys in which the sweep's configurations differ.
        clock, now: return monotonic seconds, and seconds since 1970.
    """

    def __init__(
        self,
        name: str = "",
        varied: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ):
        self._varied, self._clock, self._now = varied, clock, now
        self._lock = threading.RLock()
        self._begun = clock()
        self._pace = Pace(clock)
        self._status = DriverStatus(name)
        self._running: dict[str, RunningTrial] = {}
        self._ended: deque[RunningTrial] = deque(maxlen=_SHOWN_ENDED)
        self._scores: dict[str, _Scores] = {}
        self._failed: set[str] = set()
        self._best: Best | None = None
        #: Trial-minutes of the search, and what they allow the decision.
        self._minutes = 0.0
        self._budget: Callable[[float], float] | None = None

    def belongs_to(self, holder: Mapping[str, Any]) -> None:
        """The driver that holds the sweep's lock (`SweepLock.holder`)."""
        self._set(**{key: holder[key] for key in ("host", "pid", "started")})

    def stage(
        self, name: str, look: int = 0, looks: int = 0, minutes_left: float | None = None
    ) -> None:
        """A stage begins, or the next look of the confirming one.

        Args:
            minutes_left: trial-minutes that confirming may still cost.
        """
        with self._lock:
            if name != self._status.stage:
                if self._status.stage == "search" and minutes_left is None:
                    minutes_left = self._minutes_left()
                self._pace = Pace(self._clock)
                self._failed = set()
                self._set(done=0, kept=0, planned=0)
            self._set(stage=name, look=look, looks=looks, decision_minutes_left=minutes_left)

    def will_confirm(self, budget: Callable[[float], float]) -> None:
        """The search is followed by confirming.

        Args:
            budget: from the trial-minutes of the search to those that confirming may cost.
        """
        self._budget = budget

    def doing(self, text: str) -> None:
        """What is being done besides training; empty: nothing."""
        self._set(doing=text)

    def stopping(self, text: str) -> None:
        """What a stop waits for."""
        self._set(stopping=text)

    def kept(self, trials: Iterable[TrialRecord]) -> None:
        """The search's trials of earlier runs."""
        with self._lock:
            for trial in trials:
                self._minutes += sum(map(minutes_of, trial.records))
                if trial.status == "failed":
                    self._failed.add(trial.trial_id)
                score = trial.summary.get("dev_score")
                if trial.status == "complete" and isinstance(score, int | float):
                    name = str(trial.identity.get("config_id", trial.trial_id))
                    self._score(name, trial.trial_id, trial.train_config, score)

    def total(self, done: int, planned: int) -> None:
        """Trials of the stage that have ended, and all of them; the first call has the kept."""
        with self._lock:
            if not self._status.planned:
                self._set(kept=done)
            self._pace.total(done, planned)
            self._set(done=done, planned=planned)

    def started(self, job: Job) -> None:
        """The trial has its worker."""
        with self._lock:
            self._running[job.trial_id] = replace(self._row(job), since=self._now())
            self._set(doing="")

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, Any], node: str = "") -> None:
        """The trial has committed an epoch on this host."""
        with self._lock:
            score, minutes = metrics.get("dev_score"), metrics.get("minutes_per_epoch")
            self._running[job.trial_id] = replace(
                self._row(job), epoch=epoch, dev_score=score, minutes=minutes, node=node
            )
            left, cost = self._status.decision_minutes_left, minutes_of(metrics)
            if self._status.stage == "search":
                self._minutes += cost
            elif left is not None:
                self._set(decision_minutes_left=max(0.0, left - cost))

    def ended(self, job: Job, status: str, score: float | None = None) -> None:
        """The attempt is over.

        Args:
            status: of the trial, or `stopped`.
            score: its dev_score, if it is complete.
        """
        with self._lock:
            row = self._row(job)
            self._running.pop(job.trial_id, None)
            last = row.dev_score if score is None else score
            self._ended.appendleft(replace(row, state=status, dev_score=last))
            if status == "failed":
                self._failed.add(job.trial_id)
            searched = self._status.stage != "confirming"  # its seeds would favour two of them
            if status == "complete" and score is not None and searched:
                name = str(job.identity.get("config_id", job.trial_id))
                self._score(name, job.trial_id, job.config, score)

    def lost(self, job: Job) -> None:
        """The attempt is over, and the trial waits for another one."""
        with self._lock:
            self._running.pop(job.trial_id, None)

    def status(self) -> DriverStatus:
        """The status at this moment."""
        with self._lock:
            now, before = self._now(), self._status
            return replace(
                before,
                running=len(self._running),
                waiting=max(0, before.planned - before.done - len(self._running)),
                failed=len(self._failed),
                trials=tuple(self._running.values()),
                ended=tuple(self._ended),
                best=self._best_so_far(),
                decision_minutes_left=self._minutes_left(),
                elapsed=round(self._clock() - self._begun, 1),
                seconds_left=self._pace.seconds_left(),
                heartbeat=round(now, 1),
            )

    def _set(self, **values: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **values)

    def _row(self, job: Job) -> RunningTrial:
        known = self._running.get(job.trial_id)
        text, seed = self._label(job.config), job.config.seed
        new = RunningTrial(
            job.trial_id, text, seed, 0, job.config.epochs, since=self._now(), state=RUNNING
        )
        return known or new

    def _label(self, config: Any) -> str:
        return label(config, self._varied)

    def _score(self, configuration: str, trial_id: str, config: Any, score: float) -> None:
        self._scores.setdefault(configuration, _Scores(config)).values[trial_id] = score
        self._best = None

    def _best_so_far(self) -> Best | None:
        """Of the configurations with most ended seeds, the one with the highest mean score."""
        if self._best is None and self._scores:
            best = max(self._scores.values(), key=lambda each: (len(each.values), each.mean))
            self._best = Best(self._label(best.config), best.mean, len(best.values))
        return self._best

    def _minutes_left(self) -> float | None:
        """Trial-minutes of the decision: what is left of them, or before it what they may be."""
        status = self._status
        if status.stage != "search" or self._budget is None or not (status.done and self._minutes):
            return status.decision_minutes_left
        return self._budget(self._minutes / status.done * status.planned)
