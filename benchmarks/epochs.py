"""Minutes of an epoch of P0's methods, with our step and with the usual one.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/epochs.py               # random tokens in real lengths, P0's sizes
    python benchmarks/epochs.py --data DIR    # cs224n's files, as many as are there
    python benchmarks/epochs.py --json | tail -1
    python benchmarks/epochs.py --show benchmarks/results/FILE    # a kept run again

How much faster an epoch of ARRP is than one of annealed PCGrad depends on what surgery costs.
Steps of every phase are taken in turn by our trainer, by transformers + torchjd's own loop
(`usual`) and by its fastest use that was found (`rows`); an epoch is seconds a step times its
steps.  The last line is one JSON object: `<row>_<whose>_minutes`, and `speedup_<row>_<whose>`,
annealed's minutes by the row's (median over rounds, with quartiles `_q1`, `_q3`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from contestants import SHAPES, Ours, Usual, random_checkpoint, real_data, run_of

from trainer.data.readers import DataError
from trainer.loop.device import choose_device
from trainer.samplers import Phase
from trainer.storage.provenance import describe_run

#: P0's Table 4: what is timed, and its published minutes an epoch on a T4.
ROWS: dict[str, tuple[dict[str, Any], float]] = {
    "annealed": ({"sampler": "annealed", "B": 56000}, 45.18),
    "round_robin": ({"sampler": "round_robin"}, 7.13),
    "arrp": ({"sampler": "arrp", "B": 24000}, 14.47),
    "arrp_frozen": ({"sampler": "arrp", "B": 24000, "freeze": "encoder"}, 8.10),
}
BASELINE = "annealed"
USUAL = {"usual": "mtl_backward", "rows": "rows"}
EPOCHS = 10


class Row:
    """A method's phases, and everyone who takes their steps."""

    def __init__(
        self, encoder: Path, options: argparse.Namespace, data: dict[str, Any] | None,
        method: dict[str, Any],
    ):  # fmt: skip
        share = options.share
        if "B" in method:
            method = {**method, "B": max(1, round(method["B"] * share))}
        run = run_of(encoder, options.batch_size, data, share, epochs=EPOCHS, **method)
        self.ours = Ours(run)
        usual: Usual | None = None
        self.usual: dict[str, Usual] = {}
        for name, surgery in USUAL.items():
            self.usual[name] = usual = Usual(self.ours.run, surgery, beside=usual)

    def take(self, number: int, rounds: int, steps: int) -> dict[str, float]:
        """Minutes of an epoch by whose step, from `steps` of each of its phases.

        Where sampling is annealed epochs differ: the rounds walk through them.
        """
        epoch = 1 + number * EPOCHS // rounds
        found = dict.fromkeys(("ours", *self.usual), 0.0)
        for phase in self.ours.run.plan(epoch):
            for whose, seconds in self._phase(phase, number / rounds, steps).items():
                found[whose] += seconds * len(phase.steps) / 60
        return found

    def _phase(self, phase: Phase, offset: float, steps: int) -> dict[str, float]:
        """Seconds a step by whose it is; each takes one untimed step first."""
        gap = len(phase.steps) / (steps + 1)
        chosen = [phase.steps[int((place + offset) * gap)] for place in range(steps + 1)]
        self.ours.run.freeze(phase.frozen)
        self.ours.phase = phase
        found = {}
        for whose, contestant in {"ours": self.ours, **self.usual}.items():
            if isinstance(contestant, Usual):
                contestant.freeze(phase.frozen != "none")
            ready = [contestant.prepare(step) for step in chosen]
            ready[0]()
            started = time.perf_counter()
            for take in ready[1:]:
                take()
            if self.ours.run.device.type == "cuda":
                torch.cuda.synchronize()
            found[whose] = (time.perf_counter() - started) / steps
        return found


def measure(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """All rows in turn, `options.rounds` times."""
    data = real_data(options.data, folder / "cache") if options.data else None
    encoder = random_checkpoint(SHAPES[options.shape], folder / "encoder")
    rows = {n: Row(encoder, options, data, m) for n, (m, _) in ROWS.items()}
    minutes: dict[str, dict[str, list[float]]] = {name: {} for name in rows}
    for number in range(options.rounds):
        for name, row in rows.items():
            for whose, found in row.take(number, options.rounds, options.steps).items():
                minutes[name].setdefault(whose, []).append(found)
            say(f"round {number + 1} of {options.rounds}: {name}")
    sizes = next(iter(rows.values())).ours.run.corpus.sizes()
    return {"sizes": sizes, **figures(minutes)}


def figures(minutes: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Medians over rounds; speed-ups are ratios of the same round."""
    found: dict[str, float] = {}
    for name, by in minutes.items():
        for whose, values in by.items():
            found[f"{name}_{whose}_minutes"] = statistics.median(values)
            if name == BASELINE:
                continue
            pairs = zip(minutes[BASELINE][whose], values, strict=True)
            q1, median, q3 = statistics.quantiles(
                [a / b for a, b in pairs], n=4, method="inclusive"
            )
            key = f"speedup_{name}_{whose}"
            found |= {key: median, f"{key}_q1": q1, f"{key}_q3": q3}
    return {key: round(value, 4) for key, value in found.items()}


def show(found: dict[str, Any]) -> str:
    columns = ("ours", *USUAL, "P0, a T4")
    lines = [f"{'minutes an epoch':<16}" + "".join(f"{name:>20}" for name in columns)]
    for name, (_, published) in ROWS.items():
        cells = []
        for whose in ("ours", *USUAL):
            speed = found.get(f"speedup_{name}_{whose}")
            faster = "" if speed is None else f" ({speed:.2f}x)"
            cells.append(f"{found[f'{name}_{whose}_minutes']:.2f}{faster}")
        faster = "" if name == BASELINE else f" ({ROWS[BASELINE][1] / published:.2f}x)"
        cells.append(f"{published:.2f}{faster}")
        lines.append(f"{name:<16}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="cs224n folder; else random tokens, P0's sizes")
    parser.add_argument("--shape", choices=SHAPES, default="six", help="six layers of 384, or base")
    parser.add_argument("--batch-size", type=int, default=8, help="a task (8)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every row (9)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps a phase and turn (4)")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of P0's B, and of its sizes without --data (1)"
    )
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a kept run's table")
    options = parser.parse_args()
    if options.show:
        print(show(json.loads(options.show.read_text())))
        return
    if options.rounds < 2:
        parser.error("--rounds: at least 2")
    if options.threads:
        torch.set_num_threads(options.threads)

    def say(text: str) -> None:
        if not options.json and sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        try:
            found = measure(options, Path(folder), say)
        except DataError as error:
            parser.error(str(error))
    say("")
    if not options.json:
        print(show(found))
    about = {
        "benchmark": "epochs",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": "cs224n" if options.data else "random tokens",
        "shape": options.shape,
        "batch_size": options.batch_size,
        "share": options.share,
        "rounds": options.rounds,
        "threads": torch.get_num_threads(),
        **describe_run(choose_device("auto")),
    }
    print(json.dumps({**about, **found}))


if __name__ == "__main__":
    main()
