"""Minutes an epoch that may be compared: from a timing session, or from trials that ran alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.compare.configurations import minutes_problem
from orchestrator.compare.methods import Configuration, Method
from orchestrator.compare.statistics.bootstrap import Draws, Seeds
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord
    from orchestrator.ledger.timing_intervals import Interval
    from orchestrator.ledger.timing_sessions import Session

#: Why minutes that trials took by themselves, even alone on the device, make no speed-up.
NOT_IN_TURN = "the trials' minutes were not taken in turn; orch time does that"
#: Beyond exp of this is no number.
_LARGE = 700.0


@dataclass(frozen=True)
class SpeedUp:
    """How many times as fast as the baseline: its minutes an epoch by the method's.

    `low` and `high` are None where one seed's minutes are all there is.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class FairMinutes:
    """Minutes an epoch by config id that compare with one another, or the `problem` that none do.

    They are a timing session's if one took two of the configurations, else the trials' own.
    """

    values: dict[str, float]
    problem: str = ""
    session: Session | None = None

    def draws(
        self, each: Configuration, method: Method, noise: Seeds, rng: np.random.Generator
    ) -> np.ndarray:
        """Draws (replicates,) of a configuration's minutes."""
        value = self.values[each.config_id]
        if self.session is None:
            logs = np.log([each.minutes(seed) for seed in method.seeds])
            return _exp(_without_examples(logs, method.seeds, noise).values)
        # Only ratios within the session count: the machine's speed is the same for all.
        first = next(iter(self.values))
        if each.config_id == first:
            return np.full(noise.replicates, value)
        ratio = self.session.ratio(each.config_id, first)
        return self.values[first] * _exp(_as_wide_as(ratio, rng, noise.replicates))

    def interval(self, each: Configuration, draws: np.ndarray) -> tuple[float, float]:
        """The 95 % interval of a configuration's minutes, of which there are these `draws`."""
        if self.session is None:
            return _ends(draws)
        found = self.session.minutes(each.config_id).minutes  # the draws are of ratios
        return found.low, found.high


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
    )
    if not problem and any(r["minutes_per_epoch"] <= 0 for t in trials for r in t.records):
        return "none measured"
    return problem


def fair_minutes(sessions: Sequence[Session], methods: Sequence[Method]) -> FairMinutes:
    """Minutes of the configurations of these methods."""
    tried = {each.config_id: (each, method) for method in methods for each in method.candidates}
    for session in reversed(sessions):
        ids = [each.config_id for each in session.configs if each.config_id in tried]
        if not session.problem and len(ids) > 1:
            values = {name: session.minutes(name).minutes.value for name in ids}
            return FairMinutes(values, session=session)
    trials = [each.trials[seed] for each, method in tried.values() for seed in method.seeds]
    problem = why_not_comparable(trials)
    if problem:
        return FairMinutes({}, problem)
    return FairMinutes(
        {
            name: math.exp(statistics.fmean(math.log(each.minutes(s)) for s in method.seeds))
            for name, (each, method) in tried.items()
        }
    )


def ratio_of_trials(
    one: np.ndarray, other: np.ndarray, seeds: Sequence[int], noise: Seeds
) -> SpeedUp:
    """From minutes (seeds,) of a method and of the baseline: the geometric mean over seeds."""
    logs = np.log(other / one)
    value, draws = math.exp(float(logs.mean())), _without_examples(logs, seeds, noise)
    if len(seeds) == 1:
        return SpeedUp(value, None, None)
    low, high = _exp(np.array(draws.interval(CONFIDENCE)))
    return SpeedUp(value, float(low), float(high))


def speed_up_of_session(
    sessions: Sequence[Session], one: str, other: str, rng: np.random.Generator, replicates: int
) -> tuple[SpeedUp, np.ndarray] | None:
    """From the newest session of `orch time` that took both configurations in turn, alone on the
    device, with draws (replicates,) of its logarithm."""
    from orchestrator.ledger.timing_sessions import fair_ratio

    ratio = fair_ratio(sessions, other, one)
    if ratio is None:
        return None
    found = SpeedUp(ratio.value, ratio.low, ratio.high)
    return found, _as_wide_as(ratio, rng, replicates)


def to_same_score(
    speed_up: SpeedUp, faster: np.ndarray, epochs: np.ndarray, seeds: Sequence[int], noise: Seeds
) -> SpeedUp:
    """How many times as fast to the same score: by minutes an epoch and by epochs together.

    Args:
        speed_up: of an epoch; `faster` are draws (replicates,) of its logarithm.
        epochs: (seeds, 2), how many the method and the baseline need (`reach`).
    """
    logs = np.log(epochs[:, 1] / epochs[:, 0])
    value = speed_up.value * math.exp(float(logs.mean()))
    if len(seeds) == 1:
        return SpeedUp(value, None, None)
    return SpeedUp(value, *_ends(_exp(_without_examples(logs, seeds, noise).values + faster)))


def _without_examples(values: np.ndarray, seeds: Sequence[int], noise: Seeds) -> Draws:
    """The distribution of a mean over seeds of what no dev example changes."""
    return noise.draws(seeds, values, np.tile(values, (noise.replicates, 1)))


def _as_wide_as(ratio: Interval, rng: np.random.Generator, replicates: int) -> np.ndarray:
    """Draws of a ratio's logarithm, as wide as its interval."""
    both = 2 * statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    width = math.log(ratio.high / ratio.low) / both
    return rng.normal(math.log(ratio.value), width, replicates)


def _exp(logs: np.ndarray) -> np.ndarray:
    """Of two seeds that differ, the t of one degree of freedom has tails beyond all numbers."""
    found: np.ndarray = np.exp(np.clip(logs, -_LARGE, _LARGE))
    return found
