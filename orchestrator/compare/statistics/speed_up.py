"""Minutes per epoch that may be compared: from a timing session, or trials that ran alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.compare.configurations import minutes_problem
from orchestrator.compare.methods import Configuration, Method
from orchestrator.compare.statistics.bootstrap import Draws, Estimate, Seeds
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE
from trainer.metrics import clock_of

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord
    from orchestrator.ledger.timing_intervals import Interval
    from orchestrator.ledger.timing_sessions import Session

#: Why the trials' own minutes support no claim, even if each trial was alone on the device.
NOT_IN_TURN = "the trials did not take turns on the device, as orch time makes them"
#: exp of more than this overflows.
_LARGE = 700.0


@dataclass(frozen=True)
class FairMinutes:
    """Comparable minutes per epoch by config id, or the `problem` that there are none.

    They come from a timing session if one timed two of the configurations, else from the trials.
    """

    values: dict[str, float]
    problem: str = ""
    session: Session | None = None

    def draws(self, each: Configuration, noise: Seeds, rng: np.random.Generator) -> np.ndarray:
        """Draws (replicates,) of a configuration's minutes."""
        value = self.values[each.config_id]
        if self.session is None:
            logs = np.log([each.minutes(seed) for seed in each.seeds])
            return _exp(_without_examples(logs, each.seeds, noise).values)
        # Only ratios within the session count, because the machine's speed is common to all.
        first = next(iter(self.values))
        if each.config_id == first:
            return np.full(noise.replicates, value)
        ratio = self.session.ratio(each.config_id, first)
        return self.values[first] * _exp(_as_wide_as(ratio, rng, noise.replicates))

    def interval(self, each: Configuration, draws: np.ndarray) -> tuple[float, float]:
        """The 95 % interval of a configuration's minutes, from its `draws`."""
        if self.session is None:
            return _ends(draws)
        minutes = self.session.minutes(each.config_id).minutes  # the draws are of ratios
        return minutes.low, minutes.high


def _ends(draws: np.ndarray) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def why_not_comparable(trials: Iterable[TrialRecord]) -> str:
    """Why the minutes of these trials do not compare; empty if they do."""
    trials = list(trials)
    problem = minutes_problem(
        (record["contended"] for trial in trials for record in trial.records),
        (str(trial.identity.get("device", "unknown")) for trial in trials),
        (str(trial.identity.get("threads", "unknown")) for trial in trials),
        (clock_of(record) for trial in trials for record in trial.records),
    )
    if not problem and any(r["minutes_per_epoch"] <= 0 for t in trials for r in t.records):
        return "none measured"
    return problem


def fair_minutes(sessions: Sequence[Session], methods: Sequence[Method]) -> FairMinutes:
    """Minutes of the configurations of these methods."""
    tried = {each.config_id: each for method in methods for each in method.candidates}
    for session in reversed(sessions):
        ids = [each.config_id for each in session.configs if each.config_id in tried]
        if not session.problem and len(ids) > 1:
            values = {name: session.minutes(name).minutes.value for name in ids}
            return FairMinutes(values, session=session)
    trials = [trial for each in tried.values() for trial in each.trials.values()]
    problem = why_not_comparable(trials)
    if problem:
        return FairMinutes({}, problem)
    return FairMinutes(
        {
            name: math.exp(statistics.fmean(math.log(each.minutes(s)) for s in each.seeds))
            for name, each in tried.items()
        }
    )


def ratio_of_trials(
    one: np.ndarray, other: np.ndarray, seeds: Sequence[int], noise: Seeds
) -> Estimate:
    """Minutes (seeds,) of a method over those of the baseline, geometric mean."""
    logs = np.log(one / other)
    value, draws = math.exp(float(logs.mean())), _without_examples(logs, seeds, noise)
    if len(seeds) == 1:
        return Estimate(value)
    low, high = _exp(np.array(draws.interval(CONFIDENCE)))
    return Estimate(value, float(low), float(high))


def ratio_of_session(
    sessions: Sequence[Session], one: str, other: str, rng: np.random.Generator, replicates: int
) -> tuple[Estimate, np.ndarray] | None:
    """Minutes of one configuration over those of another, from `orch time`.

    The newest quiet session that timed both counts. The ratio comes with draws (replicates,) of
    its logarithm. None if there is no such session.
    """
    from orchestrator.ledger.timing_sessions import fair_ratio

    ratio = fair_ratio(sessions, one, other)
    if ratio is None:
        return None
    draws = _as_wide_as(ratio, rng, replicates)
    return Estimate(ratio.value, ratio.low, ratio.high), draws


def to_same_score(
    per_epoch: Estimate, logs: np.ndarray, epochs: np.ndarray, seeds: Sequence[int], noise: Seeds
) -> Estimate:
    """Minutes to the same score over the baseline's: minutes per epoch and number of epochs.

    Args:
        per_epoch: the ratio of minutes per epoch.
        logs: draws (replicates,) of its logarithm.
        epochs: (seeds, 2), how many the method and the baseline need (`epochs_to_same_score`).
    """
    of_epochs = np.log(epochs[:, 0] / epochs[:, 1])
    value = per_epoch.value * math.exp(float(of_epochs.mean()))
    if len(seeds) == 1:
        return Estimate(value)
    draws = _without_examples(of_epochs, seeds, noise).values + logs
    return Estimate(value, *_ends(_exp(draws)))


def _without_examples(values: np.ndarray, seeds: Sequence[int], noise: Seeds) -> Draws:
    """The distribution of a mean over seeds of values that do not depend on dev examples."""
    return noise.draws(seeds, values, np.tile(values, (noise.replicates, 1)))


def _as_wide_as(ratio: Interval, rng: np.random.Generator, replicates: int) -> np.ndarray:
    """Draws of a ratio's logarithm, as wide as its interval."""
    both = 2 * statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    width = math.log(ratio.high / ratio.low) / both
    return rng.normal(math.log(ratio.value), width, replicates)


def _exp(logs: np.ndarray) -> np.ndarray:
    """exp without overflow: with two seeds, the t distribution has extremely long tails."""
    values: np.ndarray = np.exp(np.clip(logs, -_LARGE, _LARGE))
    return values
