"""From suggestions to trials: one a seed, none twice, and what ended is told.

This is the part of a sweep that must be right after any crash, so it knows neither Ray nor clocks:
it reads the ledger, and it is told when a trial ended.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import Ledger
from orchestrator.search import Suggestion, Suggestions
from trainer.config import ConfigError, TrainConfig

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One trial to train: a config with its seed, and the directory it trains into."""

    trial_id: str
    config: TrainConfig
    identity: dict[str, Any]
    directory: str


@dataclass
class _Open:
    """A suggestion and those of its trials that have not ended; `told` if Optuna knows its end."""

    suggestion: Suggestion
    trial_ids: list[str]
    waiting: set[str] = field(default_factory=set)


class Handout:
    """Gives out the trials of a sweep, those begun earlier first.

    `identify` maps a config to its identity: at least `trial_id`.  `may_ask` answers whether new
    suggestions may still be begun (the budget); the seeds of those already begun are always given.
    """

    def __init__(
        self,
        spec: SweepSpec,
        suggestions: Suggestions,
        ledger: Ledger,
        identify: Callable[[TrainConfig], dict[str, Any]],
        may_ask: Callable[[], bool] = lambda: True,
    ):
        self.spec = spec
        self.suggestions = suggestions
        self.ledger = ledger
        self._identify = identify
        self._may_ask = may_ask
        self._queue: deque[Job] = deque()
        self._open: list[_Open] = []
        self._given: set[str] = set()
        #: Trials of this sweep in the order of their suggestions, ended or not.
        self.trial_ids: list[str] = []
        #: Why the handout had to stop before its end; empty if it did not.
        self.error = ""
        for suggestion in suggestions.earlier():
            self._begin(suggestion)
        self._queue = deque(sorted(self._queue, key=self._committed, reverse=True))

    def next(self) -> Job | None:
        """The next trial to train, or None: everything is given out (or the budget is spent)."""
        return self._queue.popleft() if self.has_next() else None

    def has_next(self) -> bool:
        """Whether something is left to train; this may make the suggestions it takes to know."""
        while not self._queue:
            suggestion = self.suggestions.ask() if self._may_ask() else None
            if suggestion is None:
                return False
            self._begin(suggestion)
        return True

    def ended(self, trial_id: str) -> None:
        """Take note that a trial has its end record; tells the suggestions that waited for it."""
        for entry in self._open:
            entry.waiting.discard(trial_id)
        for entry in [e for e in self._open if not e.waiting]:
            self._open.remove(entry)
            self._tell(entry)

    @property
    def done(self) -> int:
        """How many of `trial_ids` have ended."""
        return len(self.trial_ids) - len(set().union(*(entry.waiting for entry in self._open)))

    @property
    def begun(self) -> int:
        """How many of the queued trials have committed epochs."""
        return sum(self._committed(job) > 0 for job in self._queue)

    @property
    def planned(self) -> int:
        """How many trials the sweep will have, as far as is known: repeats make it fewer."""
        ahead = self.spec.search.num_trials
        if self.spec.search.algorithm == "list":
            ahead = min(ahead, len(self.spec.enqueue))
        begun = self.suggestions.begun()
        return len(self.trial_ids) + max(0, ahead - begun) * len(self.spec.search.seeds)

    def _begin(self, suggestion: Suggestion) -> None:
        """Queue the trials of a suggestion that have not ended; answer it if all have."""
        jobs = self._jobs(suggestion)
        if not jobs:
            return
        entry = _Open(suggestion, [job.trial_id for job in jobs])
        for job in jobs:
            if job.trial_id not in self.trial_ids:
                self.trial_ids.append(job.trial_id)
            if self.ledger.end(job.trial_id) is not None:
                continue
            entry.waiting.add(job.trial_id)
            if job.trial_id not in self._given:
                self._given.add(job.trial_id)
                self._queue.append(job)
        if entry.waiting:
            self._open.append(entry)
        else:
            self._tell(entry)

    def _jobs(self, suggestion: Suggestion) -> list[Job]:
        """One job a seed; a suggestion that makes no valid config is told as failed."""
        jobs = []
        try:
            for seed in self.spec.search.seeds:
                config = self.spec.config_for(suggestion.params, seed)
                identity = self._identify(config)
                trial_id = identity["trial_id"]
                jobs.append(Job(trial_id, config, identity, self.ledger.path(trial_id)))
        except ConfigError as error:
            logger.warning("suggestion %d is no valid config: %s", suggestion.number, error)
            self.suggestions.tell(suggestion.number, ["failed"], [])
            return []
        return jobs

    def _tell(self, entry: _Open) -> None:
        if entry.suggestion.finished:
            return  # trained again because a directory or a seed was missing; its end stays as told
        trials = [self.ledger.trial(trial_id) for trial_id in entry.trial_ids]
        states = [trial.status if trial else "failed" for trial in trials]
        metrics = list(self.spec.search.objectives)
        values = [[t.value(metric) for metric in metrics] for t in trials if t is not None]
        self.suggestions.tell(entry.suggestion.number, states, values)

    def _committed(self, job: Job) -> int:
        """Epochs a trial has behind it; sorting by it is stable, so ties keep their order."""
        return len(self.ledger.directory(job.trial_id).records())
