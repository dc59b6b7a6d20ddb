"""Steps and epochs at BERT-base's size on a GPU: ours beside padded transformers with PCGrad.

    python benchmarks/gpu.py --output results.json
    python benchmarks/gpu.py --device cpu --shape tiny --share 0.01    # a trial without a GPU

It needs torch, transformers and the packages of the trainer, nothing of the orchestrator.  Without
torchjd, the usual contestant uses the projection loop of the well-known ports.  The rows are random
tokens, in the lengths and the number of the real sentences.

Expect one line per figure, with its name and its value, and then one line with a JSON object of
all figures.  docs/develop/speed.md explains the keys.  Without a GPU the script stops with a
message.
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from contestants import SHAPES, Ours, Usual, random_checkpoint, run_of
from limit import MatrixRate, step_operations, wait

from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.encoder_shape import EncoderShape
from trainer.samplers import Phase
from trainer.storage.provenance import describe_run

#: The methods whose whole epochs are timed.
EPOCHS: dict[str, dict[str, Any]] = {
    "round_robin": {"sampler": "round_robin"},
    "annealed": {"sampler": "annealed", "B": 24_000},
    "arrp": {"sampler": "arrp", "B": 24_000, "lambda": 0.5},
}


def time_steps(
    contestant: Ours | Usual, phase: Phase, steps: range, device: torch.device
) -> list[float]:
    """Return the seconds of each step.  The clock stops when the device has finished the step."""
    seconds = []
    for number in steps:
        take = contestant.prepare(phase.steps[number])
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda (default), or cpu")
    parser.add_argument(
        "--shape", choices=SHAPES, default="base", help="size of the encoder (BERT-base)"
    )
    parser.add_argument(
        "--batch-size", type=int, action="append", help="examples per task (8 and 32)"
    )
    parser.add_argument(
        "--rounds", type=int, default=40, help="timed steps of each contestant (40)"
    )
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the real number of rows (1)"
    )
    parser.add_argument("--no-epochs", action="store_true", help="time single steps only")
    parser.add_argument("--output", type=Path, help="also write the JSON line here")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "this machine has no CUDA device; "
            "to try the script, use --device cpu --shape tiny --share 0.01"
        )
    device = torch.device(options.device)
    shape = SHAPES[options.shape]
    result: dict[str, Any] = {
        "benchmark": "gpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "shape": options.shape,
        **describe_run(device),
    }

    def report(name: str, value: Any) -> None:
        result[name] = value
        print(f"{name:<34} {value}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        encoder = random_checkpoint(shape, Path(folder))

        def create(batch_size: int, **changes: Any) -> Run:
            return run_of(
                encoder, batch_size, None, options.share, device=options.device, **changes
            )

        rates = {
            "fp32": MatrixRate(torch.float32, device, 8192 if device.type == "cuda" else 512),
            "bf16": MatrixRate(torch.bfloat16, device, 8192 if device.type == "cuda" else 512),
        }
        for rate in rates.values():
            rate.measure(2)
            rate.measure(10)
        for name, rate in rates.items():
            report(f"matrix_rate_{name}", rate.rate)
        for batch_size in options.batch_size or [8, 32]:
            measure_steps(create, batch_size, options.rounds, shape, rates, report)
        if not options.no_epochs:
            for name, config in EPOCHS.items():
                config = dict(config)
                if "B" in config:
                    config["B"] = max(64, round(config["B"] * options.share))
                run = create(8, precision="bf16-emulated", **config)
                for turn in ("first", "again"):  # the second one replays the graphs of the first
                    for key, value in time_epoch(run).items():
                        report(f"epoch_{name}_{turn}_{key}", value)
    line = json.dumps(result)
    if options.output:
        options.output.write_text(line + "\n")
    print(line)


def measure_steps(
    create: Callable[..., Run], batch_size: int, rounds: int, shape: EncoderShape,
    rates: dict[str, MatrixRate], report: Callable[[str, Any], None],
) -> None:  # fmt: skip
    """Report the medians of single steps and the ratios between them.

    The contestants take turns, a block of steps each.
    """
    ours = {
        "ours_bf16": Ours(create(batch_size, precision="bf16-emulated")),
        "ours_sum_bf16": Ours(create(batch_size, precision="bf16-emulated", combiner="sum")),
        "ours_frozen_bf16": Ours(create(batch_size, precision="bf16-emulated", freeze="encoder")),
        "ours_fp32": Ours(create(batch_size)),
    }
    run = ours["ours_bf16"].run
    device = run.device
    contestants: dict[str, Ours | Usual] = {
        **ours,
        "usual_pcgrad_fp32": Usual(run, "rows"),
        "usual_sum_fp32": Usual(run, "none"),
        "usual_pcgrad_bf16": Usual(run, "rows", "bf16"),
    }
    phase = ours["ours_bf16"].phase
    block = max(1, min(rounds, len(phase.steps)) // 4)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for contestant in ours.values():  # record all sizes that will come
        for _ in range(4 if contestant.run.stepper.graph_cache else 1):
            time_steps(contestant, phase, range(4 * block), device)
    for contestant in contestants.values():  # warm up: compile kernels, allocate memory
        time_steps(contestant, phase, range(min(3, 4 * block)), device)
    for begin in range(0, 4 * block, block):
        for name, contestant in contestants.items():
            seconds[name] += time_steps(contestant, phase, range(begin, begin + block), device)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        report(f"step_{name}_b{batch_size}", value)
    operations = statistics.median(
        step_operations(shape, run.corpus, step, first_only=True)
        for step in phase.steps[: 4 * block]
    )
    ours_bf16 = median["ours_bf16"]
    report(f"speedup_b{batch_size}", median["usual_pcgrad_fp32"] / ours_bf16)
    report(f"speedup_both_bf16_b{batch_size}", median["usual_pcgrad_bf16"] / ours_bf16)
    report(f"peak_fraction_bf16_b{batch_size}", operations / ours_bf16 / rates["bf16"].rate)
    report(f"surgery_share_b{batch_size}", 1 - median["ours_sum_bf16"] / ours_bf16)
    report(f"frozen_ratio_b{batch_size}", median["ours_frozen_bf16"] / ours_bf16)


if __name__ == "__main__":
    main()
