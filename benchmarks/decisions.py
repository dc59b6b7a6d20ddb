"""Does the rule that ends confirming err as rarely as it claims, and how soon does it answer?

    pip install -c constraints.txt -e '.[test]'
    python benchmarks/decisions.py
    python benchmarks/decisions.py --replicates 500 --json | tail -1

Nothing is trained.  The script draws the scores of a search and the differences of pairs of fresh
seeds, with a true difference that is known, and lets the rule take all its looks.

Expect the tables of docs/reference/statistics.md, "Search, then confirm", then one line with a JSON
object.  Each finished row is also printed on stderr.  On two quiet cores, the default takes an
estimated 8 minutes, and the time grows with --replicates.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import special

ROOT = Path(__file__).resolve().parent.parent
# A test imports this file from elsewhere.
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from command import Parser, count  # noqa: E402

from orchestrator.compare.statistics.pooled_variance import (  # noqa: E402
    NOTHING_KNOWN,
    PriorVariance,
    pair_prior,
)
from orchestrator.decision.rule.looks import Design, Look, judge, judge_all  # noqa: E402

Row = dict[str, Any]
Ask = Literal["minutes", "score"]
LOOKS, EMBEDDED = (3, 5, 8, 12, 20, 30, 45), (3, 5)
#: Of the kept study with whole dev sets: between pairs, and shared by all pairs.
DEVIATION, SHARED, MARGIN = 0.0085, 0.0014, 0.01
CONFIGURATIONS = 25
#: A simulated task has this many replicates.
_BATCH = 250


def noise(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random numbers with mean 0 and variance 1."""
    if kind == "exponential":
        return rng.exponential(size=shape) - 1
    if kind == "t(3)":
        return rng.standard_t(3, shape) / math.sqrt(3)
    return rng.normal(size=shape)


def searched(setting: Row, rng: np.random.Generator) -> PriorVariance:
    """The prior that a search shows.

    Where variances are 4 : 1, only the one compared method has the large one: a pair has 5 parts of
    variance, and the search expects 2.
    """
    if not setting["search seeds"]:
        return NOTHING_KNOWN
    variance = DEVIATION**2 / 2 * (2 / 5 if setting["differences"] == "variances 4 : 1" else 1)
    shape = (CONFIGURATIONS, setting["search seeds"])
    scores = noise(setting["differences"], shape, rng) * math.sqrt(variance)
    if setting["differences"] == "10 % diverged":
        scores[rng.random(shape) < 0.1] = math.nan
    return pair_prior([dict(enumerate(row)) for row in scores.tolist()])


