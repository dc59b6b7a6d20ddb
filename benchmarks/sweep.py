"""What the orchestrator costs: sweeps of trials that do no work, and comparing them.

    pip install -c constraints.txt -e .
    python benchmarks/sweep.py                 # 1,000 and 10,000 trials: a quarter of an hour
    python benchmarks/sweep.py --trials 300 --json | tail -1

Every sweep is a process of its own with real Ray, Optuna's random search, MLflow on sqlite and the
ledger on disk.  The last line is one JSON object: `seconds_N`, `seconds_a_trial_N`,
`driver_rss_mb_N` and `compare_seconds_N` for every N, and what N suggestions of TPE cost.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SPEC: dict[str, Any] = {
    "name": "no-work",
    "base": {
        "data": {"source": "synthetic", "size": 32},
        "encoder": "tiny",
        "epochs": 1,
    },
    "space": {
        "sampler": {"choices": ["round_robin", "annealed", "arrp"]},
        "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
        "dropout": {"low": 0.0, "high": 0.5},
        "lambda": {"low": 0.1, "high": 1.0, "when": {"sampler": "arrp"}},
    },
    "search": {"algorithm": "random", "seeds": [0]},
}


def drive(file: str, out: str, concurrent: int) -> None:
    """One sweep in this process; prints its seconds and its largest resident size."""
    from rich.console import Console

    from orchestrator.spec import load_spec
    from orchestrator.sweep import run_sweep

    started = time.perf_counter()
    spec = load_spec(file, None, [f"resources.max_concurrent={concurrent}"])
    with open(os.devnull, "w") as nowhere:
        outcome = run_sweep(spec, out, console=Console(file=nowhere), train="no_work:train")
    found = {
        "seconds": time.perf_counter() - started,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "trials": outcome.trials,
        "exit_code": outcome.exit_code,
        "error": outcome.error,
    }
    print(json.dumps(found))


def sweep(trials: int, algorithm: str, folder: Path, concurrent: int) -> dict[str, Any]:
    """A sweep of so many trials, and `orch compare` on it; raises SystemExit if one is missing."""
    file, out = folder / "sweep.yaml", folder / "out"
    spec = {**SPEC, "search": {**SPEC["search"], "num_trials": trials, "algorithm": algorithm}}
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # who has installed it has its bytecode
    command = [sys.executable, __file__, "--drive", str(file), str(out), str(concurrent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["trials"] != trials or found["exit_code"]:
        raise SystemExit(f"{found['trials']} of {trials} trials: {found['error']}")
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
    command += ["compare", SPEC["name"], "--out", str(out)]
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return {**found, "compare_seconds": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, action="append", help="(1000 and 10000)")
    parser.add_argument("--algorithm", default="random", help="random, tpe, nsga2, ... (random)")
    parser.add_argument("--concurrent", type=int, default=2, help="trials at once (2)")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    parser.add_argument("--drive", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        file, out, concurrent = options.drive
        drive(file, out, int(concurrent))
        return
    summary: dict[str, Any] = {"benchmark": "sweep", "algorithm": options.algorithm}
    summary["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    summary["cpus"] = os.cpu_count()
    for trials in options.trials or [1000, 10_000]:
        with tempfile.TemporaryDirectory() as folder:
            found = sweep(trials, options.algorithm, Path(folder), options.concurrent)
        summary |= {
            f"seconds_{trials}": round(found["seconds"], 1),
            f"seconds_a_trial_{trials}": round(found["seconds"] / trials, 4),
            f"compare_seconds_{trials}": round(found["compare_seconds"], 2),
            f"driver_rss_mb_{trials}": round(found["rss_mb"]),
        }
        if not options.json:
            print(
                f"{trials} trials: {found['seconds']:.1f} s, {found['seconds'] / trials * 1e3:.1f} "
                f"ms a trial; compare {found['compare_seconds']:.1f} s; driver "
                f"{found['rss_mb']:.0f} MB",
                flush=True,
            )
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
