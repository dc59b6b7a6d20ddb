"""Minutes per epoch of the compared configurations, and minutes to the same score."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.compare.methods import Configuration
from orchestrator.compare.statistics.epochs_to_score import epochs_to_same_score
from orchestrator.decision.answer.answer import Bounded
from orchestrator.ledger.timing_sessions import Session, timings
from trainer.metrics import FIRST_CLOCK, clock_of

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord


class Minutes:
    """What is known of the minutes of a sweep's configurations.

    Only a session of `orch time` supports a ratio: there the configurations took turns.
    """

    def __init__(self, ledger: Ledger, trials: Sequence[TrialRecord]):
        self._ledger, self._trials = ledger, trials

    @cached_property
    def sessions(self) -> list[Session]:
        return timings(self._ledger)

    @property
    def problem(self) -> str:
        """Why there is no fair ratio."""
        if not self.sessions:
            return "not timed yet"
        return self.sessions[-1].problem or "other configurations were timed"

    def of_both(self, config_id: str, to: str) -> tuple[float | None, float | None]:
        """Minutes per epoch of two configurations, measured in the same way.

        They come from the session of their ratio, else from the trials' own records.
        """
        session = self._session(config_id, to)
        if session is not None:
            return session.minutes(config_id).minutes.value, session.minutes(to).minutes.value
        return self._own(config_id), self._own(to)

    def bounds(self, config_id: str, to: str) -> tuple[Bounded | None, Bounded | None]:
        """The same with their spread.

        From a session: 95 % intervals. From the trials' own records: the lowest and the highest
        mean of a trial.
        """
        session = self._session(config_id, to)
        if session is not None:
            timed = [session.minutes(each).minutes for each in (config_id, to)]
            one, other = (Bounded(each.value, each.low, each.high) for each in timed)
            return one, other
        return self._own_bounds(config_id), self._own_bounds(to)

    def timed(self, config_id: str, to: str) -> bool:
        """Whether minutes of both come from one session of `orch time`."""
        return self._session(config_id, to) is not None

    def _session(self, config_id: str, to: str) -> Session | None:
        """The newest quiet session that timed both."""
        for session in reversed(self.sessions):
            if not session.problem and {config_id, to} <= {c.config_id for c in session.configs}:
                return session
        return None

    def _own(self, config_id: str) -> float | None:
        """The mean of the trials' own minutes."""
        minutes = [each for own in self._own_records(config_id) for each in own]
        return statistics.fmean(minutes) if minutes else None

    def _own_bounds(self, config_id: str) -> Bounded | None:
        value = self._own(config_id)
        if value is None:
            return None
        means = [statistics.fmean(own) for own in self._own_records(config_id)]
        return Bounded(value, min(means), max(means))

    def _own_records(self, config_id: str) -> list[list[float]]:
        """Minutes of the epochs of each trial; those of the first clock only if no other exist."""
        trials = [trial.records for trial in self._of(config_id)]
        newest = [[r for r in own if clock_of(r) != FIRST_CLOCK] for own in trials]
        used = newest if any(newest) else trials
        return [[float(r["minutes_per_epoch"]) for r in own] for own in used if own]

    def ratio(self, config_id: str, to: str) -> Bounded | None:
        """Minutes per epoch of one configuration over those of another; None if not timed."""
        session = self._session(config_id, to)
        if session is None:
            return None
        ratio = session.ratio(config_id, to)
        return Bounded(ratio.value, ratio.low, ratio.high)

    def epochs(self, config_id: str, to: str, metric: str) -> list[tuple[float, float]]:
        """Epochs of both until each reaches the score that both reach, for each common seed."""
        one, other = (
            Configuration(each, {int(t.config["seed"]): t for t in self._of(each)})
            for each in (config_id, to)
        )
        seeds = sorted(one.trials.keys() & other.trials.keys())
        if not seeds:
            return []
        return [(float(a), float(b)) for a, b in epochs_to_same_score(one, other, seeds, metric)]

    def mean_epochs(self, config_id: str, to: str, metric: str) -> tuple[float, float] | None:
        """Epochs that each needs until both reach the same score: geometric means over seeds."""
        epochs = self.epochs(config_id, to, metric)
        if not epochs:
            return None
        ones, others = zip(*epochs, strict=True)
        return statistics.geometric_mean(ones), statistics.geometric_mean(others)

    def to_same_score(self, config_id: str, to: str, metric: str) -> Bounded | None:
        """The ratio of minutes until both reach the same score.

        Minutes per epoch and epochs are independent, so the variances of their logarithms add up.
        """
        ratio, epochs = self.ratio(config_id, to), self.epochs(config_id, to, metric)
        if ratio is None or ratio.low is None or ratio.high is None or not epochs:
            return None
        logs = [math.log(one / other) for one, other in epochs]
        value = ratio.value * math.exp(statistics.fmean(logs))
        if len(logs) < 2:
            return Bounded(value)
        from scipy import special

        quantile = float(special.stdtrit(len(logs) - 1, 0.975))
        of_epochs = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
        of_minutes = math.log(ratio.high / ratio.low) / 2
        width = math.hypot(of_epochs, of_minutes)
        return Bounded(value, value * math.exp(-width), value * math.exp(width))

    def _of(self, config_id: str) -> list[TrialRecord]:
        """Its complete trials."""
        return [
            trial
            for trial in self._trials
            if trial.status == "complete"
            and trial.records
            and trial.identity.get("config_id") == config_id
        ]
