"""Which parameters matter for the best scores: PED-ANOVA (Watanabe et al., IJCAI 2023), with its
extension to conditional parameters."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import create_trial

from orchestrator.search.distributions import plain

#: The best group has at least so many configurations; with fewer the result is not stable.
TOP = 5
#: Fewer configurations give no result: the best five would be more than a quarter of them.
FEWEST = 20
#: Resampled and shuffled repetitions that show the uncertainty.
_DRAWS = 100
#: A parameter whose values spread over more than this factor gets a logarithmic scale.
_WIDE = 20.0


def importances(
    params: Sequence[Mapping[str, Any]], values: Sequence[float], direction: str
) -> dict[str, float]:
    """The importance of every parameter that varies, largest first; the sum is 1.

    It measures how much a parameter's distribution among the best tenth (at least `TOP`) differs
    from that among all.  The result is empty if there are fewer than `FEWEST` configurations, or if
    nothing varies.

    Args:
        params: the acting parameters of every configuration.
        values: of every configuration, finite.
        direction: `max` or `min`.
    """
    distributions = _distributions(params)
    if len(values) < FEWEST or not distributions or len(set(values)) < 2:
        return {}
    # Loads all of scikit-learn, which no sweep needs.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = optuna.create_study(direction="maximize" if direction == "max" else "minimize")
    study.add_trials(
        [
            create_trial(
                params={n: plain(each[n]) for n in distributions if n in each},
                distributions={n: d for n, d in distributions.items() if n in each},
                value=value,
            )
            for each, value in zip(params, values, strict=True)
        ]
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, TOP / len(values)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(raw.values())
    if not total > 0:  # nothing distinguishes the best; Optuna would give all the same importance
        return {}
    # In Optuna's result the order of equal values is random.
    ranked = sorted(raw.items(), key=lambda pair: (-pair[1], pair[0]))
    return {name: value / total for name, value in ranked}


@dataclass(frozen=True)
class Importance:
    """How important a parameter seems, and how sure that is.

    Attributes:
        value: its share, 0 to 1.
        low, high: 95 % of the shares over resampled configurations (bootstrap).
        chance: its largest share in a hundred shuffles of the values, in which no parameter
            matters.
    """

    value: float
    low: float
    high: float
    chance: float

    @property
    def told_apart(self) -> bool:
        """Whether the share is larger than chance alone makes it."""
        return self.value > self.chance


def uncertain_importances(
    params: Sequence[Mapping[str, Any]], values: Sequence[float], direction: str
) -> dict[str, Importance]:
    """`importances` with their uncertainty; the arguments are the same.

    The best few of a hundred configurations differ from the others in something even if no
    parameter matters.  So a share means something only beside what chance gives.
    """
    found = importances(params, values, direction)
    if not found:
        return {}
    rng = np.random.default_rng(0)  # the same ledger, the same page
    resampled, shuffled = [], []
    for _ in range(_DRAWS):
        chosen = rng.integers(0, len(values), len(values))
        resampled.append(
            importances([params[n] for n in chosen], [values[n] for n in chosen], direction)
        )
        shuffled.append(importances(params, rng.permutation(values).tolist(), direction))
    return {
        name: Importance(
            value,
            low=_quantile(resampled, name, 0.025),
            high=_quantile(resampled, name, 0.975),
            chance=_quantile(shuffled, name, 1.0),
        )
        for name, value in found.items()
    }


def _quantile(draws: Sequence[Mapping[str, float]], name: str, share: float) -> float:
    return float(np.quantile([draw.get(name, 0.0) for draw in draws], share))


def _distributions(params: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """The tried range of each parameter that varies; two numbers are choices."""
    distributions: dict[str, BaseDistribution] = {}
    for name in dict.fromkeys(name for each in params for name in each):
        tried = {plain(each[name]) for each in params if name in each}
        if len(tried) < 2:
            continue
        numbers = [v for v in tried if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < len(tried) or len(tried) < 3:
            distributions[name] = CategoricalDistribution(sorted(tried, key=str))
            continue
        low, high = min(numbers), max(numbers)
        log = low > 0 and high / low > _WIDE
        if all(isinstance(v, int) for v in numbers):
            distributions[name] = IntDistribution(int(low), int(high), log=log)
        else:
            distributions[name] = FloatDistribution(float(low), float(high), log=log)
    return distributions
