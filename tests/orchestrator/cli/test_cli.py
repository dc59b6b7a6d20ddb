"""The command line: examples that work, exit codes, messages without stack traces."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.ledger import RESOLVED
from orchestrator.spec import load_spec
from orchestrator.spec.json_schema import sweep_schema
from tests.support.command import ORCH, orch, orch_process
from tests.support.hosts import multiplying_bf16
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT
from trainer.metrics import FIRST_CLOCK, FIRST_CLOCK_NOTE

COMMANDS = [
    "sweep", "validate", "plan", "schema", "ls", "show", "compare", "report", "time", "sync", "ui",
    "doctor", "data stats", "export submission",
]  # fmt: skip
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the sweep files and one sweep that has run."""
    shutil.copytree(ROOT / "search_spaces", tmp_path / "search_spaces")
    sweep = tmp_path / "sweeps" / "arrp-embedded"
    write_trial(sweep, [0.4, 0.5], sampler="arrp", seed=1)
    write_trial(sweep, [0.4, 0.6], sampler="annealed", seed=1)
    write_trial(sweep, [], sampler="round_robin", status="failed", reason="diverged")
    spec = load_spec(str(ROOT / "search_spaces" / "arrp.yaml"), "embedded", ["base.epochs=2"])
    (sweep / "sweep.yaml").write_text(spec.to_yaml())
    return tmp_path


def example_of(command: str) -> list[str]:
    """The example that a command's help shows, as arguments."""
    text = orch(*command.split(), "--help", cwd=ROOT).stdout
    match = re.search(r"Example: orch (.+)", text)
    assert match, f"the help of {command} has no example"
    assert match[1].startswith(command)
    return shlex.split(match[1].partition(">")[0])


def test_help_lists_every_command_in_under_a_second() -> None:
    begun = _children_s()
    answer = orch_process("--help")
    assert _children_s() - begun < 1
    for command in COMMANDS:
        assert re.search(rf"^  {command.split()[0]}\b", answer.stdout, re.MULTILINE)


