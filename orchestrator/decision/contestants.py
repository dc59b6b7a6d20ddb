"""Which configuration stands for a method: the fastest of those that score as well as its best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.compare.methods import Configuration, counted_metric, method_name
from orchestrator.compare.statistics.pooled_variance import PriorVariance, pair_prior
from orchestrator.errors import UserError
from orchestrator.ledger.ledger import minutes_of
from orchestrator.ledger.trial_id import config_id

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord
    from orchestrator.spec import SweepSpec
    from orchestrator.spec.decide import DecideSpec


@dataclass(frozen=True)
class Candidates:
    """The complete configurations of one name in `decide.compare`, best first.

    Attributes:
        scores: the mean metric of each over the seeds that all of them have.
        seeds: how many these are.
    """

    name: str
    configurations: list[Configuration]
    scores: list[float]
    seeds: int

    def best(self) -> Configuration:
        return self.configurations[0]

    def fastest(self, error: float) -> Configuration:
        """The one with the fewest minutes per epoch among those within `error` of the best."""
        near = [
            each
            for each, score in zip(self.configurations, self.scores, strict=True)
            if score >= self.scores[0] - error
        ]
        return min(near, key=_minutes)


def of_name(trials: Iterable[TrialRecord], name: str) -> list[TrialRecord]:
    """The trials of a method, or of all methods whose names begin with `name`."""
    by_method: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        by_method.setdefault(method_name(trial.train_config), []).append(trial)
    if name in by_method:
        return by_method[name]
    return [t for key, group in by_method.items() if key.startswith(name) for t in group]


def candidates(trials: Iterable[TrialRecord], name: str, metric: str) -> Candidates:
    """The configurations that can stand for `name`.

    Only complete trials count.  A configuration with fewer seeds than the others is left out, so
    that one lucky seed does not beat three.  Raises `UserError` if there is none.
    """
    groups: dict[str, dict[int, TrialRecord]] = {}
    for trial in of_name(trials, name):
        if trial.status == "complete" and trial.records:
            seeds = groups.setdefault(str(trial.identity["config_id"]), {})
            seeds[int(trial.config["seed"])] = trial
    if not groups:
        raise UserError(f"{name}: no complete trial")
    most = max(map(len, groups.values()))
    full = [Configuration(key, group) for key, group in groups.items() if len(group) == most]
    common = set.intersection(*(set(each.trials) for each in full)) or None
    ranked = sorted(full, key=lambda each: (-each.mean(metric, common), each.config_id))
    return Candidates(name, ranked, [each.mean(metric, common) for each in ranked], most)


def prior_of(trials: Iterable[TrialRecord], metric: str) -> PriorVariance:
    """What the search's trials say about the variance of a paired difference."""
    scores: dict[str, dict[int, float]] = {}
    for trial in trials:
        if trial.status == "complete" and trial.records:
            seeds = scores.setdefault(str(trial.identity["config_id"]), {})
            seeds[int(trial.config["seed"])] = counted_metric(trial, metric)
    return pair_prior(list(scores.values()))


def standing_for(tried: Candidates, prior: PriorVariance, rule: str = "fastest") -> Configuration:
    """The configuration that stands for a method.

    Args:
        rule: `fastest` or `best`.
        prior: of the variance of a paired difference, which is twice that of a score.
    """
    if rule == "best" or not prior.df > 0:  # without a spread, nothing counts as equally good
        return tried.best()
    return tried.fastest(math.sqrt(prior.variance / 2 / tried.seeds))


def chosen(
    tried: Candidates, rule: str | Mapping[str, Mapping[str, Any]], prior: PriorVariance
) -> dict[str, Any]:
    """The params of the configuration that stands for a method, by `decide.choose`."""
    if isinstance(rule, Mapping):
        given = rule.get(tried.name)
        return dict(given) if given is not None else params_of(standing_for(tried, prior))
    return params_of(standing_for(tried, prior, rule))


def config_id_of(
    tried: Candidates, spec: SweepSpec, decide: DecideSpec, prior: PriorVariance
) -> str:
    """The id of the configuration that stands for a method, tried or not, by `decide.choose`."""
    if isinstance(decide.choose, str):
        return standing_for(tried, prior, decide.choose).config_id
    if tried.name not in decide.choose:
        return standing_for(tried, prior).config_id
    trial = next(iter(tried.best().trials.values()))
    config = spec.config_for(decide.choose[tried.name], int(trial.config["seed"]))
    return config_id(config, str(trial.identity.get("fingerprint")))


def params_of(configuration: Configuration) -> dict[str, Any]:
    """The params of a configuration, as the search suggested them."""
    trial = next(iter(configuration.trials.values()))
    suggestion = trial.identity.get("suggestion")
    if not isinstance(suggestion, dict) or not isinstance(suggestion.get("params"), dict):
        raise UserError(f"{trial.trial_id}: its config.json has no suggestion")
    return dict(suggestion["params"])


def _minutes(configuration: Configuration) -> float:
    return statistics.fmean(map(configuration.minutes, configuration.trials))


def minutes_of_a_trial(tried: Candidates, config_id: str) -> float:
    """What a trial of this configuration costs, or of all of them if it was never tried."""
    own = [each for each in tried.configurations if each.config_id == config_id]
    trials = [t for each in own or tried.configurations for t in each.trials.values()]
    return cost(trials) / len(trials)


def cost(trials: Sequence[TrialRecord]) -> float:
    """Minutes that these trials took in all: training, evaluation, checkpoints and set-up."""
    return math.fsum(minutes_of(record) for trial in trials for record in trial.records)
