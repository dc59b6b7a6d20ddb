"""Minutes per epoch of P0's methods, with our step and with the usual steps.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/epochs.py               # random tokens in real lengths, P0's sizes
    python benchmarks/epochs.py --data DIR    # the files of cs224n that are in DIR
    python benchmarks/epochs.py --json | tail -1
    python benchmarks/epochs.py --show benchmarks/results/FILE    # print the table of a kept run

How much faster an epoch of ARRP is than one of annealed PCGrad depends on the cost of surgery.
These contestants take steps of every phase in turn: our trainer, transformers with torchjd's own
loop (`usual`), the same with one backward per task (`rows`), and what a skilled user makes of both
libraries (`tuned`, see benchmarks/tuned.py).  The time of an epoch is the seconds per step times
the number of steps.

Expect a table of minutes per epoch: a row per method, a column per contestant.  Then comes one
line with a JSON object.  It holds `<method>_<contestant>_minutes`, and
`speedup_<method>_<contestant>`, which is annealed's minutes divided by the method's (median over
the rounds, with quartiles `_q1` and `_q3`).  On two quiet cores the default takes an estimated 5
minutes and 5 GiB of memory; --rounds 9 --steps 4 takes three times as long.  A contestant that does
not fit into the memory is left out by name.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from command import Parser, Progress, count, one_line_errors, quartiles, share, threads
from contestants import SHAPES, Ours, Usual, random_checkpoint, real_data, run_of
from entrants import Entry, Field, Tokens, need
from tuned import Tuned, by_length

from trainer.data.readers import DataError
from trainer.loop.device import choose_device
from trainer.samplers import Step
from trainer.storage.provenance import describe_run

#: The rows of P0's Table 4 that are timed, with their published minutes per epoch on a T4.
ROWS: dict[str, tuple[dict[str, Any], float]] = {
    "annealed": ({"sampler": "annealed", "B": 56000}, 45.18),
    "round_robin": ({"sampler": "round_robin"}, 7.13),
    "arrp": ({"sampler": "arrp", "B": 24000}, 14.47),
    "arrp_frozen": ({"sampler": "arrp", "B": 24000, "freeze": "encoder"}, 8.10),
}
BASELINE = "annealed"
CONTESTANTS = (
    Entry("ours", Ours),
    Entry("usual", Usual, options={"surgery": "mtl_backward"}),
    Entry("rows", Usual, options={"surgery": "rows"}),
    Entry("tuned", Tuned),
)
EPOCHS = 10


class Methods:
    """Every method with its trial, and the contestants that take the steps of all of them."""

    def __init__(self, encoder: Path, options: argparse.Namespace, data: dict[str, Any] | None):
        shape = SHAPES[options.shape]
        of = partial(run_of, encoder, options.batch_size, data, options.share, epochs=EPOCHS)
        configs = {}
        for name, (config, _) in ROWS.items():
            configs[name] = dict(config)
            if "B" in config:
                configs[name]["B"] = max(1, round(config["B"] * options.share))
        each = need(CONTESTANTS[0], shape, Tokens(3, 0, 0), False).holds
        self.field = Field(
            CONTESTANTS, shape, partial(of, **configs.pop(BASELINE)), 3 + options.steps,
            reserved=each * len(configs),
        )  # fmt: skip
        first = self.field.taking_part.pop("ours")
        assert isinstance(first, Ours)
        self.ours = {BASELINE: first}
        self.ours |= {name: Ours(of(**config)) for name, config in configs.items()}

    def take(self, method: str, number: int, rounds: int, steps: int) -> dict[str, float]:
        """Return each contestant's minutes per epoch, from `steps` steps of each phase.

        With annealed sampling the epochs differ, so the rounds walk through the epochs.
        """
        epoch = 1 + number * EPOCHS // rounds
        ours = self.ours[method]
        everybody: dict[str, Any] = {"ours": ours, **self.field.taking_part}
        minutes = dict.fromkeys(everybody, 0.0)
        for phase in ours.run.plan(epoch):
            ours.run.freeze(phase.frozen)
            ours.phase = phase
            chosen = _chosen(phase.steps, number / rounds, steps)
            similar = by_length(ours.run.corpus, phase.steps)
            # Steps of similar lengths stand in the order of their lengths, and the untimed first
            # one must not be a part of it.
            ordered = chosen[:1] + _chosen(similar, number / rounds, steps, extra=0)
            for name, contestant in everybody.items():
                if isinstance(contestant, Usual):
                    contestant.freeze(phase.frozen != "none")
                own = ordered if isinstance(contestant, Tuned) else chosen
                minutes[name] += self._seconds(contestant, own) * len(phase.steps) / 60
        return minutes

    def _seconds(self, contestant: Ours | Usual, steps: list[Step]) -> float:
        """Return the seconds per step.  The first step is not timed."""
        prepared = [contestant.prepare(step) for step in steps]
        prepared[0]()
        started = time.perf_counter()
        for take in prepared[1:]:
            take()
        if self.ours[BASELINE].run.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / (len(steps) - 1)


def _chosen(steps: Sequence[Step], offset: float, count: int, extra: int = 1) -> list[Step]:
    """`count` steps, and `extra` ones before them, at even distances.

    `offset` in [0, 1) moves all of them.
    """
    gap = len(steps) / (count + extra)
    return [steps[int((place + offset) * gap)] for place in range(count + extra)]


def measure(options: argparse.Namespace, folder: Path, progress: Progress) -> dict[str, Any]:
    """Time all methods in turn, `options.rounds` times."""
    data = real_data(options.data, folder / "cache") if options.data else None
    encoder = random_checkpoint(SHAPES[options.shape], folder / "encoder")
    methods = Methods(encoder, options, data)
    minutes: dict[str, dict[str, list[float]]] = {name: {} for name in ROWS}
    for number in range(options.rounds):
        for name in ROWS:
            progress(f"round {number + 1} of {options.rounds}: {name}")
            turn = methods.take(name, number, options.rounds, options.steps)
            for contestant, value in turn.items():
                minutes[name].setdefault(contestant, []).append(value)
    sizes = methods.ours[BASELINE].run.corpus.sizes()
    return {"sizes": sizes, "left_out": methods.field.left_out, **figures(minutes)}


def figures(minutes: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Return medians over the rounds.  A speed-up is a ratio within one round."""
    results: dict[str, float] = {}
    for name, of_contestants in minutes.items():
        for contestant, values in of_contestants.items():
            results[f"{name}_{contestant}_minutes"] = statistics.median(values)
            if name == BASELINE:
                continue
            pairs = zip(minutes[BASELINE][contestant], values, strict=True)
            ratios = quartiles([a / b for a, b in pairs])
            key = f"speedup_{name}_{contestant}"
            results |= {key: ratios["median"], f"{key}_q1": ratios["q1"], f"{key}_q3": ratios["q3"]}
    return {key: round(value, 4) for key, value in results.items()}


