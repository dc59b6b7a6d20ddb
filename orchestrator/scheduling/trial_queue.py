"""From suggestions to trials: one for each seed, none twice; ends are reported to the search.

It reads the ledger once.  After that its caller reports how attempts and trials end.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.current import searched
from orchestrator.scheduling.job_queue import Job, JobQueue
from orchestrator.search import Ended, Outcome, Suggestion, Suggestions, order
from trainer.config import ConfigError, TrainConfig

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

logger = logging.getLogger(__name__)

_ENDS = ("complete", "pruned", "failed")


@dataclass
class _Open:
    """A suggestion some of whose trials have not ended."""

    suggestion: Suggestion
    #: By trial id, in the order of the seeds; None until the trial has ended.
    outcomes: dict[str, Outcome | None]
    unfinished: int


class TrialQueue(JobQueue):
    """The search's trials in the order of training; those that have most epochs come first.

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
        super().__init__(ledger, spec.resources.max_failures)
        self.spec = spec
        self.suggestions = Suggestions(spec)
        self._identify = identify
        self._may_ask = may_ask
        self._say = say
        self._open: dict[str, _Open] = {}
        self._trials: dict[str, None] = {}
        self._configurations: set[str] = set()
        self._ended: list[Ended] = []
        #: The budget ended before the search did.
        self.cut_short = False
        trials = searched(ledger.trials() if trials is None else trials)
        self._outcomes = {t.trial_id: self._outcome(t) for t in trials if t.status in _ENDS}
        self._recall(trials)
        epochs = {t.trial_id: len(t.records) for t in trials if t.status not in _ENDS}
        ahead = sorted(self._queue, key=lambda job: epochs.get(job.trial_id, 0), reverse=True)
        self._queue = deque(ahead)
        #: How many of the trials that were queued at the start have committed epochs.
        self.started = sum(epochs.get(job.trial_id, 0) > 0 for job in ahead)

    def has_next(self) -> bool:
        """Whether a trial is left to train.  Asks the search for suggestions to find out."""
        if self.stopping:
            return False
        while not self._queue:
            if not self._may_ask():
                self.cut_short = self.suggestions.left > 0
                return False
            suggestion = self.suggestions.ask()
            if suggestion is None:
                return False
            self._begin(suggestion)
        return True

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
        logger.info("suggestion %s: %s", suggestion.key, suggestion.params)
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

    def _read(self, trial_id: str) -> Outcome:
        """How a trial of this run ended; a trial that cannot be read counts as failed."""
        reason = ""
        try:
            trial = self.ledger.trial(trial_id)
            reason = "" if trial else self.ledger.why_unreadable(trial_id)
        except Exception as error:  # one directory must not stop the others
            logger.error("%s cannot be read: %s", trial_id, error, exc_info=error)
            trial, reason = None, str(error)
        if trial is None:
            self.unkept.setdefault(trial_id, reason or "its folder has no config.json")
            return Outcome("failed", (math.nan,) * len(self.spec.search.objectives), 0)
        return self._outcome(trial)

    def _outcome(self, trial: TrialRecord) -> Outcome:
        values = tuple(trial.value(metric) for metric in self.spec.search.objectives)
        return Outcome(trial.status, values, len(trial.records))
