"""Two simulated methods with what `orch compare` finds of them."""

from __future__ import annotations

from dataclasses import replace
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


def compared(folder: Path, **question: Any) -> MethodComparison:
    ledger = Ledger(folder.parent, folder.name)
    trials = ledger.trials()
    found = compare_methods(ledger, trials, compare(trials), replace(ComparisonOptions(), **question))
    assert found is not None
    return found


def contrast(found: MethodComparison, method: str) -> Contrast:
    (made,) = [each for each in found.contrasts if each.method == method]
    return made


def write_pair(
    folder: Path, skills: tuple[float, float], seeds: tuple[int, ...] = SEEDS, *,
    noise: float = 0.02, annealed: dict[str, Any] | None = None, **arrp: Any,
) -> World:  # fmt: skip
    """Annealed and ARRP of these skills; ARRP in a third of the minutes."""
    rng = RNG(0)
    world = World.of(rng, noise, sst=600, qqp=1500, sts=400)
    for seed in seeds:
        write_predicted(
            folder, world, world.predictions(rng, skills[0]), sampler="annealed", seed=seed,
            minutes=3.0, **(annealed or {}),
        )  # fmt: skip
        made = world.predictions(rng, skills[1])
        options = {"minutes": 1.0 + seed / 1000} | arrp
        write_predicted(folder, world, made, sampler="arrp", seed=seed, **options)
    return world
