"""5,000 trials in one folder: reading and projecting take time and memory in proportion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ledgers import write_trial
from tests.support.paths import ROOT

FEW, MANY = 1000, 5000
#: `orch`, which then writes its peak memory in kB.  What `wait4` tells holds that of this process,
#: which the command was forked from.
_RUN = """
import atexit, re, sys
from pathlib import Path
peak = Path(sys.argv.pop(1))
atexit.register(lambda: peak.write_text(
    re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
))
from orchestrator.cli import main
main()
"""
#: Reading commands, with the seconds and MB that 5,000 trials may take on a slow machine.
COMMANDS = {
    "ls": (["ls"], 20, 300),
    "show": (["show", "s"], 60, 600),
    "compare": (["compare", "s"], 60, 600),
    "best": (["best", "s"], 60, 600),
    "table": (["export", "table", "s", "-o", "{}/table.csv"], 60, 900),
}


def many(folder: Path, count: int) -> Path:
    """So many trials, half of them of each seed; every configuration is another."""
    for number in range(count // 2):
        for seed in (1, 2):
            scores = [0.4 + (number % 97) / 300, 0.5 + (number % 89) / 300 + seed / 1000]
            write_trial(folder / "s", scores, learning_rate=1e-5 * (1 + number), seed=seed)
    return folder


def cost(out: Path, *command: str) -> tuple[float, float]:
    """Seconds of CPU time and MB of a command."""
    words = [word.format(out) for word in command]
    peak = out / "peak.txt"
    run = [sys.executable, "-c", _RUN, str(peak), *words]
    process = subprocess.Popen(
        [*run, "--out", str(out)], stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return used.ru_utime + used.ru_stime, int(peak.read_text()) / 1000


@pytest.mark.exhaustive(reason="thousands of trial directories are written, which takes minutes")
def test_every_reading_command_and_sync_is_linear(tmp_path: Path) -> None:
    few, lots = many(tmp_path / "few", FEW), many(tmp_path / "many", MANY)
    for name, (command, seconds, megabytes) in COMMANDS.items():
        (small, _), (large, memory) = cost(few, *command), cost(lots, *command)
        print(f"{name}: {small:.1f} s, {large:.1f} s, {memory:.0f} MB")
        assert large < seconds and memory < megabytes, name
        assert large < 1.6 * MANY / FEW * small, name  # linear, with what is paid once
    (small, _), (large, memory) = cost(few, "sync", "s"), cost(lots, "sync", "s")
    print(f"sync: {small:.1f} s, {large:.1f} s, {memory:.0f} MB")
    assert large < 1.6 * MANY / FEW * small and memory < 2000
