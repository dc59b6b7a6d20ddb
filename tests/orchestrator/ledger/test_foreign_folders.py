"""A sweep's folder may come from anybody: reading it ends soon, with results or one clear error."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from tests.support.command import orch
from tests.support.limits import Beyond, limits
from tests.support.mutants import mutate, write_sound_sweep

#: Commands that read a sweep; TRIAL is one of its trials.
READING = (
    "ls", "ls --json", "show s", "show s --json", "show s TRIAL", "show s TRIAL --json",
    "compare s", "compare s --json --why", "best s", "best s --json", "diff s@TRIAL s@OTHER",
    "logs s", "logs s TRIAL", "watch s --json", "export table s --of trials -o t.csv",
    "export table s --of epochs -o e.csv", "export table s --of predictions -o p.parquet",
    "pack s -o p.tar.xz", "evaluate s", "predict s sweeps/s/sweep.yaml",
)  # fmt: skip


def attack(tmp_path: Path, sound: Path, seed: int, commands: Sequence[str] = READING) -> str:
    """What is wrong with how a command reads a mutant; empty if nothing."""
    rng = random.Random(seed)
    sweeps = tmp_path / "sweeps"
    shutil.rmtree(sweeps, ignore_errors=True)
    shutil.copytree(sound, sweeps)
    trials = sorted(path.name for path in (sweeps / "s/trials").iterdir())
    done = mutate(sweeps / "s", rng)
    command = rng.choice(commands).replace("TRIAL", trials[0]).replace("OTHER", trials[-1])
    said = f"seed {seed}: {', '.join(done)}: orch {command}: "
    for old in tmp_path.glob("*.*"):
        old.unlink()
    try:
        with limits():
            answer = orch(*command.split(), cwd=tmp_path)
    except (Exception, Beyond) as error:
        return f"{said}{type(error).__name__}: {str(error)[:500]}"
    if answer.returncode not in (0, 1, 2) or "Traceback" in answer.stderr:
        return f"{said}exit code {answer.returncode}: {answer.stderr[:500]}"
    if len(answer.stderr) > 10_000:
        return f"{said}{len(answer.stderr):,} characters: {answer.stderr[:200]}"
    return ""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "sweeps"
    write_sound_sweep(out)
    return out


def test_every_command_reads_the_sound_sweep(sound: Path, tmp_path: Path) -> None:
    """Otherwise the mutants would be tested on commands that read nothing."""
    shutil.copytree(sound, tmp_path / "sweeps")
    trials = Ledger(tmp_path / "sweeps", "s").trial_ids()
    for command in READING:
        if command.split()[0] not in ("doctor", "evaluate", "predict"):  # they need data or weights
            command = command.replace("TRIAL", trials[0]).replace("OTHER", trials[-1])
            answer = orch(*command.split(), cwd=tmp_path)
            assert answer.returncode == 0, (command, answer.stderr)


@pytest.mark.parametrize("tenth", range(10))
def test_a_mutant_is_read_or_refused(sound: Path, tmp_path: Path, tenth: int) -> None:
    found = [attack(tmp_path, sound, seed) for seed in range(10 * tenth, 10 * tenth + 10)]
    assert not any(found), "\n".join(filter(None, found))


@pytest.mark.exhaustive(reason="10,000 mutants take an hour")
@pytest.mark.parametrize("hundredth", range(100))
def test_ten_thousand_mutants_are_read_or_refused(
    sound: Path, tmp_path: Path, hundredth: int
) -> None:
    first = 1_000 + 100 * hundredth
    found = [attack(tmp_path, sound, seed) for seed in range(first, first + 100)]
    assert not any(found), "\n".join(filter(None, found))
