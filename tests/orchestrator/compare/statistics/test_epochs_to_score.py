"""Speed-ups to the same score: epochs read off learning curves, times the speed-up of an epoch."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from orchestrator.compare.methods import group
from orchestrator.compare.statistics.bootstrap import Estimate, Seeds
from orchestrator.compare.statistics.epochs_to_score import epochs_to, epochs_to_same_score
from orchestrator.compare.statistics.speed_up import to_same_score
from orchestrator.ledger import Ledger
from tests.support.ledgers import write_trial


@pytest.mark.parametrize(
    ("target", "epochs"),
    [(0.05, 1), (0.1, 1), (0.2, 1.5), (0.3, 2), (0.4, 3.5), (0.5, 4), (0.6, math.inf)],
)
def test_a_curve_is_read_between_its_epochs(target: float, epochs: float) -> None:
    assert epochs_to([0.1, 0.3, 0.3, 0.5], target) == pytest.approx(epochs)


def test_a_curve_that_falls_counts_to_its_first_crossing() -> None:
    assert epochs_to([0.2, 0.6, 0.4, 0.5], 0.5) == pytest.approx(1.75)


def test_each_seed_has_the_score_that_both_methods_reach_with_it(tmp_path: Path) -> None:
    curves = {
        ("arrp", 1): [0.3, 0.4, 0.5], ("annealed", 1): [0.1, 0.3, 0.4],  # both reach .4
        ("arrp", 2): [0.1, 0.2, 0.3], ("annealed", 2): [0.4, 0.5, 0.6],  # both reach .3
    }  # fmt: skip
    for (sampler, seed), scores in curves.items():
        write_trial(tmp_path, scores, sampler=sampler, seed=seed, epochs=3)
    methods = {m.name: m for m in group(Ledger(tmp_path.parent, tmp_path.name).trials())}
    one, other = (methods[f"{name}+pcgrad"].candidates[0] for name in ("arrp", "annealed"))
    found = epochs_to_same_score(one, other, [1, 2], "dev_score")
    assert found == pytest.approx(np.array([[2, 3], [3, 1]]))
    assert json.dumps(found.tolist())


def test_epochs_and_minutes_multiply_and_seeds_widen_the_interval() -> None:
    rng, seeds = np.random.default_rng(0), (1, 2, 3)
    noise, logs = Seeds(seeds, 4000, rng), rng.normal(math.log(0.5), 0.01, 4000)
    per_epoch = Estimate(0.5, 0.49, 0.51)
    equal = np.array([[3.0, 2.0]] * 3)
    estimate = to_same_score(per_epoch, logs, equal, seeds, noise)
    assert estimate.value == pytest.approx(0.75)
    assert (estimate.low, estimate.high) == pytest.approx((0.75 * 0.98, 0.75 * 1.02), rel=0.005)
    varied = np.array([[3.0, 2.0], [4.0, 2.0], [2.25, 2.0]])
    wide = to_same_score(per_epoch, logs, varied, seeds, noise)
    of_epochs = np.log(varied[:, 0] / varied[:, 1])
    assert wide.value == pytest.approx(0.5 * math.exp(of_epochs.mean()))
    t, se = 4.303, of_epochs.std(ddof=1) / math.sqrt(3)  # Student's t, two degrees of freedom
    assert wide.low == pytest.approx(wide.value * math.exp(-t * se), rel=0.1)
    assert wide.high == pytest.approx(wide.value * math.exp(t * se), rel=0.1)
    alone = to_same_score(per_epoch, logs, varied[:1], (1,), noise)
    assert (alone.value, alone.low, alone.high) == (0.75, None, None)
