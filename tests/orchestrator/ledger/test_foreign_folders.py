"""A sweep's folder may come from anybody: reading it ends soon, with results or one clear error."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger import Ledger
from orchestrator.ledger.driver_log import DriverLog, driver_log
from orchestrator.ledger.sweep_lock import Locked, SweepLock
from tests.support.command import orch
from tests.support.limits import Beyond, limits
from tests.support.mutants import mutate, write_sound_sweep
from trainer.storage.folder import Refused

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


#: Commands that name the trials which they leave out.
NAMING = (
    "show s", "show s --json", "compare s", "best s", "evaluate s", "pack s -o p.tar.xz",
    "export table s --of trials -o t.csv",
)  # fmt: skip


def test_a_trial_that_cannot_be_read_is_named_and_the_others_are_shown(
    sound: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(sound, tmp_path / "sweeps")
    broken, other = Ledger(tmp_path / "sweeps", "s").trial_ids()[:2]
    end = tmp_path / "sweeps/s/trials" / broken / "end.json"
    end.unlink()
    os.mkfifo(end)
    for command in NAMING:
        with limits():
            answer = orch(*command.split(), cwd=tmp_path)
        said = answer.stdout + answer.stderr + caplog.text  # a warning is printed, but for pytest
        caplog.clear()
        assert answer.returncode == 0, (command, said)
        assert broken in said and "end.json: is a FIFO, not a regular file" in said, command
    assert "3 complete, 1 unreadable" in orch("ls", cwd=tmp_path).stdout
    assert orch("show", "s", other, cwd=tmp_path).returncode == 0
    answer = orch("show", "s", broken, cwd=tmp_path)
    assert answer.returncode == 2 and "end.json: is a FIFO" in answer.stderr


#: What a sweep's own files become -> what `orch ls` says of this sweep.
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "sweep.yaml is a list": (
        lambda sweep: (sweep / "sweep.yaml").write_text("- 1"), "sweep.yaml: is not a mapping"
    ),
    "base is a list": (
        lambda sweep: (sweep / "sweep.yaml").write_text("base: [1]"), "base: is not a mapping"
    ),
    "sweep.yaml is deep": (
        lambda sweep: (sweep / "sweep.yaml").write_text("a: " + "[" * 99), "sweep.yaml:1: more than"
    ),
    "trials is a link out": (
        lambda sweep: (
            shutil.rmtree(sweep / "trials"), (sweep / "trials").symlink_to("/usr"),
        ), "trials: is a link to /usr, which is not in",
    ),
    "the lock is a folder": (
        lambda sweep: ((sweep / "lock").unlink(), (sweep / "lock").mkdir()), "which?"
    ),
    "the lock is deep": (lambda sweep: (sweep / "lock").write_text("[" * 100_000), "which?"),
    "the status is of words": (
        lambda sweep: (sweep / "status.json").write_text(
            '{"name": "s", "pid": 4, "started": "x", "heartbeat": "late"}'
        ), "which?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_sweep_does_not_hide_the_others(case: str, sound: Path, tmp_path: Path) -> None:
    for name in ("broken", "sound"):
        shutil.copytree(sound / "s", tmp_path / "sweeps" / name)
    harm, said = BROKEN[case]
    harm(tmp_path / "sweeps/broken")
    with limits():
        answer = orch("ls", "--json", cwd=tmp_path)
    broken, intact = json.loads(answer.stdout)
    assert said in broken["question"] and intact["question"] == "which?"
    assert intact["trials"]["complete"] == 4


@pytest.mark.parametrize("harm", [lambda lock: lock.mkdir(), os.mkfifo], ids=["a folder", "a FIFO"])
def test_a_lock_that_is_no_file_is_one_error(harm: Callable[[Path], Any], tmp_path: Path) -> None:
    harm(tmp_path / "lock")
    with pytest.raises(Locked, match="not a regular file; delete it if no driver"), limits():
        SweepLock(tmp_path).__enter__()


def test_a_log_is_read_as_it_grows_and_not_through_a_link(tmp_path: Path) -> None:
    path = tmp_path / "driver.log"
    log = DriverLog(path)
    assert list(log.new_lines()) == []
    path.write_text("a\nb\n")
    assert list(log.new_lines()) == ["a", "b"] and list(log.new_lines()) == []
    with path.open("a") as stream:
        stream.write("c\n")
    assert list(log.new_lines()) == ["c"]
    path.write_text("d\n")  # a new log
    assert list(log.new_lines()) == ["d"]
    with path.open("w") as stream:
        stream.writelines(f"line {n}\n" for n in range(600_000))
    lines = list(DriverLog(path).new_lines())
    assert lines[-1] == "line 599999" and 200_000 < len(lines) < 600_000
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(Refused, match="is a link to /etc/passwd"):
        list(DriverLog(path).new_lines())
    with driver_log(path):  # nor written through it
        logging.getLogger("orchestrator").warning("a")
    path.unlink()
    os.mkfifo(path)
    with driver_log(path), limits():
        logging.getLogger("orchestrator").warning("a")


#: Mutants on which a command once ended with a traceback.
FOUND = (467, 1555, 1913, 3450, 3490, 6309, 6436, 6773, 6946, 8450, 23596, 30870)


def test_a_mutant_is_read_or_refused(sound: Path, tmp_path: Path) -> None:
    found = [attack(tmp_path, sound, seed) for seed in (*FOUND, *range(60))]
    assert not any(found), "\n".join(filter(None, found))


@pytest.mark.exhaustive(reason="10,000 mutants take an hour")
@pytest.mark.parametrize("hundredth", range(100))
def test_ten_thousand_mutants_are_read_or_refused(
    sound: Path, tmp_path: Path, hundredth: int
) -> None:
    first = 1_000 + 100 * hundredth
    found = [attack(tmp_path, sound, seed) for seed in range(first, first + 100)]
    assert not any(found), "\n".join(filter(None, found))