def show(results: dict[str, Any]) -> str:
    """Return the table of a run, beside the published minutes."""
    there = [each.name for each in CONTESTANTS if f"{BASELINE}_{each.name}_minutes" in results]
    columns = (*there, "P0, a T4")
    lines = [f"{'minutes an epoch':<16}" + "".join(f"{name:>20}" for name in columns)]
    for name, (_, published) in ROWS.items():
        cells = []
        for contestant in there:
            ratio = results.get(f"speedup_{name}_{contestant}")
            speedup = "" if ratio is None else f" ({ratio:.2f}x)"
            cells.append(f"{results[f'{name}_{contestant}_minutes']:.2f}{speedup}")
        speedup = "" if name == BASELINE else f" ({ROWS[BASELINE][1] / published:.2f}x)"
        cells.append(f"{published:.2f}{speedup}")
        lines.append(f"{name:<16}" + "".join(f"{cell:>20}" for cell in cells))
    lines += [f"{name} left out: {why}" for name, why in results.get("left_out", {}).items()]
    return "\n".join(lines)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--data", type=Path, help="folder with cs224n's files (default: random tokens)"
    )
    parser.add_argument(
        "--shape", choices=SHAPES, default="six",
        help="six layers of 384 (default), tiny, or base: BERT-base, an estimated 25 minutes and "
        "22 GiB",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=count, default=8, help="examples per task (8)")
    parser.add_argument(
        "--rounds", type=count, default=5, help="turns of every method (5); the time grows with it"
    )
    parser.add_argument(
        "--steps", type=count, default=2, help="timed steps per phase and turn (2); so does it here"
    )
    parser.add_argument(
        "--share", type=share, default=1.0, help="share of P0's B, and of its data sizes (1)"
    )
    parser.add_argument("--threads", type=threads, default=0, help="0 means torch's default")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a kept run")
    options = parser.parse_args()
    with one_line_errors(parser, DataError, MemoryError, OSError, KeyError, ValueError):
        if options.show:
            print(show(json.loads(options.show.read_text())))
            return
    if options.threads:
        torch.set_num_threads(options.threads)
    progress = Progress()
    with one_line_errors(parser, DataError, MemoryError), tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder), progress)
    progress.clear()
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
