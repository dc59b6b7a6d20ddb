"""Options of all commands, what a shell completes, and pipes whose reader goes away."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator import __version__
from orchestrator.cli import COMMANDS
from orchestrator.ledger import RESOLVED, Ledger
from tests.support.command import ORCH, orch
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT

GROUPS = ["data", "data stats", "export", "export table"]


@pytest.fixture
def sweeps(tmp_path: Path) -> Path:
    """A folder with one sweep of two trials."""
    write_trial(tmp_path / "first", [0.4, 0.5], sampler="arrp", seed=1)
    write_trial(tmp_path / "first", [0.4, 0.6], sampler="annealed", seed=1)
    (tmp_path / "first" / RESOLVED).write_text("question: Which is better?\n")
    return tmp_path


def test_the_version_is_that_of_the_package() -> None:
    assert orch("--version").stdout == f"orch {__version__}\n"


@pytest.mark.parametrize("command", ["", *COMMANDS, *GROUPS])
def test_h_is_help_everywhere(command: str) -> None:
    short, long = orch(*command.split(), "-h"), orch(*command.split(), "--help")
    assert short.returncode == 0 and short.stdout == long.stdout
    assert short.stdout.startswith("Usage: orch ")
    assert "..." not in short.stdout.partition("Options:")[2]  # no sentence is cut
    assert "--quiet" in short.stdout or command in ("data", "export")


def test_a_folder_of_sweeps_can_be_set_once(
    sweeps: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORCH_OUT", str(sweeps))
    assert "Which is better?" in orch("ls").stdout
    assert orch("show", "first").returncode == 0
    assert orch("ls", "--out", str(tmp_path / "other")).stdout.startswith("no sweep in")


def test_quiet_prints_the_answer_alone(sweeps: Path) -> None:
    loud = orch("compare", "first", "--out", str(sweeps))
    for words in (("--quiet", "compare", "first"), ("compare", "first", "--quiet")):
        quiet = orch(*words, "--out", str(sweeps))
        assert quiet.returncode == 0 and quiet.stderr == ""
        assert loud.stdout.startswith(quiet.stdout)
        assert "\nNOT DECIDED. " in quiet.stdout
        assert len(quiet.stdout) < len(loud.stdout) and "\nconfiguration  " not in quiet.stdout
    wrong = orch("compare", "second", "--quiet", "--out", str(sweeps))
    assert (wrong.returncode, wrong.stdout) == (2, "") and "no sweep 'second'" in wrong.stderr


def test_verbose_prints_the_log_on_stderr(sweeps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.ledger import listing

    def named(out: str) -> list[str]:
        logging.getLogger("orchestrator.ledger").info("looking into %s", out)
        return ["first"]

    monkeypatch.setattr(listing, "sweep_names", named)
    spoken = orch("ls", "--verbose", "--out", str(sweeps)).stderr
    assert f"INFO orchestrator.ledger: looking into {sweeps}" in spoken
    assert "looking" not in orch("ls", "--out", str(sweeps)).stderr
    both = orch("--verbose", "ls", "--quiet", "--out", str(sweeps))
    assert both.returncode == 2 and "cannot be given together" in both.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("orch show fi", ["first"]),
        ("orch show first ", ["annealed-", "arrp-"]),
        ("orch show first arr", ["arrp-"]),
        ("orch predict first@ann", ["first@annealed-"]),
        ("orch compare none", []),
        ("orch comp", ["compare"]),
    ],
)
def test_a_shell_completes_sweeps_and_trials(
    sweeps: Path, words: str, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_OUT", str(sweeps))
    monkeypatch.setenv("_ORCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    lines = orch().stdout.split()
    assert len(lines) == len(offered)
    assert all(line.startswith(each) for line, each in zip(sorted(lines), offered, strict=True))


def closed_early(*arguments: str, cwd: Path) -> tuple[int, str]:
    """The exit code and stderr of a command whose output nobody reads."""
    process = subprocess.Popen(
        [*ORCH, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    return process.wait(120), error


@pytest.mark.parametrize("arguments", ["schema", "show first --out . --json", "--help"])
def test_a_reader_may_close_the_pipe(sweeps: Path, arguments: str) -> None:
    assert closed_early(*arguments.split(), cwd=sweeps) == (0, "")


def test_a_command_with_work_to_do_goes_on_without_a_reader() -> None:
    code = (
        "import sys, os\n"
        "from orchestrator.cli.streams import guard_streams, outlive_readers\n"
        "guard_streams(); outlive_readers()\n"
        "sys.stdin.readline()\n"
        "for _ in range(3): print('x' * 100000, flush=True)\n"
        "print('done', file=sys.stderr); sys.exit(7)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stderr.read() == "done\n"
    process.stderr.close()
    assert process.wait(60) == 7


@pytest.mark.slow(reason="starts Ray")
def test_a_sweep_trains_on_when_nobody_reads_it(tmp_path: Path, cache: Path) -> None:
    sweep = {
        "name": "s",
        "base": {"data": {"source": "synthetic", "size": 32, "cache": str(cache)},
                 "encoder": "tiny", "epochs": 1},
        "search": {"algorithm": "list", "num_trials": 1}, "enqueue": [{"sampler": "round_robin"}],
        "tracking": {"report": False, "registered_model": "none", "study": "none"},
    }  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(sweep))
    code, error = closed_early("sweep", "s.yaml", cwd=tmp_path)
    assert code == 0, error
    assert [trial.status for trial in Ledger(tmp_path / "sweeps", "s").trials()] == ["complete"]


def test_colours_are_for_terminals_alone(sweeps: Path) -> None:
    for words in (("compare", "first", "--out", str(sweeps)), ("doctor", "--out", str(sweeps))):
        answer = orch(*words)
        assert answer.stdout and "\x1b" not in answer.stdout + answer.stderr


_INSTALLED = """
import atexit, sys
from orchestrator.cli import run
atexit.register(print, "last words")
sys.stdout.write("first ")
run()
"""


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--version"], 0), (["ls", "--nothing"], 2), (["show", "x"], 2)]
)
def test_the_installed_command_leaves_at_once_with_code_and_output(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INSTALLED, *arguments],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == code
    assert done.stdout.startswith("first ") and done.stdout.endswith("last words\n")
    assert "Traceback" not in done.stderr
