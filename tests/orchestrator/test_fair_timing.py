"""`orch time`: which configurations are timed, how, the file that it leaves, the command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.cli.time import _Interrupt
from orchestrator.errors import UserError
from orchestrator.fair_timing import Effort, choose, group_of, ready, time_in_turn
from orchestrator.ledger import Ledger, timing_sessions
from orchestrator.ledger.sweep_lock import SweepLock
from orchestrator.ledger.timing_sessions import timings
from orchestrator.ledger.trial_id import config_id, trial_id
from tests.support.hosts import multiplying_bf16
from tests.support.paths import ROOT
from tests.support.sessions import made_up
from tests.support.small import small_config
from trainer.data.sources import fingerprint
from trainer.train import train

ORCH = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def sweep(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A sweep of four trained trials."""
    ledger = Ledger(tmp_path_factory.mktemp("out"), "s")
    for changes in (
        {"sampler": "arrp"},
        {"sampler": "arrp", "seed": 4},
        {"sampler": "round_robin"},
        {"sampler": "round_robin", "dropout": 0.2},
    ):
        config = small_config(cache, epochs=1, **changes)
        data = fingerprint(config)
        identity = {"trial_id": trial_id(config, data), "config_id": config_id(config, data)}
        for _ in train(config, ledger.path(identity["trial_id"]), identity=identity):
            pass
    return ledger


def test_the_best_configuration_of_each_method_is_chosen(sweep: Ledger) -> None:
    trials = sweep.trials()
    best = choose(trials)
    assert sorted((group[0].config["sampler"], len(group)) for group in best) == [
        ("arrp", 2),
        ("round_robin", 1),
    ]
    scores = {t.records[-1]["dev_score"] for t in trials if t.config["sampler"] == "round_robin"}
    (chosen,) = next(group for group in best if len(group) == 1)
    assert chosen.records[-1]["dev_score"] == max(scores)
    assert [len(group) for group in choose(trials, top=2)].count(1) == 2
    assert choose([replace(trial, status="pruned") for trial in trials]) == []


def test_a_lucky_seed_does_not_stand_for_its_method(sweep: Ledger) -> None:
    one, two = (t for t in sweep.trials() if t.config["sampler"] == "arrp")
    lucky = replace(
        one, trial_id="lucky", identity={**one.identity, "config_id": "lucky"},
        records=[{**one.records[-1], "dev_score": 0.99}],
    )  # fmt: skip
    assert [len(group) for group in choose([one, two, lucky])] == [2]


def test_a_configuration_is_timed_as_its_trial_ran(sweep: Ledger) -> None:
    trial = next(t for t in sweep.trials() if t.config["sampler"] == "arrp")
    group = group_of(trial, sweep.trials())
    (choice,) = ready([group], {})
    assert choice.config_id == trial.identity["config_id"] and len(choice.trial_ids) == 2
    assert (choice.config.threads, choice.config.device) == (1, "cpu")
    assert choice.config.precision == "fp32"
    (choice,) = ready([group, group], {}, threads=2)
    assert choice.config.threads == 2


def test_what_takes_no_step_is_not_timed(sweep: Ledger) -> None:
    groups = choose(sweep.trials())
    untrained = replace(groups[0][0], config={**groups[0][0].config, "sampler": "untrained"})
    assert len(ready([[untrained], groups[1]], {})) == 1
    with pytest.raises(UserError, match="none of the configurations takes a step"):
        ready([[untrained]], {})


