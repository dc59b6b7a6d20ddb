"""Minutes per epoch of the compared configurations, and minutes to the same score."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.compare.methods import Configuration
from orchestrator.compare.statistics.epochs_to_score import epochs_to_same_score
from orchestrator.decision.answer import Bounded
from orchestrator.ledger.timing_sessions import Session, fair_ratio, timings

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

    def of(self, config_id: str) -> float | None:
        """Minutes per epoch: of the newest quiet session, else the mean of the trials' own."""
        for session in reversed(self.sessions):
            if not session.problem and config_id in {c.config_id for c in session.configs}:
                return session.minutes(config_id).minutes.value
        records = [r for t in self._of(config_id) for r in t.records]
        return statistics.fmean(r["minutes_per_epoch"] for r in records) if records else None

    def ratio(self, config_id: str, to: str) -> Bounded | None:
        """Minutes per epoch of one configuration over those of another; None if not timed."""
        ratio = fair_ratio(self.sessions, config_id, to)
        return None if ratio is None else Bounded(ratio.value, ratio.low, ratio.high)

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