def _children_s() -> float:
    """Seconds that ended child processes have computed, however busy the machine is."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("command", ["validate", "schema", "ls", "compare", "report", "data stats"])
def test_the_example_in_the_help_works(command: str, place: Path) -> None:
    answer = orch(*example_of(command), cwd=place)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout


def test_the_example_of_sweep_names_its_trials_in_a_dry_run(place: Path) -> None:
    answer = orch(*example_of("sweep"), "--dry-run", cwd=place)
    assert answer.returncode == 0, answer.stderr
    assert "6 configurations x 2 seeds = 12 trials" in answer.stdout
    rows = [line.split() for line in answer.stdout.splitlines()]
    assert ["configuration", "sampler", "B", "lambda", "freeze"] in rows
    assert ["1", "round_robin", "-", "-", "none"] in rows
    assert ["5", "arrp", "1590", "0.5", "encoder"] in rows
    assert "does not act" not in answer.stdout
    assert "lambda: 0.1 to 1.0, where sampler is arrp" in answer.stdout
    assert "precision: fp32 (as configured), device: " in answer.stdout
    assert not (place / "sweeps" / "arrp-embedded" / "lock").exists()


def test_a_dry_run_says_with_why_what_does_not_act(place: Path) -> None:
    answer = orch(*example_of("sweep"), "--dry-run", "--why", cwd=place)
    assert "does not act: lambda (sampler round_robin does not use lambda)" in answer.stdout
    assert "configuration 5: sampler=arrp, " in answer.stdout


def test_a_dry_run_says_what_this_host_makes_of_auto(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    multiplying_bf16(monkeypatch, False)

    def run(precision: str, *options: str) -> Any:
        changes = ["--set", f"base.precision={precision}", "--set", "base.device=cpu", *options]
        file = "search_spaces/arrp.yaml"
        return CliRunner().invoke(app, ["sweep", file, "--profile", "cpu", "--dry-run", *changes])

    said = "precision: fp32 (auto; this CPU does not multiply bf16 natively), device: cpu"
    assert said in run("auto").stdout
    assert json.loads(run("auto", "--json").stdout)["host"].startswith(said)
    assert "\nnot here: precision: bf16: this CPU does not" in run("bf16").stdout
    assert "precision: " not in run("auto", "--address", "1.2.3.4:5").stdout


def test_show_takes_a_name_or_a_folder_and_the_beginning_of_a_trial(place: Path) -> None:
    name, _ = example_of("show")[1:]
    assert name == "arrp-embedded"
    by_name = orch("show", name, cwd=place)
    by_folder = orch("show", "sweeps/arrp-embedded", "--out", "elsewhere", cwd=place)
    assert "diverged" in by_name.stdout and "2/2" in by_name.stdout
    rows = by_name.stdout.splitlines()[2:]
    assert rows == by_folder.stdout.splitlines()[2:]
    assert rows[0].split()[:2] == ["trial", "configuration"]
    assert any("annealed B=" in row for row in rows)
    trial = orch("show", name, "annealed", cwd=place)
    assert "0.6000" in trial.stdout and '"sampler": "annealed"' in trial.stdout


def test_show_marks_the_minutes_of_the_first_clock(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.5, 0.6], clock=FIRST_CLOCK)
    (tmp_path / "s" / RESOLVED).write_text("question: q\n")
    for words in ((), (name,)):
        shown = orch("show", str(tmp_path / "s"), *words, cwd=tmp_path).stdout
        assert "1.000°" in shown and FIRST_CLOCK_NOTE in shown
    write_trial(tmp_path / "t", [0.5, 0.6])
    (tmp_path / "t" / RESOLVED).write_text("question: q\n")
    assert "°" not in orch("show", str(tmp_path / "t"), cwd=tmp_path).stdout


def test_compare_begins_with_question_and_verdict(place: Path) -> None:
    lines = orch("compare", "arrp-embedded", cwd=place).stdout.splitlines()
    assert lines[0] == "Does ARRP reach annealed PCGrad's dev score in fewer minutes per epoch?"
    assert lines[1].startswith("NOT DECIDED. ")


def mistakes(text: str) -> list[str]:
    """The lines of stderr without those that a command prints while it takes long."""
    return [line for line in text.splitlines() if not line.endswith(" ...")]


def test_a_process_of_its_own_prints_the_same(place: Path) -> None:
    """The other tests here run the command in their own process."""
    for arguments in (("compare", "arrp-embedded"), ("show", "nothing")):
        other, mine = orch_process(*arguments, cwd=place), orch(*arguments, cwd=place)
        assert (other.returncode, other.stdout) == (mine.returncode, mine.stdout)
        assert mistakes(other.stderr) == mistakes(mine.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        "sweep search_spaces/arrp.yaml --profile embedded --dry-run",
        "validate search_spaces/arrp.yaml",
        "schema",
        "ls",
        "show arrp-embedded",
        "show arrp-embedded annealed",
        "compare arrp-embedded",
    ],
)
def test_what_is_read_can_be_had_as_json(arguments: str, place: Path) -> None:
    words = arguments.split() + (["--json"] if arguments != "schema" else [])
    answer = orch(*words, cwd=place)
    assert answer.returncode == 0, answer.stderr
    value: Any = json.loads(answer.stdout)
    assert value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sweep nowhere.yaml", "nowhere.yaml: cannot be read: No such file or directory"),
        ("sweep {file} --profile small", "unknown profile 'small'; allowed: cpu, embedded"),
        ("sweep {file} --set base.epoch=3", "base.epoch: unknown key (did you mean 'epochs'?)"),
        ("sweep {file} --set space.lambda.high=1.5", "space.lambda.high: 1.5 is outside its range"),
        (
            "sweep {file} --set space.sampler.choices=[arpp]",
            "unknown value 'arpp' (did you mean 'arrp'?); allowed: proportional, annealed",
        ),
        ("validate {file} --set base.epochs=0", "base.epochs: 0 is outside its range"),
        ("show nothing", "no sweep 'nothing' in sweeps; known: arrp-embedded"),
        ("show arrp-embedded cycle", "no trial 'cycle' in arrp-embedded; known: annealed-"),
        ("compare nothing", "no sweep 'nothing'"),
        ("ui --out nowhere", "no such database yet"),
        ("data stats {file} --set base.data.root=nowhere", "nowhere"),
        ("sweep", "Missing argument"),
        ("train", "No such command"),
    ],
)
def test_a_mistake_is_one_message_exit_2_and_nothing_started(
    arguments: str, message: str, place: Path
) -> None:
    before = sorted(place.rglob("*"))
    answer = orch(*arguments.format(file="search_spaces/arrp.yaml").split(), cwd=place)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr and answer.stdout == ""
    assert sorted(place.rglob("*")) == before


def test_validate_looks_into_every_profile(place: Path) -> None:
    file = place / "search_spaces" / "arrp.yaml"
    file.write_text(file.read_text().replace("encoder: tiny", "encodr: tiny"))
    answer = orch("validate", "search_spaces/arrp.yaml", "--json", cwd=place)
    assert answer.returncode == 2
    [problem] = json.loads(answer.stdout)["problems"]
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "encodr" in text)
    assert (problem["line"], problem["key"]) == (line, "base.encodr")


def test_the_schema_file_is_up_to_date() -> None:
    stored = json.loads((ROOT / "search_spaces" / "schema.json").read_text())
    assert stored == sweep_schema(), "run: orch schema > search_spaces/schema.json"


@pytest.mark.slow(reason="starts MLflow's server")
def test_ui_serves_the_database_that_sync_fills(place: Path) -> None:
    synced = orch(*example_of("sync"), cwd=place)
    told = "arrp-embedded: 3 trials in MLflow at sqlite:///"
    assert synced.stdout.startswith(told), synced.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*ORCH, *example_of("ui")[:-1], str(port)]
    server = subprocess.Popen(
        command, cwd=place, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert _answers(f"http://127.0.0.1:{port}/health", server) == "OK"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _answers(url: str, server: subprocess.Popen[bytes], seconds: float = 60) -> str:
    """The page, as soon as the server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return str(response.read().decode())
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer; the server's exit code: {server.poll()}")
