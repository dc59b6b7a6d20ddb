"""Which parameters matter: what decides comes first, what does not act or vary is not named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.compare.diagnostics.importance import importances
from orchestrator.compare.methods import group
from orchestrator.ledger import Ledger
from orchestrator.search import importances as of_params
from orchestrator.search import uncertain_importances
from tests.support.ledgers import write_trial

RNG = np.random.default_rng


def tried(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = RNG(seed)
    found = []
    for _ in range(count):
        params = {
            "sampler": str(rng.choice(["arrp", "annealed"])),
            "learning_rate": float(10 ** rng.uniform(-6, -3)),
            "dropout": float(rng.uniform(0, 0.5)),
            "epochs": 3,
        }
        found.append(params | ({"lambda": rng.uniform()} if params["sampler"] == "arrp" else {}))
    return found


def test_what_decides_comes_first_and_shares_add_up() -> None:
    params = tried(200)
    values = [-abs(np.log10(p["learning_rate"]) + 4) + 0.01 * p["dropout"] for p in params]
    found = of_params(params, values, "max")
    assert next(iter(found)) == "learning_rate" and found["learning_rate"] > 0.7
    assert sum(found.values()) == pytest.approx(1)
    assert "epochs" not in found  # it does not vary


def test_the_best_are_the_smallest_of_what_is_to_be_small() -> None:
    """Dropout decides about the small values, the rate about the large ones."""
    params = tried(300)
    values = [
        p["dropout"] if p["dropout"] < 0.1 else 1 + abs(np.log10(p["learning_rate"]))
        for p in params
    ]
    assert next(iter(of_params(params, values, "min"))) == "dropout"
    assert next(iter(of_params(params, values, "max"))) == "learning_rate"


def test_a_parameter_that_acts_under_a_condition_counts_where_it_acts() -> None:
    params = tried(300)
    values = [p.get("lambda", 0.0) for p in params]
    found = of_params(params, values, "max")
    assert set(list(found)[:2]) == {"sampler", "lambda"}


def test_collapsed_tries_that_are_all_alike_make_nothing_important() -> None:
    """Of 40 tries 37 have the same value: the best of them are not told apart by anything."""
    params = tried(40)
    values = [0.9, 0.8, 0.7] + [0.5] * 37
    assert of_params(params, values, "max") == {}


def test_equals_are_in_the_order_of_their_names() -> None:
    params = [{"score": n, "d": n % 2, "B": n % 2, "w": n % 2} for n in range(40)]
    found = of_params(params, [float(p["score"]) for p in params], "max")
    assert list(found) == ["score", "B", "d", "w"]


@pytest.mark.parametrize("wrong", ["few", "constant value", "constant parameters"])
def test_nothing_is_said_where_nothing_can_be(wrong: str) -> None:
    params = tried(19 if wrong == "few" else 40)
    if wrong == "constant parameters":
        params = [{"epochs": 3}] * 40
    values = [0.5 if wrong == "constant value" else p.get("dropout", 0.1) for p in params]
    assert of_params(params, values, "max") == {}


def test_values_of_all_kinds_are_taken() -> None:
    params = [{"freeze": n % 2 == 0, "B": {"qqp": n % 3}, "steps": None if n % 5 else 4, "n": n}
              for n in range(30)]  # fmt: skip
    found = of_params(params, [float(p["n"]) for p in params], "max")
    assert next(iter(found)) == "n" and set(found) == {"freeze", "B", "steps", "n"}


def test_what_decides_is_told_from_chance() -> None:
    params = tried(60)
    values = [-abs(np.log10(p["learning_rate"]) + 4) + 0.01 * p["dropout"] for p in params]
    found = uncertain_importances(params, values, "max")
    assert {name: each.value for name, each in found.items()} == of_params(params, values, "max")
    assert [name for name, each in found.items() if each.told_apart] == ["learning_rate"]
    assert all(0 <= each.low <= each.high <= 1 for each in found.values())


def test_of_few_tries_without_effect_nothing_is_told_from_chance() -> None:
    """The best five always differ in something: the largest share alone says nothing."""
    params = tried(25)
    found = uncertain_importances(params, RNG(3).normal(size=25).tolist(), "max")
    first = next(iter(found.values()))
    assert first.value > 0.4 and not first.told_apart and first.high - first.low > 0.5


def test_rows_are_of_score_and_of_minutes(tmp_path: Path) -> None:
    rng = RNG(1)
    for _ in range(40):
        rate, B = float(10 ** rng.uniform(-5, -3)), int(rng.integers(100, 1000))
        score = float(0.9 - 0.1 * abs(np.log10(rate) + 4))
        write_trial(
            tmp_path, [score], sampler="annealed", minutes=B / 100, learning_rate=rate, B=B, seed=1
        )
    trials = Ledger(tmp_path.parent, tmp_path.name).trials()
    rows = importances(group(trials), "dev_score")
    first = {row["target"]: row["parameter"] for row in reversed(rows)}
    assert first == {"dev_score": "learning_rate", "minutes_per_epoch": "B"}
    assert {row["configurations"] for row in rows} == {40}
