"""Two simulated methods, and what `orch compare` finds out about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.compare.compare_methods import compare_methods
from orchestrator.compare.configurations import compare
from orchestrator.compare.options import ComparisonOptions
from orchestrator.compare.results import Contrast, MethodComparison
from orchestrator.ledger import Ledger
from tests.support.simulated import World, write_predicted

RNG = np.random.default_rng
SEEDS = (1, 2, 3, 4, 5)


def compared(folder: Path, **options: Any) -> MethodComparison:
    ledger = Ledger(folder.parent, folder.name)
    trials = ledger.trials()
    comparison = compare_methods(ledger, trials, compare(trials), ComparisonOptions(**options))
    assert comparison is not None
    return comparison


def contrast(comparison: MethodComparison, method: str) -> Contrast:
    (only,) = [each for each in comparison.contrasts if each.method == method]
    return only


def write_pair(
    folder: Path, skills: tuple[float, float], seeds: tuple[int, ...] = SEEDS, *,
    noise: float = 0.02, annealed: dict[str, Any] | None = None, **arrp: Any,
) -> World:  # fmt: skip
    """Write trials of annealed and ARRP with these skills; ARRP takes a third of the minutes."""
    rng = RNG(0)
    world = World.of(rng, noise, sst=600, qqp=1500, sts=400)
    for seed in seeds:
        write_predicted(
            folder, world, world.predictions(rng, skills[0]), sampler="annealed", seed=seed,
            minutes=3.0, **(annealed or {}),
        )  # fmt: skip
        predictions = world.predictions(rng, skills[1])
        options = {"minutes": 1.0 + seed / 1000} | arrp
        write_predicted(folder, world, predictions, sampler="arrp", seed=seed, **options)
    return world
