"""How often does a whole sweep call two equal methods different?  Nothing is trained.

    python benchmarks/null_runs.py               # 200 sweeps of each kind, 8 minutes on 2 cores
    python benchmarks/null_runs.py --sweeps 20   # a quick look

Two methods have the same distribution of skill under two names.  Every trial is drawn, but all else
is real: the search's trial directories, the choice of one configuration for each method, pairs of
fresh seeds look by look, dev predictions in Parquet, and the answer that `orch sweep` prints.

`called different` counts the states `better` and `lower` (at most 5 % are allowed), `within the
margin` the correct answer, and `pairs` the mean number of pairs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from command import Parser, count

from tests.support.decided import SimulatedSweep, sweep_spec
from tests.support.simulated import World
from trainer.config import TrainConfig

LOOKS = [3, 5, 8, 12, 20, 30, 45]
#: Standard deviation of skill between seeds, and of an example's difficulty between methods.
KINDS = {"seeds differ": (0.02, 0.0), "methods have tastes": (0.02, 0.15)}


def null_run(spread: float, taste: float, number: int) -> dict[str, Any]:
    """One sweep; returns the state of the score and the number of pairs."""
    rng = np.random.default_rng([number, int(1000 * taste)])
    world = World.of(rng, sst=600, qqp=900, sts=400)
    seen = {name: _tasting(world, rng, taste) for name in ("arrp", "annealed")}

    def skill(config: TrainConfig) -> float:
        draw = np.random.default_rng([number, config.seed, config.B, len(config.sampler)])
        return 0.7 + float(draw.normal(0, spread))

    decide = {"looks": LOOKS, "ask": "score", "margin": 0.02, "budget": {"share": 1000.0}}
    with tempfile.TemporaryDirectory() as folder:
        sweep = _Tasting(Path(folder), sweep_spec(decide=decide), world, skill, seen)
        sweep.search()
        sweep.confirm()
        contest = sweep.answer().contests[0]
    return {"state": contest.score_state, "pairs": contest.pairs}


def _tasting(world: World, rng: np.random.Generator, taste: float) -> World:
    """Other examples are hard; those of sts keep their difficulty, which is a probability there."""
    return replace(world, hard=world.as_seen_by(rng, taste).hard | {"sts": world.hard["sts"]})


class _Tasting(SimulatedSweep):
    """Each method sees the examples with its own difficulties, the same for all its seeds."""

    def __init__(self, out: Path, spec: Any, world: World, skill: Any, seen: dict[str, World]):
        super().__init__(out, spec, world, skill)
        self._seen = seen

    def train(self, job: Any) -> None:
        self.world = self._seen[job.config.sampler]
        super().train(job)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--sweeps", type=count, default=200, help="sweeps of each kind (200)")
    sweeps = parser.parse_args().sweeps
    rows = []
    with ProcessPoolExecutor() as pool:
        for kind, (spread, taste) in KINDS.items():
            run = partial(null_run, spread, taste)
            results = list(pool.map(run, range(sweeps), chunksize=2))
            states = [each["state"] for each in results]
            wrong = sum(state in ("better", "lower") for state in states)
            right = sum(state in ("within", "reached") for state in states)
            rows.append(
                {
                    "kind": kind, "sweeps": sweeps,
                    "called different": wrong / sweeps, "within the margin": right / sweeps,
                    "pairs": float(np.mean([each["pairs"] for each in results])),
                }
            )  # fmt: skip
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        shares = {k: f"{100 * row[k]:.1f} %" for k in ("called different", "within the margin")}
        print(
            "| "
            + " | ".join(map(str, (row | shares | {"pairs": f"{row['pairs']:.1f}"}).values()))
            + " |"
        )
    print(json.dumps({"benchmark": "null_runs", "rows": rows}))


if __name__ == "__main__":
    main()
