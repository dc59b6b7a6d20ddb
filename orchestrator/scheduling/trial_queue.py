"""From suggestions to trials: one a seed, none twice, and what ended is told.

This is the part of a sweep that must be right after any crash, so it knows neither Ray nor clocks:
it reads the ledger once, and it is told when an attempt at a trial or the trial itself ended.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.search import Ended, Outcome, Suggestion, Suggestions, order
from trainer.config import ConfigError, TrainConfig

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

logger = logging.getLogger(__name__)

_ENDS = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Job:
    """One trial to train: a config with its seed, and the directory it trains into.

    `alone` asks for a device that nothing else uses.
    """

    trial_id: str
    config: TrainConfig
    identity: dict[str, Any]
    directory: str
    alone: bool = False


@dataclass
class _Open:
    """A suggestion with its trials, in the order of the seeds; those that run have no outcome."""

    suggestion: Suggestion
    outcomes: dict[str, Outcome | None]
    waiting: int


class TrialQueue:
    """Gives out the trials of a sweep, those begun earlier first.

    Args:
        identify: config -> its identity, at least `trial_id` and `config_id`.
        may_ask: whether new configurations may still be begun (the budget); the seeds of those
            already begun are always given.
        say: is given a line for the user: that the space is exhausted.
        trials: the ledger's, if the caller has read them.
    """

    def __init__(
        self,
        spec: SweepSpec,
        suggestions: Suggestions,
        ledger: Ledger,
        identify: Callable[[TrainConfig], dict[str, Any]],
        may_ask: Callable[[], bool] = lambda: True,
        say: Callable[[str], None] = lambda text: None,
        trials: Sequence[TrialRecord] | None = None,
    ):
        self.spec = spec
        self.suggestions = suggestions
        self.ledger = ledger
        self._identify = identify
        self._may_ask = may_ask
        self._say = say
        self._queue: deque[Job] = deque()
        self._given: dict[str, Job] = {}
        self._open: dict[str, _Open] = {}
        self._trials: dict[str, None] = {}
        self._configurations: set[str] = set()
        self._lost: dict[str, int] = {}
        self._ended: list[Ended] = []
        #: How many of `trial_ids` have ended.
        self.done = 0
        #: Set by `stop`: nothing more is given out.
        self.stopping = False
        #: Why the handout had to stop before its end; empty if it did not.
        self.error = ""
        trials = ledger.trials() if trials is None else trials
        self._outcomes = {t.trial_id: self._outcome(t) for t in trials if t.status in _ENDS}
        self._recall(trials)
        epochs = {t.trial_id: len(t.records) for t in trials if t.status not in _ENDS}
        ahead = sorted(self._queue, key=lambda job: epochs.get(job.trial_id, 0), reverse=True)
        self._queue = deque(ahead)
        #: How many of the trials that were queued at the start have committed epochs.
        self.begun = sum(epochs.get(job.trial_id, 0) > 0 for job in ahead)

    def next(self) -> Job | None:
        """The next trial to train, or None: everything is given out (or the budget is spent)."""
        if not self.has_next():
            return None
        job = self._queue.popleft()
        self._given[job.trial_id] = job
        return job

    def has_next(self) -> bool:
        """Whether something is left to train; this may make the suggestions it takes to know."""
        if self.stopping:
            return False
        while not self._queue:
            suggestion = self.suggestions.ask() if self._may_ask() else None
            if suggestion is None:
                return False
            self._begin(suggestion)
        return True

    def stop(self) -> None:
        """Give out nothing more; what was given out can still end."""
        self.stopping = True

    def ended(self, trial_id: str) -> None:
        """Take note that a trial has its end record; tells the suggestion that waited for it."""
        self._given.pop(trial_id, None)
        entry = self._open.pop(trial_id, None)
        if entry is None:
            return
        entry.outcomes[trial_id] = self._read(trial_id)
        entry.waiting -= 1
        self.done += 1
        if not entry.waiting:
            self._tell(entry.suggestion, entry.outcomes)

    def lost(self, trial_id: str, reason: str) -> str | None:
        """An attempt ended without an end record: its process or node died, or a passing error.

        Queues the trial again, first in the line, and returns None while it has had at most
        `resources.max_failures` such attempts in this run; else fails it and returns why.
        """
        job = self._given.pop(trial_id, None)
        if job is None:
            return None
        count = self._lost[trial_id] = self._lost.get(trial_id, 0) + 1
        limit = self.spec.resources.max_failures
        if count <= limit:
            self._queue.appendleft(job)
            return None
        return self._fail(job, f"{reason} (attempt {count}; resources.max_failures is {limit})")

    def moved(self, trial_id: str) -> None:
        """An attempt left a node that drains: queues the trial again, first in the line, which
        counts as no failure."""
        if (job := self._given.pop(trial_id, None)) is not None:
            self._queue.appendleft(job)

    def out_of_memory(self, trial_id: str, detail: str) -> str | None:
        """An attempt did not fit into memory: once more, alone; then fails it and returns why."""
        job = self._given.pop(trial_id, None)
        if job is None:
            return None
        if not job.alone:
            self._queue.append(replace(job, alone=True))
            return None
        return self._fail(job, f"out of memory, alone on its device too: {detail}")

    def ended_suggestions(self) -> list[Ended]:
        """Those all of whose trials have ended, also in earlier runs.  Safe in any thread.

        New ones come last.
        """
        return self._ended.copy()

    @property
    def trial_ids(self) -> list[str]:
        """Trials of this sweep in the order of their suggestions, ended or not."""
        return list(self._trials)

    @property
    def planned(self) -> int:
        """How many trials the sweep will have, as far as is known: a small space has fewer."""
        return len(self._trials) + self.suggestions.left * len(self.spec.search.seeds)

    def _recall(self, trials: Sequence[TrialRecord]) -> None:
        """Take up the suggestions that the ledger's trials carry, in order of their keys.

        A trial without one (or with one of another shape) is found when it is suggested again.
        """
        groups: dict[str, list[TrialRecord]] = {}
        for trial in trials:
            record, configuration = trial.identity.get("suggestion"), _configuration(trial)
            if isinstance(record, dict) and configuration:
                groups.setdefault(configuration, []).append(trial)
        seeds = self.spec.search.seeds
        for configuration in sorted(groups, key=lambda name: _order(groups[name][0])):
            group = groups[configuration]
            try:
                suggestion = self.suggestions.recall(group[0].identity["suggestion"])
            except ValueError as error:
                logger.warning("%s: %s", group[0].path, error)
                continue
            by_seed = {trial.config.get("seed"): trial.trial_id for trial in group}
            names = [by_seed.get(seed, "") for seed in seeds]
            self._configurations.add(configuration)
            if all(name in self._outcomes for name in names):
                self._take_up(suggestion, dict.fromkeys(names))
            else:
                jobs = self._jobs(suggestion)
                self._configurations.update(job.identity["config_id"] for job in jobs)
                self._take_up(suggestion, {job.trial_id: job for job in jobs})

    def _begin(self, suggestion: Suggestion) -> None:
        """Take up a new suggestion, unless its configuration is known or cannot be trained."""
        jobs = self._jobs(suggestion)
        configuration = jobs[0].identity["config_id"] if jobs else ""
        if not jobs or configuration in self._configurations:
            if text := self.suggestions.reject(suggestion):
                self._say(text)
            return
        self._configurations.add(configuration)
        self.suggestions.accept(suggestion)
        self._take_up(suggestion, {job.trial_id: job for job in jobs})

    def _take_up(self, suggestion: Suggestion, jobs: dict[str, Job] | dict[str, None]) -> None:
        """Queue the trials of a suggestion that have not ended; answer it if all have."""
        outcomes = {trial_id: self._outcomes.get(trial_id) for trial_id in jobs}
        missing = [trial_id for trial_id, outcome in outcomes.items() if outcome is None]
        entry = _Open(suggestion, outcomes, len(missing))
        for trial_id in missing:
            job = jobs[trial_id]
            assert job is not None
            self._queue.append(job)
            self._open[trial_id] = entry
        self._trials.update(dict.fromkeys(outcomes))
        self.done += len(outcomes) - len(missing)
        if not missing:
            self._tell(suggestion, outcomes)

    def _jobs(self, suggestion: Suggestion) -> list[Job]:
        """One job a seed; none if the suggestion makes no valid config."""
        jobs = []
        try:
            for seed in self.spec.search.seeds:
                config = self.spec.config_for(suggestion.params, seed)
                identity = {**self._identify(config), "suggestion": suggestion.record}
                trial_id = identity["trial_id"]
                jobs.append(Job(trial_id, config, identity, self.ledger.path(trial_id)))
        except ConfigError as error:
            logger.warning("suggestion %s is no valid config: %s", suggestion.key, error)
            return []
        return jobs

    def _tell(self, suggestion: Suggestion, outcomes: dict[str, Outcome | None]) -> None:
        known = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
        self._ended.append(self.suggestions.tell(suggestion, known))

    def _fail(self, job: Job, reason: str) -> str:
        try:
            directory = self.ledger.directory(job.trial_id)
            if directory.config() is None:  # it died before its first word: say what it was
                told = {"config": job.config.to_dict(), "canonical": job.config.canonical()}
                directory.write_config({**told, **job.identity})
            self.ledger.close(job.trial_id, "failed", reason)
        except Exception as error:  # a next run finds it unfinished and goes on with it
            logger.error("%s could not be closed: %s", job.trial_id, error, exc_info=error)
        self.ended(job.trial_id)
        return reason

    def _read(self, trial_id: str) -> Outcome:
        """How a trial of this run ended; one that cannot be read has failed as far as we know."""
        try:
            trial = self.ledger.trial(trial_id)
        except Exception as error:  # one directory must not stop the others
            logger.error("%s cannot be read: %s", trial_id, error, exc_info=error)
            trial = None
        if trial is None:
            return Outcome("failed", (math.nan,) * len(self.spec.search.objectives), 0)
        return self._outcome(trial)

    def _outcome(self, trial: TrialRecord) -> Outcome:
        values = tuple(trial.value(metric) for metric in self.spec.search.objectives)
        return Outcome(trial.status, values, len(trial.records))


def _configuration(trial: TrialRecord) -> str:
    return str(trial.identity.get("config_id", ""))


def _order(trial: TrialRecord) -> tuple[bool, int, str]:
    return order(trial.identity["suggestion"].get("key"))
