"""Do the intervals cover the truth, and do the tests err as rarely as they claim?

    pip install -c constraints.txt -e '.[test]'
    python benchmarks/intervals.py
    python benchmarks/intervals.py --experiments 100 --sweeps 20 --json | tail -1

Nothing is trained.  The script draws predictions of models whose true skill is known, and compares
what `orch compare` concludes from them with the truth.

Expect the tables of docs/reference/statistics.md, then one line with a JSON object.  Each finished
row is also printed on stderr.  On two cores, the default takes an estimated 6 minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from orchestrator.compare.compare_methods import compare_methods  # noqa: E402
from orchestrator.compare.configurations import compare  # noqa: E402
from orchestrator.compare.options import ComparisonOptions  # noqa: E402
from orchestrator.compare.statistics.bootstrap import Seeds  # noqa: E402
from orchestrator.compare.statistics.hypothesis_tests import p_different, p_equivalent  # noqa: E402
from orchestrator.ledger import Ledger  # noqa: E402
from orchestrator.ledger.timing_intervals import ratio_interval  # noqa: E402
from tests.support.simulated import World, experiment, write_predicted  # noqa: E402

#: A row of a table: its setting, and one result per column (0, 1 or a number), to be averaged.
Row = dict[str, Any]
_SKILL = 0.70
_MARGIN = 0.02


def covers(count: int, spread: float, taste: float, seed: int) -> Row:
    """Compare two methods that differ, and two equal ones, with `count` seeds each.

    `spread` is the standard deviation of skill between seeds.  `taste` is the standard deviation
    of an example's difficulty between methods.
    """
    rng = np.random.default_rng([seed, count])
    world = World.of(rng, noise=float(np.hypot(0.3, taste)))
    truth = world.accuracy(_SKILL) - world.accuracy(0.76)
    low, high = experiment(rng, (_SKILL, 0.76), count, spread, taste).interval(0.95)
    equal = experiment(rng, (_SKILL, _SKILL), count, spread, taste)
    return {
        "covers": low <= truth <= high,
        "called different": p_different(equal.values) < 0.05,
    }


def equivalence(count: int, spread: float, inside: float, seed: int) -> Row:
    """Test a true difference of `inside` times the margin for equivalence.

    With `inside` = 1 it must not be called comparable.  `spread` is the standard deviation of the
    paired difference between seeds.
    """
    rng = np.random.default_rng([seed, count])
    error = spread / math.sqrt(2)
    values = rng.normal(inside * _MARGIN, spread, count)
    # The chance in the dev examples, which all seeds share.
    shared = rng.normal(0, error / 4)
    resampled = values + shared + rng.normal(0, error / 4, (500, 1))
    draws = Seeds(range(count), 500, rng).draws(range(count), values + shared, resampled)
    return {"called comparable": p_equivalent(draws.values, _MARGIN) < 0.05}


def choice(tried: int, seeds: int, methods: int, seed: int) -> Row:
    """Pass a whole sweep of equal skill through `orch compare`.

    The baseline has one configuration, and each of `methods` others has `tried` configurations.
    """
    rng = np.random.default_rng([seed, tried, seeds, methods])
    world = World.of(rng, sst=200, qqp=200, sts=100)
    names = ["arrp", "round_robin", "cycle", "interleaved", "proportional"][:methods]
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "s"
        for name in ["annealed", *names]:
            for number in range(1 if name == "annealed" else tried):
                for trial_seed in range(1, seeds + 1):
                    predictions = world.predictions(rng, _SKILL + rng.normal(0, 0.02))
                    rate = 1e-5 * (number + 1)
                    write_predicted(
                        sweep, world, predictions, sampler=name, seed=trial_seed, learning_rate=rate
                    )
        ledger = Ledger(folder, "s")
        trials = ledger.trials()
        comparison = compare_methods(
            ledger, trials, compare(trials), ComparisonOptions(seed=seed, replicates=1000)
        )
    assert comparison is not None
    naive = {standing.method: standing.naive for standing in comparison.standings}
    contrast, base = comparison.contrasts[0], naive[comparison.baseline]
    difference = contrast.differences["dev_score"]
    assert base is not None and naive[contrast.method] is not None
    return {
        "naive difference": naive[contrast.method] - base,
        "honest difference": difference.value,
        "covers": difference.low <= 0 <= difference.high,
        "any called different": any(
            each.outcome in ("better", "worse") for each in comparison.contrasts
        ),
    }


def speed(
    rounds: int,
    drift: float,
    seed: int,
    *,
    slower: float = 0.0,
    among: int = 2,
    order: str = "drawn",
) -> Row:
    """Time two configurations in turn, one 1.5 times as fast as the other.

    The log of the machine's speed takes a random step after each turn, with standard deviation
    `drift`.  Each turn also has 3 % noise of its own.  With `slower`, the machine becomes slower by
    that share over the session, and the noise is 1 %.  The two are the first and the last `among`
    several configurations.  Each round draws the `order` of the turns anew, or all rounds have the
    same order (`fixed`).
    """
    rng = np.random.default_rng([seed, rounds])
    count = among * rounds
    machine = np.exp(np.cumsum(rng.normal(0, drift, count))) * np.linspace(1, 1 + slower, count)
    own = np.exp(rng.normal(0, 0.01 if slower else 0.03, count))
    seconds = np.empty((among, rounds))
    for number in range(rounds):
        turns = rng.permutation(among) if order == "drawn" else np.arange(among)
        for place, which in enumerate(turns):
            turn = among * number + place
            seconds[which, number] = (1.5 if which == 0 else 1.0) * machine[turn] * own[turn]
    interval = ratio_interval(seconds[0].tolist(), seconds[-1].tolist())
    return {
        "covers": interval.low <= 1.5 <= interval.high,
        "width": interval.high / interval.low - 1,
    }


def averaged(
    pool: ProcessPoolExecutor, simulate: Callable[..., Row], settings: Iterable[Row], times: int
) -> list[Row]:
    """Run a simulation `times` times with every setting, and return the means."""
    rows = []
    for setting in settings:
        run = partial(_run_quietly, simulate, setting)
        results = list(pool.map(run, range(times), chunksize=10))
        means = {key: float(np.mean([each[key] for each in results])) for key in results[0]}
        rows.append({**setting, **means, "experiments": times})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _run_quietly(simulate: Callable[..., Row], setting: Row, seed: int) -> Row:
    with contextlib.redirect_stderr(io.StringIO()):
        return simulate(**setting, seed=seed)


def table(title: str, rows: list[Row]) -> str:
    """Return a Markdown table, with shares in percent."""
    shares = ("covers", "called different", "called comparable", "any called different")
    lines = [f"**{title}**", "", "| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    for row in rows:
        cells = [_cell(key, value, shares) for key, value in row.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(key: str, value: Any, shares: Iterable[str]) -> str:
    if isinstance(value, str):
        return value
    if key in shares:
        return f"{100 * value:.1f} %"
    return f"{value:+.4f}" if "difference" in key else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--experiments", type=int, default=1000, help="experiments per setting (1000)"
    )
    parser.add_argument("--sweeps", type=int, default=200, help="whole sweeps per setting (200)")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    options = parser.parse_args()
    n, sweeps = options.experiments, options.sweeps
    kinds = [(0.0, 0.0), (0.03, 0.0), (0.06, 0.0), (0.0, 0.4), (0.03, 0.4)]
    with ProcessPoolExecutor() as pool:
        tables = {
            "interval of a difference": averaged(
                pool, covers,
                [{"count": c, "spread": s, "taste": t} for c in (2, 3, 5, 10) for s, t in kinds],
                n,
            ),
            "equivalence test, by true difference in margins": averaged(
                pool, equivalence,
                [{"count": c, "spread": s, "inside": i}
                 for c in (3, 5, 10) for s in (0.005, 0.02) for i in (1.0, 0.0)],
                n,
            ),
            "choice among equal configurations, several methods": averaged(
                pool, choice,
                [{"tried": k, "seeds": s, "methods": m}
                 for k, s, m in ((1, 3, 1), (5, 3, 1), (20, 3, 1), (5, 1, 1), (1, 3, 5))],
                sweeps,
            ),
            "speed-up": averaged(
                pool, speed,
                [{"rounds": r, "drift": d} for r in (5, 10, 20) for d in (0.0, 0.02, 0.05)],
                n,
            ),
            "speed-up on a machine that becomes 15 % slower": averaged(
                pool, speed,
                [{"among": a, "rounds": r, "order": o, "drift": 0.0, "slower": 0.15}
                 for a in (2, 6) for r in (5, 10, 20) for o in ("fixed", "drawn")],
                n,
            ),
        }  # fmt: skip
    if not options.json:
        print("\n".join(table(title, rows) for title, rows in tables.items()))
    print(json.dumps({"benchmark": "intervals", **tables}))


if __name__ == "__main__":
    main()
