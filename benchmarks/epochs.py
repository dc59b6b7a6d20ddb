"""Minutes per epoch of P0's methods, with our step and with the usual steps.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/epochs.py               # random tokens in real lengths, P0's sizes
    python benchmarks/epochs.py --data DIR    # the files of cs224n that are in DIR
    python benchmarks/epochs.py --json | tail -1
    python benchmarks/epochs.py --show benchmarks/results/FILE    # print the table of a kept run

How much faster an epoch of ARRP is than one of annealed PCGrad depends on the cost of surgery.
Three contestants take steps of every phase in turn: our trainer, transformers with torchjd's own
loop (`usual`), and transformers with the fastest use of torchjd that we found (`rows`).  The time
of an epoch is the seconds per step times the number of steps.

Expect a table of minutes per epoch: a row per method, a column per contestant.  Then comes one
line with a JSON object.  It holds `<method>_<contestant>_minutes`, and
`speedup_<method>_<contestant>`, which is annealed's minutes divided by the method's (median over
the rounds, with quartiles `_q1` and `_q3`).  On two cores, `--rounds 5 --steps 2` takes about 4
minutes, and the default about three times as long.
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

#: The rows of P0's Table 4 that are timed, with their published minutes per epoch on a T4.
ROWS: dict[str, tuple[dict[str, Any], float]] = {
    "annealed": ({"sampler": "annealed", "B": 56000}, 45.18),
    "round_robin": ({"sampler": "round_robin"}, 7.13),
    "arrp": ({"sampler": "arrp", "B": 24000}, 14.47),
    "arrp_frozen": ({"sampler": "arrp", "B": 24000, "freeze": "encoder"}, 8.10),
}
BASELINE = "annealed"
#: The usual contestants and the surgery of each.
USUAL = {"usual": "mtl_backward", "rows": "rows"}
EPOCHS = 10


class Row:
    """A method with its phases, and the contestants that take their steps."""

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
        """Return each contestant's minutes per epoch, from `steps` steps of each phase.

        With annealed sampling the epochs differ, so the rounds walk through the epochs.
        """
        epoch = 1 + number * EPOCHS // rounds
        minutes = dict.fromkeys(("ours", *self.usual), 0.0)
        for phase in self.ours.run.plan(epoch):
            for name, seconds in self._phase(phase, number / rounds, steps).items():
                minutes[name] += seconds * len(phase.steps) / 60
        return minutes

    def _phase(self, phase: Phase, offset: float, steps: int) -> dict[str, float]:
        """Return each contestant's seconds per step.  Each takes an untimed step first."""
        gap = len(phase.steps) / (steps + 1)
        chosen = [phase.steps[int((place + offset) * gap)] for place in range(steps + 1)]
        self.ours.run.freeze(phase.frozen)
        self.ours.phase = phase
        seconds = {}
        for name, contestant in {"ours": self.ours, **self.usual}.items():
            if isinstance(contestant, Usual):
                contestant.freeze(phase.frozen != "none")
            prepared = [contestant.prepare(step) for step in chosen]
            prepared[0]()
            started = time.perf_counter()
            for take in prepared[1:]:
                take()
            if self.ours.run.device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name] = (time.perf_counter() - started) / steps
        return seconds


def measure(
    options: argparse.Namespace, folder: Path, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Time all methods in turn, `options.rounds` times."""
    data = real_data(options.data, folder / "cache") if options.data else None
    encoder = random_checkpoint(SHAPES[options.shape], folder / "encoder")
    rows = {n: Row(encoder, options, data, m) for n, (m, _) in ROWS.items()}
    minutes: dict[str, dict[str, list[float]]] = {name: {} for name in rows}
    for number in range(options.rounds):
        for name, row in rows.items():
            turn = row.take(number, options.rounds, options.steps)
            for contestant, value in turn.items():
                minutes[name].setdefault(contestant, []).append(value)
            progress(f"round {number + 1} of {options.rounds}: {name}")
    sizes = next(iter(rows.values())).ours.run.corpus.sizes()
    return {"sizes": sizes, **figures(minutes)}


def figures(minutes: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Return medians over the rounds.  A speed-up is a ratio within one round."""
    results: dict[str, float] = {}
    for name, of_contestants in minutes.items():
        for contestant, values in of_contestants.items():
            results[f"{name}_{contestant}_minutes"] = statistics.median(values)
            if name == BASELINE:
                continue
            pairs = zip(minutes[BASELINE][contestant], values, strict=True)
            q1, median, q3 = statistics.quantiles(
                [a / b for a, b in pairs], n=4, method="inclusive"
            )
            key = f"speedup_{name}_{contestant}"
            results |= {key: median, f"{key}_q1": q1, f"{key}_q3": q3}
    return {key: round(value, 4) for key, value in results.items()}


def show(results: dict[str, Any]) -> str:
    """Return the table of a run, beside the published minutes."""
    columns = ("ours", *USUAL, "P0, a T4")
    lines = [f"{'minutes an epoch':<16}" + "".join(f"{name:>20}" for name in columns)]
    for name, (_, published) in ROWS.items():
        cells = []
        for contestant in ("ours", *USUAL):
            ratio = results.get(f"speedup_{name}_{contestant}")
            speedup = "" if ratio is None else f" ({ratio:.2f}x)"
            cells.append(f"{results[f'{name}_{contestant}_minutes']:.2f}{speedup}")
        speedup = "" if name == BASELINE else f" ({ROWS[BASELINE][1] / published:.2f}x)"
        cells.append(f"{published:.2f}{speedup}")
        lines.append(f"{name:<16}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="folder with cs224n's files (default: random tokens)"
    )
    parser.add_argument(
        "--shape", choices=SHAPES, default="six", help="six layers of 384 (default), or BERT-base"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="examples per task (8)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every method (9)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps per phase and turn (4)")
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of P0's B, and of its data sizes (1)"
    )
    parser.add_argument("--threads", type=int, default=0, help="0 means torch's default")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a kept run")
    options = parser.parse_args()
    if options.show:
        print(show(json.loads(options.show.read_text())))
        return
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    if options.threads:
        torch.set_num_threads(options.threads)

    def progress(text: str) -> None:
        if not options.json and sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        try:
            results = measure(options, Path(folder), progress)
        except DataError as error:
            parser.error(str(error))
    progress("")
    if not options.json:
        print(show(results))
    setup = {
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
    print(json.dumps({**setup, **results}))


if __name__ == "__main__":
    main()
