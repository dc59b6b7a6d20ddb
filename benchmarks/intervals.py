"""Do the intervals cover the truth, and do the tests err as rarely as they claim?

    pip install -c constraints.txt -e '.[test]'
    export OMP_NUM_THREADS=1      # one thread for each of its processes
    python benchmarks/intervals.py
    python benchmarks/intervals.py --experiments 100 --sweeps 20 --json | tail -1

Nothing is trained.  The script draws predictions of models whose true skill is known, and compares
what `orch compare` concludes from them with the truth.

Expect the tables of docs/reference/statistics.md, then one line with a JSON object.  Each finished
row is also printed on stderr.  On two cores, the default takes an estimated 10 minutes, and the
time grows with both numbers.  `old` columns show what `orch compare` printed before it was changed.
"""

from __future__ import annotations

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
from command import Parser, count

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from orchestrator.compare.compare_methods import compare_methods  # noqa: E402
from orchestrator.compare.configurations import compare  # noqa: E402
from orchestrator.compare.options import ComparisonOptions  # noqa: E402
from orchestrator.compare.statistics import cross_fit as cross_fitting  # noqa: E402
from orchestrator.compare.statistics.best_of_k import expected_best  # noqa: E402
from orchestrator.compare.statistics.bootstrap import Seeds, unseen_variance  # noqa: E402
from orchestrator.compare.statistics.cross_fit import cross_fit, half_metrics, halves  # noqa: E402
from orchestrator.compare.statistics.hypothesis_tests import (  # noqa: E402
    holm,
    judge,
    p_different,
    p_equivalent,
)
from orchestrator.compare.statistics.mixture import Mixture  # noqa: E402
from orchestrator.compare.statistics.paired_difference import (  # noqa: E402
    BySeed,
    Pool,
    mean_difference,
    pooled,
)
from orchestrator.compare.statistics.pooled_variance import pair_prior  # noqa: E402
from orchestrator.ledger import Ledger  # noqa: E402
from orchestrator.ledger.timing_intervals import ratio_interval  # noqa: E402
from tests.support.simulated import World, experiment, write_predicted  # noqa: E402
from trainer.config.tasks import TASKS  # noqa: E402

#: A row of a table: its setting, and one result per column (0, 1 or a number), to be averaged.
Row = dict[str, Any]
_SKILL = 0.70
#: The expected maximum of k standard normal numbers.
_BEST_OF_NORMAL = {3: 0.8463, 5: 1.1630, 10: 1.5388}
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
        "called different": p_different(equal.distribution) < 0.05,
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
    return {"called comparable": p_equivalent(draws.distribution, _MARGIN) < 0.05}


