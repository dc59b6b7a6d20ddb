"""Steps and epochs at BERT-base's size on a GPU: ours beside padded transformers with PCGrad.

    python benchmarks/gpu.py --output results.json
    python benchmarks/gpu.py --device cpu --shape tiny --share 0.01    # a trial without a GPU

It needs torch, transformers and the packages of the trainer, nothing of the orchestrator.  Without
torchjd, the usual contestants use the projection loop of the well-known ports.  The rows are random
tokens, in the lengths and the number of the real sentences.

Steps are timed in fp32 and in the precision that `auto` takes on the device.  Contestants that do
not fit into its free memory are left out by name.

Expect one line per figure, with its name and its value, and then one line with a JSON object of
all figures.  docs/develop/speed.md explains the keys.  Without a GPU the script stops with a
message.  No GPU has run it yet.  Whole epochs take most of its time, an estimated half an hour on a
large GPU, and `--no-epochs` leaves a few minutes.  The trial without a GPU takes a minute.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from command import Parser, count, first_line, one_line_errors, share
from contestants import SHAPES, Ours, Usual, random_checkpoint, run_of
from entrants import Entry, Field, entries
from limit import MatrixRate, step_operations, wait
from tuned import Tuned, by_length, strongest

from trainer.loop.device import DTYPES, auto_precision, hardware_of
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.encoder_shape import EncoderShape
from trainer.samplers import Step
from trainer.storage.provenance import describe_run

Report = Callable[[str, Any], None]
#: The methods whose whole epochs are timed.
EPOCHS: dict[str, dict[str, Any]] = {
    "round_robin": {"sampler": "round_robin"},
    "annealed": {"sampler": "annealed", "B": 24_000},
    "arrp": {"sampler": "arrp", "B": 24_000, "lambda": 0.5},
}


def time_steps(
    contestant: Ours | Usual, steps: Sequence[Step], device: torch.device
) -> list[float]:
    """Return the seconds of each step.  The clock stops when the device has finished the step."""
    seconds = []
    for step in steps:
        take = contestant.prepare(step)
        wait(device)
        started = time.perf_counter()
        take()
        wait(device)
        seconds.append(time.perf_counter() - started)
    return seconds


def time_epoch(run: Run) -> dict[str, float]:
    """Time all training steps of one epoch.

    Waits for the device once, at the end, as a trial's clock does.
    """
    torch.manual_seed(1)
    run.model.train()
    tally = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
    phases = run.plan(1)
    wait(run.device)
    started = time.perf_counter()
    for phase in phases:
        run.freeze(phase.frozen)
        for step in phase.steps:
            run.step(phase, step, tally)
    wait(run.device)
    seconds = time.perf_counter() - started
    graph_cache = run.stepper.graph_cache
    return {
        "seconds": seconds,
        "updates": sum(len(phase.steps) for phase in phases),
        "examples": sum(phase.examples for phase in phases),
        "graphs": graph_cache.graphs if graph_cache else 0,
        "replayed": graph_cache.replayed if graph_cache else 0,
    }


def asked(precision: str, device: torch.device) -> list[Entry]:
    """The contestants: the first one sets the steps."""
    known = entries(tuple(dict.fromkeys((precision, "fp32"))))
    names = [f"ours_{precision}", f"ours_sum_{precision}", f"ours_frozen_{precision}", "ours_fp32"]
    for each in dict.fromkeys(("fp32", precision)):
        names += [f"usual_rows_{each}", f"tuned_pcgrad_{each}"]
        # On a CPU it takes longer to compile than to time, and step.py times it.
        names += [f"compiled_pcgrad_{each}"] if device.type == "cuda" else []
    names.append("usual_sum_fp32")
    return [known[name] for name in dict.fromkeys(names)]


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="(cuda)")
    parser.add_argument(
        "--shape", choices=SHAPES, default="base", help="size of the encoder (BERT-base)"
    )
    parser.add_argument(
        "--batch-size", type=count, action="append", help="examples per task (8 and 32)"
    )
    parser.add_argument(
        "--rounds", type=count, default=40, help="timed steps of each contestant (40)"
    )
    parser.add_argument(
        "--share", type=share, default=1.0, help="share of the real number of rows (1)"
    )
    parser.add_argument("--no-epochs", action="store_true", help="time single steps only")
    parser.add_argument("--output", type=Path, help="also write the JSON line here")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "this machine has no CUDA device; "
            "to try the script, use --device cpu --shape tiny --share 0.01"
        )
    with one_line_errors(parser, MemoryError, OSError):
        if options.output:
            options.output.touch()  # a folder that is not there is an error before the work
        result = measure(options)
        line = json.dumps(result)
        if options.output:
            options.output.write_text(line + "\n")
    print(line)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Report all figures, and return them."""
    device = torch.device(options.device)
    precision = auto_precision([hardware_of(device)])
    result: dict[str, Any] = {
        "benchmark": "gpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "shape": options.shape,
        "precision": precision,
        **describe_run(device),
    }

    def report(name: str, value: Any) -> None:
        result[name] = value
        print(f"{name:<34} {value}", flush=True)

    rates = {}
    for name in dict.fromkeys(("fp32", precision)):
        rate = MatrixRate(DTYPES[name], device, 8192 if device.type == "cuda" else 512)
        rate.measure(2)
        rate.measure(10)
        rates[name] = rate.rate
        report(f"matrix_rate_{name}", rate.rate)
    with tempfile.TemporaryDirectory() as folder:
        encoder = random_checkpoint(SHAPES[options.shape], Path(folder))
        for batch_size in options.batch_size or [8, 32]:
            of = partial(run_of, encoder, batch_size, None, options.share, device=options.device)
            steps = Steps(asked(precision, device), SHAPES[options.shape], of, options.rounds)
            steps.figures(precision, rates[precision], partial(_of_batch, report, batch_size))
        if not options.no_epochs:
            of = partial(run_of, encoder, 8, None, options.share, device=options.device)
            time_epochs(of, precision, options.share, report)
    return result


