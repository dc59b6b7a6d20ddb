"""Optuna's samplers, created for every draw with a seed of its own.

The state of a random generator would be lost in a crash.  So all randomness of a proposal comes
from (search.seed, key of the suggestion, name of the parameter).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

if TYPE_CHECKING:
    from orchestrator.spec import SearchSpec

#: System attribute of an Optuna trial in which NSGA-II keeps its generation.
GENERATION = NSGAIISampler._get_generation_key()
#: Algorithms that propose all parameters together; the others propose them one by one.
JOINT = ("gp", "nsga2")


class SeededSampler(BaseSampler):
    """Draws for the suggestion `key`; if `widened`, at random instead of by the algorithm.

    Args:
        joint: the parameters that are proposed together: all or none.
    """

    def __init__(self, search: SearchSpec, joint: dict[str, BaseDistribution]):
        self.key = ""
        self.widened = False
        #: NSGA-II's generation of the last suggestion.
        self.generation: int | None = None
        self._make = _maker(search)
        self._seed = search.seed
        self._joint = joint
        self._genetic = search.algorithm == "nsga2"

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        # Without this call, Optuna gives no generation to an entry with all values.
        if self._genetic:
            sampler = self._make(0)
            assert isinstance(sampler, NSGAIISampler)
            self.generation = sampler.get_trial_generation(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        # Optuna itself returns what all trials have in common: one enqueued value outside the
        # space would remove its parameter from the search for good.
        return {} if self.widened else self._joint

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        return self._sampler("").sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._sampler(param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _sampler(self, name: str) -> BaseSampler:
        text = f"{self._seed}:{self.key}:{name}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
        return RandomSampler(seed) if self.widened else self._make(seed)


def _maker(search: SearchSpec) -> Callable[[int], BaseSampler]:
    """Seed -> sampler.  `constant_liar` counts running suggestions as bad, which spreads them."""
    match search.algorithm:
        case "tpe":
            return lambda seed: TPESampler(seed=seed, constant_liar=True, multivariate=False)
        case "gp":
            return lambda seed: GPSampler(seed=seed, warn_independent_sampling=False)
        case "nsga2":
            return lambda seed: NSGAIISampler(seed=seed, population_size=search.population)
    return lambda seed: RandomSampler(seed=seed)