def paired(setting: Row, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Differences of pairs with the true difference 0; NaN where one of a pair diverged."""
    values = DEVIATION * noise(setting["differences"], (pairs,), rng) + rng.normal(0, SHARED)
    if setting["differences"] == "10 % diverged":
        values[rng.random(pairs) < 1 - 0.9**2] = math.nan
    return values


def last_look(ask: Ask, looks: tuple[int, ...], values: np.ndarray, prior: PriorVariance) -> Look:
    """Where the rule ends."""
    design = Design(looks, MARGIN, ask)
    return judge(design, values.tolist(), [SHARED**2] * len(looks), prior)[-1]


def errors(setting: Row, rng: np.random.Generator) -> Row:
    """One experiment at each of the true differences where an answer is false."""
    looks = setting["looks"]
    prior, values = searched(setting, rng), paired(setting, looks[-1], rng)
    equal = last_look("score", looks, values, prior)
    # At the margin, skewed differences err on one side more than on the other.
    reached = [last_look("minutes", looks, s * values - MARGIN, prior) for s in (1, -1)]
    within = [last_look("score", looks, s * MARGIN + values, prior) for s in (1, -1)]
    return {
        "falsely different": equal.state in ("better", "lower"),
        "falsely reached": [each.state == "reached" for each in reached],
        "falsely within": [each.state == "within" for each in within],
        "interval covers": [
            look.low <= truth <= look.high
            for look, truth in (
                (equal, 0.0), (reached[0], -MARGIN), (reached[1], -MARGIN),
                (within[0], MARGIN), (within[1], -MARGIN),
            )
        ],
    }  # fmt: skip


def power(setting: Row, rng: np.random.Generator) -> Row:
    """One experiment at a true difference: the rule, beside three seeds with two fixed tests."""
    prior = searched({"differences": "normal", "search seeds": 3}, rng)
    truth = setting["true difference"]
    values = truth + paired({"differences": "normal"}, LOOKS[-1], rng)
    look = last_look(setting["ask"], LOOKS, values, prior)
    three = values[:3]
    variance = three.var(ddof=1) / 3 + SHARED**2
    df = 2 * (variance * 3 / three.var(ddof=1)) ** 2
    error, estimate = math.sqrt(variance), float(three.mean())
    different = abs(estimate) > special.stdtrit(df, 0.975) * error
    gap = MARGIN + estimate if setting["ask"] == "minutes" else MARGIN - abs(estimate)
    return {
        look.state: 1.0,
        "pairs": look.planned,
        "interval covers": look.low <= truth <= look.high,
        "estimate is off by": look.estimate - truth,
        "3 seeds decide": different or gap > special.stdtrit(df, 0.95) * error,
    }


def several(setting: Row, rng: np.random.Generator) -> Row:
    """Some methods against one baseline, whose noise all differences share.

    The first method differs by twice the margin where the setting says so.
    """
    methods = setting["methods"]
    prior = searched({"differences": "normal", "search seeds": 3}, rng)
    trials = rng.normal(0, DEVIATION / math.sqrt(2), (methods + 1, LOOKS[-1]))
    trials += rng.normal(0, SHARED / math.sqrt(2), (methods + 1, 1))
    values = trials[1:] - trials[0]
    first = 2 * MARGIN if setting["first differs"] else 0.0

    def last(ask: Ask, base: float) -> list[Look]:
        data = {}
        for number, row in enumerate(values):
            truth = first if number == 0 and first else base
            data[str(number)] = ((row + truth).tolist(), [SHARED**2] * len(LOOKS))
        design = Design(LOOKS, MARGIN, ask)
        looks = judge_all(design, data, prior, setting["share"]).values()
        return [
            each[-1] for number, each in enumerate(looks) if each and not (first and not number)
        ]

    equal, margin, reached = last("score", 0), last("score", MARGIN), last("minutes", -MARGIN)
    return {
        "any falsely different": any(each.state in ("better", "lower") for each in equal),
        "any falsely within": any(each.state == "within" for each in margin),
        "any falsely reached": any(each.state == "reached" for each in reached),
        "equal ones: within": float(np.mean([each.state == "within" for each in equal] or [0])),
        "pairs": float(np.mean([each.planned for each in equal] or [0])),
    }


def batch(simulate: Callable[..., Row], setting: Row, count: int, number: int) -> dict[str, Any]:
    """Sums of the results of some experiments."""
    rng = np.random.default_rng([number, *map(ord, json.dumps(setting))])
    sums: dict[str, Any] = {}
    for _ in range(count):
        for key, value in simulate(setting, rng).items():
            sums[key] = sums.get(key, 0.0) + np.asarray(value, float)
    return sums


def averaged(
    pool: ProcessPoolExecutor, simulate: Callable[..., Row], settings: list[Row], times: int
) -> list[Row]:
    """Run a simulation `times` times with every setting, and return the means.

    Of a result with several values the worst mean counts: of a coverage the smallest, of an error
    the largest.
    """
    rows = []
    for setting in settings:
        size = min(times, _BATCH)
        run = partial(batch, simulate, setting, size)
        parts = list(pool.map(run, range(math.ceil(times / size))))
        row = dict(setting)
        for key in dict.fromkeys(key for part in parts for key in part):
            mean = sum(part.get(key, 0.0) for part in parts) / (size * len(parts))
            row[key] = float(mean.min() if key == "interval covers" else mean.max())
        rows.append({**row, "experiments": size * len(parts)})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def settings_of_errors() -> list[Row]:
    """All rows of the table of errors."""
    kinds = ("normal", "exponential", "t(3)", "10 % diverged", "variances 4 : 1")
    return [
        {"looks": looks, "differences": kind, "search seeds": seeds}
        for looks in (LOOKS, EMBEDDED)
        for kind in kinds
        for seeds in (3, 2, 0)
        if seeds or kind != "variances 4 : 1"
    ]


def settings_of_power() -> list[Row]:
    """All rows of the table of power."""
    return [
        {"ask": ask, "true difference": truth}
        for ask, truths in (("score", (0, 0.01, 0.02)), ("minutes", (0, -0.01, -0.02, 0.01)))
        for truth in truths
    ]


def settings_of_several() -> list[Row]:
    """All rows of the table of several methods."""
    return [
        {"methods": methods, "share": share, "first differs": differs}
        for methods, share, differs in (
            (1, "holm", False), (2, "holm", False), (3, "holm", False), (2, "holm", True),
            (3, "holm", True), (2, "in_order", False), (3, "in_order", False),
            (3, "in_order", True),
        )
    ]  # fmt: skip


def table(title: str, rows: list[Row]) -> str:
    """Return a Markdown table, with shares in percent."""
    numbers = ("pairs", "true difference", "methods", "search seeds", "experiments")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"**{title}**", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = []
        for key in columns:
            value = row.get(key, 0.0)
            if key == "estimate is off by":
                cells.append(f"{value:+.4f}")
            elif isinstance(value, float) and key not in numbers:
                cells.append(f"{100 * value:.1f} %")
            elif isinstance(value, bool) or not isinstance(value, float):
                cells.append(str(value))
            else:
                cells.append(f"{value:.3g}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--replicates", type=count, default=10_000, help="per setting (10,000)")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    options = parser.parse_args()
    with ProcessPoolExecutor(2) as pool:
        tables = {
            name: averaged(pool, simulate, settings, options.replicates)
            for name, simulate, settings in (
                ("power", power, settings_of_power()),
                ("errors", errors, settings_of_errors()),
                ("several methods", several, settings_of_several()),
            )
        }
    if not options.json:
        print("\n".join(table(title, rows) for title, rows in tables.items()))
    print(json.dumps({"benchmark": "decisions", **tables}))


if __name__ == "__main__":
    main()