def _of_batch(report: Report, batch_size: int, name: str, value: Any) -> None:
    report(f"{name}_b{batch_size}", value)


def time_epochs(of: Callable[..., Run], precision: str, share: float, report: Report) -> None:
    """Report whole epochs; the second one replays the graphs of the first."""
    for name, config in EPOCHS.items():
        if "B" in config:
            config = {**config, "B": max(64, round(config["B"] * share))}
        run = of(precision=precision, **config)
        for turn in ("first", "again"):
            for key, value in time_epoch(run).items():
                report(f"epoch_{name}_{turn}_{key}", value)


class Steps:
    """Single steps of all contestants, which take turns, a block of steps each."""

    def __init__(
        self, asked: Sequence[Entry], shape: EncoderShape, of: Callable[..., Run], rounds: int
    ):
        self.field = Field(asked, shape, of, rounds)
        self.shape = shape
        self.reference = self.field.reference
        self.seconds: dict[str, list[float]] = {}
        steps = self.field.steps
        #: The same examples for `Tuned`, those of similar length together.
        self.ordered = by_length(self.reference.corpus, steps)
        random.Random(0).shuffle(self.ordered)
        for contestant in self.field.taking_part.values():  # record all sizes that will come
            if isinstance(contestant, Ours):
                for _ in range(4 if contestant.run.stepper.graph_cache else 1):
                    time_steps(contestant, steps, self.reference.device)
        self._turn(slice(0, 3))  # compile kernels, allocate memory
        self.seconds = {}
        block = -(-len(steps) // 4)
        for begin in range(0, len(steps), block):
            self._turn(slice(begin, begin + block))

    def _turn(self, some: slice) -> None:
        """A block of steps of each contestant.  One that fails is left out."""
        for name, contestant in list(self.field.taking_part.items()):
            steps = self.ordered if isinstance(contestant, Tuned) else self.field.steps
            try:
                taken = time_steps(contestant, steps[some], self.reference.device)
            except (MemoryError, RuntimeError) as error:
                if isinstance(contestant, Ours):
                    raise
                self.field.leave_out(name, first_line(error))
                self.seconds.pop(name, None)
                continue
            self.seconds.setdefault(name, []).extend(taken)

    def figures(self, precision: str, rate: float, report: Report) -> None:
        """Report the medians of single steps and the ratios between them."""
        median = {name: statistics.median(values) for name, values in self.seconds.items()}
        for name, value in median.items():
            report(f"step_{name}", value)
        report("left_out", self.field.left_out)
        operations = statistics.median(
            step_operations(self.shape, self.reference.corpus, step, first_only=True)
            for step in self.field.steps
        )
        ours = median[f"ours_{precision}"]
        report(f"peak_fraction_{precision}", operations / ours / rate)
        for key, name in (
            ("speedup", "usual_rows_fp32"),
            (f"speedup_both_{precision}", f"usual_rows_{precision}"),
        ):
            if name in median:
                report(key, median[name] / ours)
        for key, value in strongest(self.seconds, precision).items():
            report(key, value)
        if f"ours_sum_{precision}" in median:
            report("surgery_share", 1 - median[f"ours_sum_{precision}"] / ours)
        if f"ours_frozen_{precision}" in median:
            report("frozen_ratio", median[f"ours_frozen_{precision}"] / ours)


if __name__ == "__main__":
    main()
