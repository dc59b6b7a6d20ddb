"""The promises of the rule, by simulation: a short run here, the long run with `pytest --all`."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from types import ModuleType

import pytest

from tests.support.paths import ROOT


def benchmark() -> ModuleType:
    """The file benchmarks/decisions.py."""
    if "decisions_benchmark" not in sys.modules:
        path = ROOT / "benchmarks" / "decisions.py"
        spec = importlib.util.spec_from_file_location("decisions_benchmark", path)
        assert spec is not None and spec.loader is not None
        sys.modules["decisions_benchmark"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["decisions_benchmark"]


ERRORS = ("falsely different", "falsely reached", "falsely within")
SETTINGS = benchmark().settings_of_errors()


def simulated(simulate: str, setting: dict[str, object], count: int) -> dict[str, object]:
    """The means of one setting, in this process."""
    module = benchmark()
    sums = module.batch(getattr(module, simulate), setting, count, 0)
    return {key: value / count for key, value in sums.items()}


@pytest.mark.parametrize("setting", SETTINGS, ids=[json.dumps(each) for each in SETTINGS])
def test_errors_are_rare(setting: dict[str, object]) -> None:
    # Pooling that trusts the search too much shows here first, and needs more runs to be seen.
    count = 1200 if setting["differences"] == "variances 4 : 1" else 100
    means = simulated("errors", setting, count)
    # 5.5 %, and what chance allows beyond it in all of these settings together.
    allowed = 0.055 + 3.5 * math.sqrt(0.055 * 0.945 / count)
    for error in ERRORS:
        assert max(means[error].ravel()) <= allowed, (error, means)  # type: ignore[attr-defined]


def test_power() -> None:
    states = {0: "within", 0.01: "better", 0.02: "better"}
    for truth, state in states.items():
        means = simulated("power", {"ask": "score", "true difference": truth}, 150)
        assert means[state] > 0.9
        assert means["3 seeds decide"] < 0.85  # type: ignore[operator]


def test_a_table() -> None:
    text = benchmark().table("power", [{"ask": "score", "within": 0.5, "pairs": 3.25}])
    assert text.splitlines()[-1] == "| score | 50.0 % | 3.25 |"


@pytest.mark.exhaustive(reason="10,000 simulated decisions for each of 28 settings")
def test_errors_are_rare_in_the_long_run() -> None:
    module = benchmark()
    with ProcessPoolExecutor(2) as pool:
        errors = module.averaged(pool, module.errors, SETTINGS, 10_000)
        several = module.averaged(pool, module.several, module.settings_of_several(), 10_000)
    for row in errors:
        assert max(row[error] for error in ERRORS) <= 0.055, row
    for row in several:
        assert max(row[f"any {error}"] for error in ERRORS) <= 0.055, row
