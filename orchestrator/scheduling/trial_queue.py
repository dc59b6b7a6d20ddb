"""From suggestions to trials: one for each seed, none twice; ends are reported to the search.

This part of a sweep must be right after any crash, so it knows neither Ray nor clocks.  It reads
the ledger once.  After that its caller reports how attempts and trials end.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.current import searched
from orchestrator.search import Ended, Outcome, Suggestion, Suggestions, order
from trainer.config import ConfigError, TrainConfig

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

logger = logging.getLogger(__name__)

_ENDS = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Job:
    """One trial to train: a config with its seed, and the directory it trains into.

    `alone`: nothing else may use its device.
    """

    trial_id: str
    config: TrainConfig
    identity: dict[str, Any]
    directory: str
    alone: bool = False


@dataclass
class _Open:
    """A suggestion some of whose trials have not ended."""

    suggestion: Suggestion
    #: By trial id, in the order of the seeds; None until the trial has ended.
    outcomes: dict[str, Outcome | None]
    unfinished: int


class TrialQueue:
    """The trials of a sweep in the order of training; those that have most epochs come first.

    Args:
        identify: config -> its identity, at least `trial_id` and `config_id`.
        may_ask: whether the budget allows another configuration.  The remaining seeds of a
            configuration that has started are always trained.
        say: shows a message to the user.
        trials: the ledger's, if the caller has read them; it ignores those that confirm.
    """

    def __init__(
        self,
        spec: SweepSpec,
        ledger: Ledger,
        identify: Callable[[TrainConfig], dict[str, Any]],
        may_ask: Callable[[], bool] = lambda: True,
        say: Callable[[str], None] = lambda text: None,
        trials: Sequence[TrialRecord] | None = None,
    ):
        self.spec = spec
        self.suggestions = Suggestions(spec)
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
        self.stopping = False
        #: Why the sweep had to stop early; empty if it did not.
        self.error = ""
        trials = searched(ledger.trials() if trials is None else trials)
        self._outcomes = {t.trial_id: self._outcome(t) for t in trials if t.status in _ENDS}
        self._recall(trials)
        epochs = {t.trial_id: len(t.records) for t in trials if t.status not in _ENDS}
        ahead = sorted(self._queue, key=lambda job: epochs.get(job.trial_id, 0), reverse=True)
        self._queue = deque(ahead)
        #: How many of the trials that were queued at the start have committed epochs.
        self.started = sum(epochs.get(job.trial_id, 0) > 0 for job in ahead)

    def next(self) -> Job | None:
        """The next trial to train; None if there is none or the budget is spent."""
        if not self.has_next():
            return None
        job = self._queue.popleft()
        self._given[job.trial_id] = job
        return job

    def has_next(self) -> bool:
        """Whether a trial is left to train.  Asks the search for suggestions to find out."""
        if self.stopping:
            return False
        while not self._queue:
            suggestion = self.suggestions.ask() if self._may_ask() else None
            if suggestion is None:
                return False
            self._begin(suggestion)
        return True

    def stop(self) -> None:
        """Start no more trials; those that run can still end."""
        self.stopping = True

    def ended(self, trial_id: str) -> None:
        """A trial has its end record; the last trial of a suggestion ends that, too."""
        self._given.pop(trial_id, None)
        entry = self._open.pop(trial_id, None)
        if entry is None:
            return
        entry.outcomes[trial_id] = self._read(trial_id)
        entry.unfinished -= 1
        self.done += 1
        if not entry.unfinished:
            self._end(entry.suggestion, entry.outcomes)

    def lost(self, trial_id: str, reason: str) -> str | None:
        """An attempt ended without an end record: its process or node died, or an error passed.

        Queues the trial again, first in the line, and returns None.  After more than
        `resources.max_failures` such attempts in this run, fails it and returns the reason.
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
        """An attempt left a node that drains: queue the trial again, first in the line, and count
        no failure."""
        if (job := self._given.pop(trial_id, None)) is not None:
            self._queue.appendleft(job)

    def out_of_memory(self, trial_id: str, detail: str) -> str | None:
        """An attempt ran out of memory: queue the trial once more, alone on its device.

        The second time it fails the trial and returns the reason.
        """
        job = self._given.pop(trial_id, None)
        if job is None:
            return None
        if not job.alone:
            self._queue.append(replace(job, alone=True))
            return None
        return self._fail(job, f"out of memory even alone on its device: {detail}")

    def ended_suggestions(self) -> list[Ended]:
        """The suggestions all of whose trials have ended, the newest last.  Thread-safe."""
        return self._ended.copy()

    @property
    def trial_ids(self) -> list[str]:
        """All trials so far, in the order of their suggestions."""
        return list(self._trials)

    @property
    def planned(self) -> int:
        """How many trials the sweep will have; fewer if its space turns out to be small."""
        return len(self._trials) + self.suggestions.left * len(self.spec.search.seeds)

    def _recall(self, trials: Sequence[TrialRecord]) -> None:
        """Restore the suggestions recorded with the ledger's trials, in the order of their keys.

        A trial without a readable suggestion is found when its configuration is suggested again.
        """
        groups: dict[str, list[TrialRecord]] = {}
        for trial in trials:
            configuration = str(trial.identity.get("config_id", ""))
            if isinstance(trial.identity.get("suggestion"), dict) and configuration:
                groups.setdefault(configuration, []).append(trial)
        seeds = self.spec.search.seeds
        keys = {c: group[0].identity["suggestion"].get("key") for c, group in groups.items()}
        for configuration in sorted(groups, key=lambda name: order(keys[name])):
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
                self._add(suggestion, dict.fromkeys(names))
            else:
                jobs = self._jobs(suggestion)
                self._configurations.update(job.identity["config_id"] for job in jobs)
                self._add(suggestion, {job.trial_id: job for job in jobs})

    def _begin(self, suggestion: Suggestion) -> None:
        """Add a new suggestion, unless its configuration is known or cannot be trained."""
        jobs = self._jobs(suggestion)
        configuration = jobs[0].identity["config_id"] if jobs else ""
        if not jobs or configuration in self._configurations:
            if message := self.suggestions.reject(suggestion):
                self._say(message)
            return
        self._configurations.add(configuration)
        self.suggestions.accept(suggestion)
        self._add(suggestion, {job.trial_id: job for job in jobs})

    def _add(self, suggestion: Suggestion, jobs: dict[str, Job] | dict[str, None]) -> None:
        """Queue the unfinished trials of a suggestion; end it if there are none."""
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
            self._end(suggestion, outcomes)

    def _jobs(self, suggestion: Suggestion) -> list[Job]:
        """One job for each seed; none if the configuration is not valid."""
        jobs = []
        try:
            for seed in self.spec.search.seeds:
                config = self.spec.config_for(suggestion.params, seed)
                identity = {**self._identify(config), "suggestion": suggestion.record}
                trial_id = identity["trial_id"]
                jobs.append(Job(trial_id, config, identity, self.ledger.path(trial_id)))
        except ConfigError as error:
            logger.warning("suggestion %s is not a valid config: %s", suggestion.key, error)
            return []
        return jobs

    def _end(self, suggestion: Suggestion, outcomes: dict[str, Outcome | None]) -> None:
        known = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
        self._ended.append(self.suggestions.end(suggestion, known))

    def _fail(self, job: Job, reason: str) -> str:
        try:
            directory = self.ledger.directory(job.trial_id)
            if directory.config() is None:  # the trainer died before it wrote one
                described = {"config": job.config.to_dict(), "canonical": job.config.canonical()}
                directory.write_config({**described, **job.identity})
            self.ledger.close(job.trial_id, "failed", reason)
        except Exception as error:  # the next run finds it unfinished and resumes it
            logger.error("%s cannot be closed: %s", job.trial_id, error, exc_info=error)
        self.ended(job.trial_id)
        return reason

    def _read(self, trial_id: str) -> Outcome:
        """How a trial of this run ended; a trial that cannot be read counts as failed."""
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