def test_minutes_of_emulated_bf16_are_refused_unless_the_trials_were_emulated(
    sweep: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = next(t for t in sweep.trials() if t.config["sampler"] == "arrp")
    bf16 = replace(trial, identity={**trial.identity, "precision": "bf16"})
    multiplying_bf16(monkeypatch, True)
    assert ready([[bf16]], {})[0].config.precision == "bf16"
    multiplying_bf16(monkeypatch, False)
    with pytest.raises(UserError, match="does not multiply bf16 natively"):
        ready([[bf16]], {})
    emulated = replace(bf16, config={**bf16.config, "precision": "bf16-emulated"})
    assert ready([[emulated]], {})[0].config.precision == "bf16-emulated"


def test_the_twin_with_the_plain_sum_shows_what_surgery_costs(sweep: Ledger) -> None:
    groups = choose(sweep.trials())
    choices = ready(groups, {}, surgery=True)
    assert [choice.config.combiner for choice in choices] == ["pcgrad", "pcgrad", "sum", "sum"]
    ids = [choice.config_id for choice in choices]
    assert [choice.without_surgery_of for choice in choices[2:]] == [[ids[0]], [ids[1]]]
    seconds = dict(zip(ids, ([4.0] * 5, [4.0] * 5, [3.0] * 5, [3.0] * 5), strict=True))
    found = made_up(seconds)
    twins = [c.model_copy(update={"without_surgery_of": choice.without_surgery_of})
             for c, choice in zip(found.configs, choices, strict=True)]  # fmt: skip
    with_twins = found.model_copy(update={"configs": twins})
    cost = with_twins.surgery_cost(ids[0])
    assert cost is not None and cost.value == pytest.approx(0.25)
    assert found.surgery_cost(ids[0]) is None
    assert list(with_twins.ratios()) == [(ids[1], ids[0])]


def test_what_does_not_compare_is_refused(sweep: Ledger) -> None:
    groups = choose(sweep.trials())
    other = replace(groups[1][0], identity={**groups[1][0].identity, "threads": 2})
    with pytest.raises(UserError, match="threads: the trials had different ones: 1 .*2 "):
        ready([groups[0], [other]], {})
    assert len(ready([groups[0], [other]], {}, threads=1)) == 2
    changed = replace(other, identity={**other.identity, "fingerprint": "another"})
    with pytest.raises(UserError, match="have changed since it was trained"):
        ready([[changed]], {})
    with pytest.raises(UserError, match="data.source|cannot be|needs this file"):
        ready([[replace(other, config={**other.config, "data": {
            **other.config["data"], "source": "cs224n", "root": "nowhere"}})]], {})  # fmt: skip


def test_a_session_is_written_once_and_read_back(sweep: Ledger, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "s")
    choices = ready(choose(sweep.trials()), {})
    said: list[str] = []
    path, session = time_in_turn(ledger, choices, Effort(5, 2), said.append)
    assert timings(ledger) == [session]
    assert os.listdir(tmp_path / "s" / timing_sessions.FOLDER) == [Path(path).name]
    assert sum("round " in line for line in said) == len(session.rounds) >= 5
    for choice in choices:
        found = session.minutes(choice.config_id)
        assert sum(found.parts.values()) == pytest.approx(found.minutes.value)
        assert 0 < found.minutes.low <= found.minutes.value <= found.minutes.high
    assert json.loads(json.dumps(session.to_dict(), allow_nan=False))["ratios"]
    ids = sorted(choice.config_id for choice in choices)
    assert all(sorted(each.order) == ids for each in session.rounds)
    before = Path(path).read_bytes()
    time_in_turn(ledger, choices, Effort(5, 1), said.append)
    assert Path(path).read_bytes() == before and len(timings(ledger)) == 2
    assert len({each.seed for each in timings(ledger)}) == 2  # another order for each session


def test_a_session_of_an_earlier_version_is_read(sweep: Ledger, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "s")
    path, session = time_in_turn(ledger, ready(choose(sweep.trials()), {}), Effort(5, 1))
    content = json.loads(Path(path).read_bytes())
    del content["seed"]
    for each in content["rounds"]:
        del each["order"]
    Path(path).write_text(json.dumps(content))
    (read,) = timings(ledger)
    assert read.seed is None and read.rounds[0].order == []
    assert read.ratios() == session.ratios()


def test_a_session_that_is_broken_off_leaves_nothing(sweep: Ledger, tmp_path: Path) -> None:
    def say(text: str) -> None:
        if "round 2" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        time_in_turn(Ledger(tmp_path, "s"), ready(choose(sweep.trials()), {}), Effort(5, 1), say)
    assert list(tmp_path.rglob("*")) == []


# -- the command -----------------------------------------------------------------------------------


def test_the_command_times_the_best_of_each_method_and_shows_it_again(sweep: Ledger) -> None:
    options = ["--rounds", "5", "--steps", "1", "--patience", "0"]
    options += ["--baseline", "arrp+pcgrad", "--json"]
    answer = CliRunner().invoke(app, ["time", sweep.folder.path, *options])
    found = json.loads(answer.stdout)
    assert answer.exit_code == (1 if found["problem"] else 0), answer.stderr
    assert ("no speed-up can be claimed" in answer.stderr) == bool(found["problem"])
    assert "round 5 of 5" in answer.stderr
    assert {each["label"] for each in found["configs"]} == {"arrp+pcgrad", "round_robin+pcgrad"}
    (ratio,) = found["ratios"]
    assert ratio["to"].startswith("arrp-") and ratio["ratio"]["value"] > 0
    again = CliRunner().invoke(app, ["time", sweep.folder.path, "--last"])
    assert again.exit_code == answer.exit_code
    lines = again.stdout.splitlines()
    (ratio_line,) = (line for line in lines if " of the minutes of" in line)
    assert ratio_line.startswith("no claim: ") == bool(found["problem"])
    assert any(line.startswith("round_robin+pcgrad  round_robin-") for line in lines)
    assert not (Path(sweep.folder.path) / "lock").exists()


@pytest.mark.slow(reason="times trials until it is interrupted")
def test_an_interrupt_leaves_at_once_and_nothing_behind(sweep: Ledger) -> None:
    before = sorted(Path(sweep.folder.path).rglob("*"))
    process = subprocess.Popen(
        [*ORCH, "time", sweep.folder.path, "--rounds", "10000", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "round 1 of" in line:
                break
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait(10)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130 and out == "" and "Traceback" not in rest
    assert rest.endswith("interrupted; nothing was written\n")
    assert sorted(Path(sweep.folder.path).rglob("*")) == before


@pytest.mark.slow(reason="times trials until it is terminated")
def test_to_be_terminated_is_to_be_interrupted(sweep: Ledger) -> None:
    def mine(number: int, frame: Any) -> None: ...

    handler = signal.signal(signal.SIGTERM, mine)
    before = sorted(Path(sweep.folder.path).rglob("*"))

    def terminate() -> None:
        while signal.getsignal(signal.SIGTERM) is mine:  # until the command is there
            time.sleep(0.01)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate, daemon=True)
    thread.start()
    try:
        answer = CliRunner().invoke(app, ["time", sweep.folder.path, "--rounds", "100000"])
        left = signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert answer.exit_code == 130 and left == mine
    assert sorted(Path(sweep.folder.path).rglob("*")) == before


def test_an_interrupt_that_python_swallowed_ends_the_next_round() -> None:
    stop = _Interrupt()
    stop.raise_if_seen()
    with contextlib.suppress(KeyboardInterrupt):  # as a callback of the interpreter does
        stop(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        stop.raise_if_seen()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "cycle"], "no trial 'cycle'"),
        (["--baseline", "cycle"], "--baseline cycle: not among the timed configurations: "),
        (["--top", "2", "--baseline", "round_robin+pcgrad"], "fits several: "),
        (["--device", "gpu"], "device: unknown value 'gpu'"),
        (["--device", "cuda"], "device: there is no CUDA device here"),
    ],
)
def test_a_mistake_is_one_line(sweep: Ledger, arguments: list[str], message: str) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is one")
    answer = CliRunner().invoke(app, ["time", sweep.folder.path, *arguments])
    assert isinstance(answer.exception, UserError)
    assert message in str(answer.exception) and "\n" not in str(answer.exception)


@pytest.mark.parametrize("option", ["--rounds", "--steps", "--top", "--threads"])
def test_numbers_have_their_floors(option: str) -> None:
    answer = CliRunner().invoke(app, ["time", "s", option, "0"])
    assert answer.exit_code == 2 and option in answer.stderr


def test_without_a_complete_trial_nothing_is_timed(tmp_path: Path) -> None:
    (tmp_path / "s" / "trials").mkdir(parents=True)
    for options, message in (([], "no complete trial"), (["--last"], "no timings in")):
        answer = CliRunner().invoke(app, ["time", "s", "--out", str(tmp_path), *options])
        assert isinstance(answer.exception, UserError)
        assert message in str(answer.exception)


def test_while_a_sweep_runs_nothing_is_timed(sweep: Ledger) -> None:
    with SweepLock(sweep.folder):
        answer = CliRunner().invoke(app, ["time", sweep.folder.path])
    assert isinstance(answer.exception, UserError)
    assert "held by process" in str(answer.exception)
