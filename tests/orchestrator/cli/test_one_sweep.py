"""`orch best`, `orch logs` and `orch diff`: a sweep's best configuration, its logs, two trials."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchestrator as orch
from orchestrator.cli import COMMANDS
from orchestrator.ledger import RESOLVED, Ledger, follow_log
from orchestrator.ledger.follow_log import follow, new_lines, trial_lines
from tests.support import command
from tests.support.decided import SimulatedSweep, sweep_spec
from tests.support.ledgers import write_trial
from tests.support.simulated import World
from trainer.config import TrainConfig
from trainer.storage.trial_directory import TrialDirectory


def skill(config: TrainConfig) -> float:
    return 0.7 if config.sampler == "arrp" else 0.6


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps")
    world = World.of(np.random.default_rng(0), sst=60, qqp=80, sts=40)
    SimulatedSweep(out, sweep_spec(), world, skill).search()
    return out


@pytest.fixture
def run(out: Path) -> Callable[..., command.Answer]:
    return lambda *arguments: command.orch(*arguments, "--out", str(out))


def trials(out: Path) -> dict[tuple[str, int, int], str]:
    """(sampler, B, seed) -> trial id."""
    return {
        (t.config["sampler"], t.config["B"], t.config["seed"]): t.trial_id
        for t in Ledger(out, "s").trials()
    }


def test_best_says_what_python_says(out: Path, run: Callable[..., command.Answer]) -> None:
    best = orch.load("s", out).best()
    shown = json.loads(run("best", "s", "--json").stdout)
    assert {**json.loads(json.dumps(best.to_dict())), "commands": best.commands()} == shown
    text = run("best", "s").stdout
    for each in best.seeds:
        assert each.trial_id in text and f"{each.dev_score:.4f}" in text
    assert best.configuration in text and f"{best.dev_score:.4f} ± {best.sd:.4f}" in text


def test_the_commands_of_best_exist(out: Path) -> None:
    for line in orch.load("s", out).best().commands().values():
        words = shlex.split(line)
        assert words[0] == "python" and Path(words[4]).is_file() or words[1] in {
            *COMMANDS, "export",
        }  # fmt: skip


def test_a_sweep_without_a_complete_trial_has_no_best(tmp_path: Path) -> None:
    write_trial(tmp_path / "s", [0.5], status=None)
    answer = command.orch("best", str(tmp_path / "s"))
    assert answer.returncode == 2 and "no complete trial" in answer.stderr


def test_diff_has_every_key_that_differs(out: Path, run: Callable[..., command.Answer]) -> None:
    ids = trials(out)
    one, other = ids["arrp", 64, 1], ids["annealed", 128, 1]
    found = json.loads(run("diff", one, other, "--json").stdout)
    keys = {each["key"]: each for each in found["config"]}
    assert set(keys) == {"sampler", "B"}
    assert (keys["B"]["first"], keys["B"]["second"], keys["B"]["acts"]) == (64, 128, "both")
    scores = {t.trial_id: t.summary["dev_score"] for t in Ledger(out, "s").trials()}
    number = {each["name"]: each for each in found["numbers"]}["dev_score"]
    assert (number["first"], number["second"]) == (scores[one], scores[other])
    assert number["difference"] == scores[other] - scores[one]
    text = run("diff", one, other).stdout
    assert one in text and other in text and f"{number['difference']:+.4f}" in text


def test_diff_marks_keys_that_do_not_act(tmp_path: Path) -> None:
    shared = {"sampler": "round_robin", "seed": 1}
    one = write_trial(tmp_path / "a", [0.5], **shared, fingerprint="f")
    other = write_trial(tmp_path / "b", [0.5], **shared, B=77, fingerprint="g")
    answer = command.orch(
        *("diff", f"{tmp_path}/a@{one}", f"{tmp_path}/b@{other}", "--json"), cwd=tmp_path
    )
    found = json.loads(answer.stdout)
    assert [(each["key"], each["acts"]) for each in found["config"]] == [("B", "neither")]
    assert found["problems"] == ["different data"]


def test_diff_finds_a_trial_in_the_sweep_that_has_it(
    out: Path, run: Callable[..., command.Answer]
) -> None:
    ids = trials(out)
    one, other = ids["arrp", 64, 1], ids["arrp", 64, 2]
    first = run("diff", f"s@{one}", other).stdout
    assert first == run("diff", one, f"s@{other}").stdout == run("diff", one, other).stdout
    answer = run("diff", one, "nothing")
    assert answer.returncode == 2 and "'nothing'" in answer.stderr
    answer = run("diff", "ar", other)
    assert answer.returncode == 2 and "6 trials start with 'ar' in s" in answer.stderr
    assert "did you mean" not in answer.stderr  # no one of them is more likely


def test_a_trial_of_two_sweeps_must_be_named_with_its_own(tmp_path: Path) -> None:
    for sweep in ("a", "b"):
        one = write_trial(tmp_path / sweep, [0.5], sampler="arrp")
        other = write_trial(tmp_path / sweep, [0.5], sampler="annealed")
        (tmp_path / sweep / RESOLVED).write_text(f"name: {sweep}\n")
    out = ("--out", str(tmp_path))
    answer = command.orch("diff", one, other, *out)
    assert answer.returncode == 2
    assert f"in 2 sweeps; name one: a@{one}, b@{one}" in answer.stderr
    assert command.orch("diff", f"b@{one}", other, *out).returncode == 0


LINES = st.integers(0, 60)


@given(LINES, LINES, st.integers(1, 40))
def test_new_lines_of_a_log_that_drops_its_oldest(first: int, more: int, kept: int) -> None:
    whole = [str(number) for number in range(first + more)]
    before, now = whole[:first][-kept:], whole[-kept:] if whole else []
    assert new_lines(before, now) == whole[first:][-kept:]


def test_follow_has_every_line_of_every_attempt_once(tmp_path: Path) -> None:
    directory = TrialDirectory(str(tmp_path))
    written = iter([("001", "a\nb\n"), ("001", "a\nb\nc\n"), ("002", "d\n"), ("002", "d\ne\n")])
    left = 4

    def grows() -> bool:
        """The last lines come when it has just ended."""
        nonlocal left
        number, content = next(written)
        directory.write(f"logs/{number}.txt", content.encode())
        left -= 1
        return left > 0

    waits: list[float] = []
    lines = list(follow(trial_lines(directory), grows, waits.append))
    assert lines == ["a", "b", "c", "--- attempt 2 ---", "d", "e"]
    assert waits == [follow_log.PAUSE_S] * 3


def test_logs_prints_all_attempts_and_the_drivers_log(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.5])
    directory = Ledger(tmp_path, "s").directory(name)
    directory.write("logs/001.txt", b"lost its node\n")
    directory.write("logs/002.txt", b"went on\x1b[31m\n")
    (tmp_path / "s" / "driver.log").write_text("WARNING slow\n")
    said = command.orch("logs", "s", name[:8], "--out", str(tmp_path))
    assert said.stdout == "lost its node\n--- attempt 2 ---\nwent on\\x1b[31m\n"
    assert command.orch("logs", "s", "--out", str(tmp_path)).stdout == "WARNING slow\n"
    followed = command.orch("logs", "s", name, "-f", "--out", str(tmp_path))
    assert followed.stdout == said.stdout  # it has ended, so following it ends
    assert "nothing writes to it any more" in followed.stderr
    answer = command.orch("logs", "s", "-f", "--json", "--out", str(tmp_path))
    assert answer.returncode == 2 and "choose one" in answer.stderr
    lines = json.loads(command.orch("logs", "s", "--json", "--out", str(tmp_path)).stdout)["lines"]
    assert lines == ["WARNING slow"]
