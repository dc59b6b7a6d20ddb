"""Which parameters matter for reaching the best scores: PED-ANOVA (Watanabe et al., IJCAI 2023),
with its extension to parameters that act under a condition only."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import create_trial

#: The best of so many are what the importance is about; with fewer it says nothing stable.
TOP = 5
#: Configurations below which nothing is said: their best five would be more than a quarter.
FEWEST = 20
#: Numbers that spread over more than this factor are seen on a logarithmic scale.
_WIDE = 20.0


def importances(
    params: Sequence[Mapping[str, Any]], values: Sequence[float], direction: str
) -> dict[str, float]:
    """The importance of every parameter that varies, largest first; they add up to 1.

    It tells how much a parameter's distribution among the best tenth (at least `TOP`) differs
    from that among all.  A parameter may be missing where it does not act.

    Args:
        params: of every configuration, those that act.
        values: of every configuration, finite.
        direction: `max` or `min`.

    Empty with fewer than `FEWEST` configurations, and where nothing varies.
    """
    distributions = _distributions(params)
    if len(values) < FEWEST or not distributions or len(set(values)) < 2:
        return {}
    # Brings all of scikit-learn, which no sweep needs.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = optuna.create_study(direction="maximize" if direction == "max" else "minimize")
    study.add_trials(
        [
            create_trial(
                params={n: _plain(found[n]) for n in distributions if n in found},
                distributions={n: d for n, d in distributions.items() if n in found},
                value=value,
            )
            for found, value in zip(params, values, strict=True)
        ]
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, TOP / len(values)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(found.values())
    if not total > 0:  # where nothing tells the best apart, Optuna would call all alike important
        return {}
    # Optuna leaves the order of equals to chance.
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return {name: value / total for name, value in ranked}


def _distributions(params: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Of the parameters that vary, as far as was tried; numbers with two values are choices."""
    found: dict[str, BaseDistribution] = {}
    for name in dict.fromkeys(name for each in params for name in each):
        tried = {_plain(each[name]) for each in params if name in each}
        if len(tried) < 2:
            continue
        numbers = [v for v in tried if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < len(tried) or len(tried) < 3:
            found[name] = CategoricalDistribution(sorted(tried, key=str))
            continue
        low, high = min(numbers), max(numbers)
        log = low > 0 and high / low > _WIDE
        if all(isinstance(v, int) for v in numbers):
            found[name] = IntDistribution(int(low), int(high), log=log)
        else:
            found[name] = FloatDistribution(float(low), float(high), log=log)
    return found


def _plain(value: Any) -> Any:
    """A list or mapping goes by its JSON text."""
    if isinstance(value, bool | int | float | str | None):
        return value
    return json.dumps(value, sort_keys=True)