def choice(tried: int, seeds: int, methods: int, baselines: int, seed: int) -> Row:
    """Pass a whole sweep of equal skill through `orch compare`.

    The baseline has `baselines` configurations, and each of `methods` others has `tried`.
    """
    rng = np.random.default_rng([seed, tried, seeds, methods])
    world = World.of(rng, sst=200, qqp=200, sts=100)
    names = ["arrp", "round_robin", "cycle", "interleaved", "proportional"][:methods]
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "s"
        for name in ["annealed", *names]:
            for number in range(baselines if name == "annealed" else tried):
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
    difference = contrast.differences["dev_score"]  # with its own 95 % interval
    assert base is not None and naive[contrast.method] is not None
    return {
        "naive difference": naive[contrast.method] - base,
        "honest difference": difference.value,
        "covers": difference.low <= 0 <= difference.high,
        "half width": (difference.high - difference.low) / 2,
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


def scatter(rng: np.random.Generator, shape: str, size: tuple[int, ...]) -> np.ndarray:
    """Random numbers with mean 0 and variance 1: normal, exponential or t(3)."""
    if shape == "t(3)":
        return rng.standard_t(3, size) / math.sqrt(3)
    return rng.exponential(size=size) - 1 if shape == "exponential" else rng.standard_normal(size)


def by_seed(seeds: Iterable[int], values: np.ndarray) -> BySeed:
    """Scores without chance in the dev examples."""
    return BySeed([*seeds], values, np.tile(values, (2, 1)))


def pooling(count: int, tried: int, ratio: float, shape: str, seed: int) -> Row:
    """Compare two equal methods with the variance of the pair, the methods' and the whole sweep's.

    Each method has `tried` configurations, and ten more methods have one each.  The variance
    between seeds is `ratio` for the first method and 1 for all others.
    """
    rng = np.random.default_rng([seed, count, tried, int(ratio)])
    effects = 0.7 * rng.standard_normal(count)  # of the seed, the same for all
    scales = np.sqrt([ratio] * tried + [1.0] * (tried + 10))[:, None]
    scores = effects + scales * scatter(rng, shape, (2 * tried + 10, count))
    one, other = (by_seed(range(count), row) for row in (scores[0], scores[tried]))
    prior = pair_prior([dict(enumerate(row)) for row in scores])
    row = {}
    for name, pool in (
        ("alone", Pool()),
        ("pooled", pooled(scores[:tried], scores[tried : 2 * tried])),
        ("whole sweep", Pool(prior.variance, prior.df, 1.0)),
    ):
        distribution = mean_difference(one, other, pool).distribution
        row[f"different, {name}"] = p_different(distribution) < 0.05
        row[f"half width, {name}"] = distribution.half_width(0.025)
    return row


def pairing(mine: str, theirs: str, correlation: float, seed: int) -> Row:
    """Compare methods with unequal seeds, by their pairs alone (as before) and by all seeds.

    `correlation` is that of two methods' scores with the same seed.
    """
    seeds = [[int(each) for each in text.split()] for text in (mine, theirs)]
    rng = np.random.default_rng([seed, *seeds[0], 99, *seeds[1]])
    effects = math.sqrt(correlation) * rng.standard_normal(10)
    scores = effects + math.sqrt(1 - correlation) * rng.standard_normal((10, 10))
    # Five configurations of each method, of which the first one is compared.
    shared = sorted({*seeds[0]} & {*seeds[1]})
    pool = pooled(scores[:5][:, shared], scores[5:][:, shared])
    one, other = (
        by_seed(some, row[some]) for some, row in zip(seeds, (scores[0], scores[5]), strict=True)
    )
    row: Row = {}
    old = None
    if len(shared) > 1:
        old = mean_difference(one.of(shared), other.of(shared)).distribution
    for name, each in (
        ("pairs alone", old),
        ("all seeds", mean_difference(one, other).distribution),
        ("all seeds, pooled", mean_difference(one, other, pool).distribution),
    ):
        low, high = each.interval(0.95) if each else (math.nan, math.nan)
        row[f"covers, {name}"] = low <= 0 <= high if each else math.nan
        row[f"half width, {name}"] = (high - low) / 2
    return row


def unequal(tried: int, extra: int, seed: int) -> Row:
    """Give `extra` seeds to the one of `tried` equal configurations that looks best with three."""
    rng = np.random.default_rng([seed, tried, extra])
    world = World.of(rng, sst=200, qqp=4, sts=20)
    shape = tried, 3 + extra
    ids = [f"{c}-{s}" for c in range(tried) for s in range(3 + extra)]
    dev = world.dev_set({n: world.predictions(rng, _SKILL + rng.normal(0, 0.03)) for n in ids})
    whole = dev.metrics(ids).reshape(*shape, -1)
    parts = half_metrics(dev, halves(dev.sizes, rng), ids).reshape(-1, *whole.shape)
    winner = int(whole[:, :3, 0].mean(1).argmax())
    alone = float(whole[winner, :, 0].mean())  # nothing left to choose
    losers = np.arange(tried) != winner
    whole[losers, 3:] = parts[:, losers, 3:] = np.nan
    common = np.arange(3 + extra) < 3
    honest = cross_fit(whole, parts, "sst", dev.tasks, common=common).scores[:, 0].mean()
    truth = world.accuracy(_SKILL)
    return {"old difference": alone - truth, "new difference": float(honest) - truth}


def stability(repeats: int, tried: int, seed: int) -> Row:
    """Halve the dev set of one sweep `repeats` times, with 20 seeds of `orch compare`.

    The honest difference of two methods changes with the seed.  The result is its standard
    deviation as a share of its 95 % interval.
    """
    rng = np.random.default_rng([seed, tried])
    world = World.of(rng, sst=400, qqp=480, sts=400)
    ids = [f"{c}-{s}" for c in range(2 * tried) for s in range(3)]
    dev = world.dev_set({n: world.predictions(rng, _SKILL + rng.normal(0, 0.01)) for n in ids})
    whole = dev.metrics(ids).reshape(2, tried, 3, -1)
    before, cross_fitting.REPEATS = cross_fitting.REPEATS, repeats
    differences = []
    try:
        for each in range(20):
            split = halves(dev.sizes, np.random.default_rng(each))
            parts = half_metrics(dev, split, ids).reshape(-1, *whole.shape)
            one, other = (
                cross_fit(whole[m], parts[:, m], "dev_score", dev.tasks).scores for m in (0, 1)
            )
            share = np.array([1, 1, 0.5]) / 3
            differences.append((one - other) @ share)
    finally:
        cross_fitting.REPEATS = before
    by = np.array(differences)  # (20, seeds)
    difference = mean_difference(by_seed(range(3), by[0]), by_seed(range(3), np.zeros(3)))
    width = 2 * difference.distribution.half_width(0.025)
    return {"deviation by interval": float(by.mean(1).std(ddof=1)) / width}


def many(comparisons: int, effect: float, seed: int) -> Row:
    """Compare `comparisons` methods with one baseline: one differs by `effect` standard errors.

    Before, p-values were counted from 2,000 draws.
    """
    rng = np.random.default_rng([seed, comparisons])
    truths = np.array([effect] + [0.0] * (comparisons - 1))
    mixtures = [Mixture(float(truth + rng.standard_normal()), 1.0) for truth in truths]
    draws = rng.standard_normal(2000)
    counted = []
    for each in mixtures:
        drawn = each.value + draws
        tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
        counted.append(min(1.0, 2 * (tail + 1) / 2001))
    old, new = holm(counted), judge(mixtures, 1e-9)
    return {
        "called different, old": old[0] < 0.05,
        "called different, new": new[0].outcome in ("better", "worse"),
        "any equal one called different, old": min(old[1:]) < 0.05,
        "any equal one called different, new": any(
            each.outcome in ("better", "worse") for each in new[1:]
        ),
    }


def lines(comparisons: int, large: int, seed: int) -> Row:
    """Print intervals beside verdicts: `large` of the differences are 4 standard errors, others 0.

    A line contradicts itself if its interval and its verdict disagree about 0.  Before, all
    intervals had 95 %.
    """
    rng = np.random.default_rng([seed, comparisons, large])
    truths = np.where(np.arange(comparisons) < large, 4.0, 0.0)
    mixtures = [Mixture(float(truth + rng.standard_normal()), 1.0) for truth in truths]
    judged = judge(mixtures, 0.5)
    row: Row = {}
    for name, levels in (
        ("old", [0.95] * comparisons),
        ("new", [each.confidence for each in judged]),
    ):
        ends = [each.interval(level) for each, level in zip(mixtures, levels, strict=True)]
        differ = [each.outcome in ("better", "worse") for each in judged]
        row[f"any line contradicts itself, {name}"] = any(
            (low <= 0 <= high) == different
            for (low, high), different in zip(ends, differ, strict=True)
        )
        row[f"all cover, {name}"] = all(
            low <= truth <= high for (low, high), truth in zip(ends, truths, strict=True)
        )
    return row


def parts_pay(others: int, effect: float, seed: int) -> Row:
    """Test a method with two parts among `others`, all three lines (as before) or the union alone.

    The union has the better one of the two parts, which differ from the baseline by `effect`
    standard errors.  All others are equal to the baseline.
    """
    rng = np.random.default_rng([seed, others])
    values = rng.standard_normal(others)
    parts = effect + rng.standard_normal(2)
    union = Mixture(float(parts[int(rng.integers(2))]), 1.0)  # chosen without these examples
    rest = [Mixture(float(value), 1.0) for value in values]
    old = judge([union, *(Mixture(float(part), 1.0) for part in parts), *rest], 1e-9)
    new = judge([union, *rest], 1e-9)
    wrong = slice(0 if effect == 0 else 3, None), slice(0 if effect == 0 else 1, None)
    return {
        "called different, old": old[0].outcome in ("better", "worse"),
        "called different, new": new[0].outcome in ("better", "worse"),
        **{
            f"any equal one called different, {name}": any(
                each.outcome in ("better", "worse") for each in judged[where]
            )
            for name, judged, where in (("old", old, wrong[0]), ("new", new, wrong[1]))
        },
    }


def nearly_perfect(wrong: float, count: int, seed: int) -> Row:
    """Score models that are right about all examples but a share `wrong`, on 200 examples."""
    rng = np.random.default_rng([seed, count])
    right = np.repeat(rng.random(200) >= wrong, count).reshape(200, count)  # all seeds alike
    weights = rng.multinomial(200, np.full(200, 1 / 200), size=400)
    resampled = weights @ right / 200
    least = float(unseen_variance(resampled[:, :, None], [TASKS["sst"]], [200])[0])
    noise = Seeds(range(count), 400, rng)
    row: Row = {}
    for name, added in (("old", 0.0), ("new", least)):
        low, high = noise.draws(range(count), right.mean(0), resampled, added).interval(0.95)
        row[f"covers, {name}"] = low <= 1 - wrong <= high
    return row


def best_of(tried: int, k: int, seed: int) -> Row:
    """The expected best of k normal scores from `tried`, in their standard deviation.

    Before, it was that of draws with replacement, with a bootstrap interval.
    """
    rng = np.random.default_rng([seed, tried, k])
    truth = _BEST_OF_NORMAL[k]
    scores = np.sort(rng.standard_normal(tried))

    def with_replacement(values: np.ndarray) -> float:
        below = np.arange(tried + 1) / tried
        return float(values @ np.diff(below**k))

    again = np.sort(rng.choice(scores, (400, tried)), axis=1)
    low, high = np.quantile([with_replacement(each) for each in again], [0.025, 0.975])
    return {
        "covers, old": low <= truth <= high,
        "old difference": with_replacement(scores) - truth,
        "new difference": expected_best(scores, k) - truth,
    }


def diverging(share: float, count: int, seed: int) -> Row:
    """Train `count` seeds of which `share` diverge; a guess scores 0.5, a converged one 0.7.

    The score given convergence, and the one with a guess for a diverged seed, minus what they
    estimate.
    """
    rng = np.random.default_rng([seed, count])
    diverged = rng.random(count) < share
    if diverged.all():
        diverged[int(rng.integers(count))] = False
    scores = 0.7 + 0.02 * rng.standard_normal(count)
    honest = float(scores[~diverged].mean())
    with_guess = honest + float(diverged.mean()) * (0.5 - honest)
    return {
        "difference given convergence": honest - 0.7,
        "difference with a guess": with_guess - (0.7 - 0.2 * share),
        "seeds diverged": float(diverged.mean()),
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
    shares = ("covers", "different", "called", "any ", "all cover", "deviation", "seeds diverged")
    lines = [f"**{title}**", "", "| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    for row in rows:
        cells = [_cell(key, value, shares) for key, value in row.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(key: str, value: Any, shares: tuple[str, ...]) -> str:
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if key.startswith(shares):
        return f"{100 * value:.1f} %"
    return f"{value:+.4f}" if "difference" in key else f"{value:.3g}"


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--experiments", type=count, default=1000, help="experiments per setting (1000)"
    )
    parser.add_argument("--sweeps", type=count, default=200, help="whole sweeps per setting (200)")
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
                [{"tried": k, "seeds": s, "methods": m, "baselines": b}
                 for k, s, m, b in ((1, 3, 1, 1), (5, 3, 1, 1), (20, 3, 1, 1), (5, 1, 1, 1),
                                    (1, 3, 5, 1), (5, 3, 1, 5), (20, 3, 1, 20), (5, 2, 1, 5))],
                sweeps,
            ),
            "speed-up": averaged(
                pool, speed,
                [{"rounds": r, "drift": d} for r in (5, 10, 20) for d in (0.0, 0.02, 0.05)],
                n,
            ),
            "variance between seeds: alone, pooled, pooled over the whole sweep": averaged(
                pool, pooling,
                [{"count": c, "tried": 5, "ratio": r, "shape": s}
                 for c in (2, 3, 5)
                 for r, s in ((1., "normal"), (4., "normal"), (1., "exponential"), (1., "t(3)"))],
                n,
            ),
            "unequal seeds, paired where paired": averaged(
                pool, pairing,
                [{"mine": a, "theirs": b, "correlation": r}
                 for a, b in (("1 2 3 4", "4 5 6 7"), ("1 2 3", "1 2 3 4 5"), ("1 2 3", "4 5 6"))
                 for r in (0.0, 0.5, 0.9)],
                n,
            ),
            "more seeds for the apparent winner": averaged(
                pool, unequal, [{"tried": k, "extra": e} for k in (2, 5) for e in (0, 2)], n
            ),
            "the halving, over 20 values of --seed": averaged(
                pool, stability,
                [{"repeats": r, "tried": k} for r in (10, 100, 300) for k in (5, 10)],
                max(10, sweeps // 5),
            ),
            "a clear difference among many comparisons": averaged(
                pool, many,
                [{"comparisons": m, "effect": e} for m in (13, 51) for e in (0.0, 6.0, 40.0)], n,
            ),
            "intervals beside verdicts": averaged(
                pool, lines,
                [{"comparisons": m, "large": k} for m, k in ((1, 0), (5, 2), (13, 0), (13, 6))], n,
            ),
            "a method and its parts": averaged(
                pool, parts_pay, [{"others": m, "effect": e} for m in (0, 10) for e in (0.0, 3.0)],
                n,
            ),
            "nearly all examples right": averaged(
                pool, nearly_perfect,
                [{"wrong": w, "count": c} for c in (1, 3) for w in (0.001, 0.005, 0.02)], n,
            ),
            "best of k": averaged(
                pool, best_of, [{"tried": t, "k": k} for t, k in ((5, 3), (5, 5), (20, 10))], n
            ),
            "diverged seeds": averaged(
                pool, diverging, [{"share": s, "count": c} for s in (0.1, 0.3) for c in (3, 5)], n
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
