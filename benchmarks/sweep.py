"""The cost of the orchestrator: sweeps of trials that do no work, and their comparison.

    pip install -c constraints.txt -e .
    python benchmarks/sweep.py                 # 1,000 trials
    python benchmarks/sweep.py --trials 1000 --trials 10000
    python benchmarks/sweep.py --trials 300 --json | tail -1

Every sweep runs in its own process, with real Ray, Optuna's random search, MLflow on sqlite and the
ledger on disk.  With `--algorithm tpe` the cost of TPE's suggestions is included.

Expect one line per sweep, then one line with a JSON object: `seconds_N`, `seconds_a_trial_N`,
`compare_seconds_N` and `driver_rss_mb_N` for every number of trials N.  On two quiet cores the
default takes 1.5 minutes, and 10,000 trials take 10 minutes.
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
from command import Parser, Progress, count

#: Searches that can propose any number of trials in `SPEC`'s space.
ALGORITHMS = ("random", "tpe", "nsga2", "gp")
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
    """Run one sweep in this process, and print its seconds and its largest resident size."""
    from rich.console import Console

    from orchestrator.spec import load_spec
    from orchestrator.sweep import run_sweep

    started = time.perf_counter()
    spec = load_spec(file, None, [f"resources.max_concurrent={concurrent}"])
    with open(os.devnull, "w") as null:
        outcome = run_sweep(spec, out, Console(file=null), train="no_work:train")
    result = {
        "seconds": time.perf_counter() - started,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "trials": outcome.trials,
        "exit_code": outcome.exit_code,
        "error": outcome.error,
    }
    print(json.dumps(result))


def sweep(trials: int, algorithm: str, folder: Path, concurrent: int) -> dict[str, Any]:
    """Run a sweep of that many trials in a process of its own, then `orch compare` on it.

    Raises `SystemExit` if a trial is missing.
    """
    file, out = folder / "sweep.yaml", folder / "out"
    spec = {**SPEC, "search": {**SPEC["search"], "num_trials": trials, "algorithm": algorithm}}
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has bytecode, too
    command = [sys.executable, __file__, "--drive", str(file), str(out), str(concurrent)]
    printed, errors = folder / "printed", folder / "errors"
    with printed.open("w") as stdout, errors.open("w") as stderr:
        process = subprocess.Popen(command, env=environment, stdout=stdout, stderr=stderr)
        progress = Progress()
        while process.poll() is None:
            progress(f"{len(list((out / SPEC['name'] / 'trials').glob('*')))} of {trials} trials")
            time.sleep(0.5)
        progress.clear()
    if process.returncode:
        raise SystemExit(errors.read_text()[-2000:])
    result: dict[str, Any] = json.loads(printed.read_text().splitlines()[-1])
    if result["trials"] != trials or result["exit_code"]:
        raise SystemExit(f"{result['trials']} of {trials} trials: {result['error']}")
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
    command += ["compare", SPEC["name"], "--out", str(out)]
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return {**result, "compare_seconds": time.perf_counter() - started}


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--trials",
        type=count,
        action="append",
        help="trials of a sweep (1000); 10000 take 10 minutes, and the driver 1.4 GB",
    )
    parser.add_argument(
        "--algorithm", choices=ALGORITHMS, default="random", help="search algorithm (random)"
    )
    parser.add_argument(
        "--concurrent", type=count, default=2, help="trials that run at the same time (2)"
    )
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    parser.add_argument("--drive", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        file, out, concurrent = options.drive
        drive(file, out, int(concurrent))
        return
    summary: dict[str, Any] = {"benchmark": "sweep", "algorithm": options.algorithm}
    summary["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    summary["cpus"] = os.cpu_count()
    for trials in options.trials or [1000]:
        with tempfile.TemporaryDirectory() as folder:
            result = sweep(trials, options.algorithm, Path(folder), options.concurrent)
        summary |= {
            f"seconds_{trials}": round(result["seconds"], 1),
            f"seconds_a_trial_{trials}": round(result["seconds"] / trials, 4),
            f"compare_seconds_{trials}": round(result["compare_seconds"], 2),
            f"driver_rss_mb_{trials}": round(result["rss_mb"]),
        }
        if not options.json:
            print(
                f"{trials} trials: {result['seconds']:.1f} s, "
                f"{result['seconds'] / trials * 1e3:.1f} ms per trial; "
                f"compare {result['compare_seconds']:.1f} s; driver {result['rss_mb']:.0f} MB",
                flush=True,
            )
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
