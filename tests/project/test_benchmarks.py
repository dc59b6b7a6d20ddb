"""The benchmarks run and say what they promise; what they measure here means nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow(reason="runs every benchmark")


def last_line(*command: str) -> dict[str, object]:
    answer = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=ROOT, timeout=900
    )
    assert answer.returncode == 0, answer.stderr
    found: dict[str, object] = json.loads(answer.stdout.splitlines()[-1])
    return found


def test_the_step_benchmark_compares_all_contestants() -> None:
    names = ["usual_sum_fp32", "usual_rows_fp32", "usual_rows_bf16", "usual_pcgrad_fp32"]
    names += [f"ours_{kind}{p}" for kind in ("", "sum_", "frozen_") for p in ("fp32", "bf16")]
    names += ["tuned_pcgrad_fp32", "tuned_pcgrad_bf16"]
    found = last_line(
        "benchmarks/step.py", "--shape", "tiny", "--batch-size", "2", "--rounds", "1",
        "--warmup", "1", "--threads", "1", "--minutes", "60", "--emulated", "--json",
        *(word for name in names for word in ("--only", name)),
    )  # fmt: skip
    promised = (
        "speedup_fp32", "speedup_bf16", "speedup_sum", "peak_fraction_fp32", "peak_fraction_bf16",
        "surgery_share", "frozen_ratio", "speedup_rows_fp32", "speedup_rows_both_bf16",
        "speedup_strongest_fp32", "speedup_strongest_bf16", "reckoned_gib", "peak_gib",
    )  # fmt: skip
    missing = [key for key in promised if not isinstance(found.get(f"tiny_{key}_b2"), float)]
    assert not missing and found["tiny_left_out_b2"] == {}
    assert set(names) == set(found["tiny_milliseconds_b2"])  # type: ignore[call-overload]


SMALLEST = {
    "step": ["--shape", "tiny", "--batch-size", "1", "--rounds", "1", "--warmup", "1",
             "--all", "--emulated", "--minutes", "60"],
    "epochs": ["--shape", "tiny", "--batch-size", "1", "--rounds", "1", "--steps", "1",
               "--share", "0.001"],
    "gpu": ["--device", "cpu", "--shape", "tiny", "--batch-size", "1", "--rounds", "1",
            "--share", "0.0001"],
    "sweep": ["--trials", "1", "--concurrent", "1"],
    "decisions": ["--replicates", "1"],
    "intervals": ["--experiments", "1", "--sweeps", "1"],
    "null_runs": ["--sweeps", "1"],
}  # fmt: skip


@pytest.mark.exhaustive(reason="compiles a model, and takes minutes")
@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_arguments_end_with_figures(name: str) -> None:
    assert last_line(f"benchmarks/{name}.py", *SMALLEST[name])["benchmark"] == name


@pytest.mark.exhaustive(reason="times every method by every step")
def test_the_epochs_benchmark_times_every_method_by_every_step() -> None:
    found = last_line(
        "benchmarks/epochs.py", "--shape", "tiny", "--batch-size", "8", "--rounds", "2",
        "--steps", "1", "--share", "0.002", "--threads", "1", "--json",
    )  # fmt: skip
    for whose in ("ours", "usual", "rows", "tuned"):
        annealed = found[f"annealed_{whose}_minutes"]
        assert isinstance(annealed, float) and annealed > 0
        for row in ("round_robin", "arrp", "arrp_frozen"):
            keys = (f"speedup_{row}_{whose}{end}" for end in ("_q1", "", "_q3"))
            low, median, high = (found[key] for key in keys)
            assert isinstance(median, float) and 0 < low <= median <= high  # type: ignore[operator]


def test_the_decisions_benchmark_has_a_row_for_every_setting() -> None:
    found = last_line("benchmarks/decisions.py", "--replicates", "3", "--json")
    rows = {name: len(found[name]) for name in ("power", "errors", "several methods")}  # type: ignore[arg-type]
    assert rows == {"power": 7, "errors": 28, "several methods": 8}


def test_the_gpu_benchmark_runs_on_a_cpu_to_be_tried() -> None:
    found = last_line(
        "benchmarks/gpu.py", "--device", "cpu", "--shape", "tiny", "--share", "0.001",
        "--batch-size", "2", "--rounds", "1", "--no-epochs",
    )  # fmt: skip
    precision = found["precision"]
    assert {"speedup_b2", f"peak_fraction_{precision}_b2", "surgery_share_b2"} <= set(found)
    assert f"speedup_strongest_{precision}_b2" in found and found["left_out_b2"] == {}
