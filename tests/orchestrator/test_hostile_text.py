"""Whatever texts a sweep's files hold, no reading command lets them act where they are shown."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

import orchestrator
from orchestrator.cli.terminal import console
from orchestrator.ledger import Ledger
from orchestrator.ledger.driver_status import read_status
from orchestrator.progress.plain import say
from orchestrator.progress.view import draw
from tests.support.command import both_streams, orch
from tests.support.hostile_sweep import (
    ACTING,
    HOSTILE,
    MARKUP,
    WHOLE,
    acting,
    write_hostile_driver,
    write_hostile_sweep,
)
from tests.support.paths import ROOT
from trainer.printable import in_one_line, json_text, markdown_text, printable

TRIAL, OTHER, FAILED = "TRIAL", "OTHER", "FAILED"
#: Every reading command, and whether it shows a text with all of the markup.
COMMANDS = {
    ("ls",): True,
    ("show", "s"): True,
    ("show", "s", TRIAL): True,
    ("show", "s", FAILED): True,
    ("compare", "s"): True,
    ("compare", "s", "--why", "--wide"): True,
    ("compare", "s", "--published"): True,
    ("best", "s"): True,
    ("diff", f"s@{TRIAL}", OTHER): False,
    ("logs", "s"): True,
    ("logs", "s", TRIAL): True,
    ("watch", "s"): True,
    ("time", "s", "--last"): True,
}
#: Commands that write for programs, and mistakes.
OTHERS = [
    ("compare", "s", "--format", "csv"),
    ("compare", "s", "--format", "md", "--why"),
    ("compare", "s", "--format", "latex", "--why"),
    ("export", "table", "s", "-o", "-"),
    ("export", "table", "s", "-o", "-", "--of", "epochs"),
    ("export", "table", "s", "-o", "-", "--of", "predictions"),
    ("pack", "s"),
    ("evaluate", "s"),
    ("predict", "s", "lines.txt", "--task", "sst"),
    ("export", "submission", "s", "-o", "handed-in"),
    ("export", "model", "s", "-o", "model"),
    ("show", HOSTILE),
    ("show", "s", HOSTILE),
    (HOSTILE,),
    ("show", f"--{HOSTILE}"),
    ("compare", "s", "--metric", HOSTILE),
]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return write_hostile_sweep(tmp_path_factory.mktemp("foreign"))


def arguments(sweep: Ledger, command: tuple[str, ...]) -> list[str]:
    ids = sweep.trial_ids()
    failed = next(name for name in ids if name.startswith("round"))
    for name, trial in ((TRIAL, ids[0]), (OTHER, ids[1]), (FAILED, failed)):
        command = tuple(word.replace(name, trial) for word in command)
    return [*command, "--out", str(sweep.out.local)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_pipe_gets_no_acting_character_and_all_of_the_text(
    sweep: Ledger, command: tuple[str, ...]
) -> None:
    found = orch(*arguments(sweep, command))
    assert found.returncode == 0 and not acting(found.stdout + found.stderr)
    assert (MARKUP[:30] in found.stdout.replace("\\\\", "\\")) == COMMANDS[command]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_json_has_the_same_texts_and_no_acting_character(
    sweep: Ledger, command: tuple[str, ...]
) -> None:
    found = orch(*arguments(sweep, command), "--json")
    assert found.returncode == 0 and not acting(found.stdout)
    json.loads(found.stdout)


@pytest.mark.parametrize(
    ("command", "columns"),
    [*((command, 100) for command in COMMANDS), (("show", "s"), 40), (("show", "s", TRIAL), 40)],
)
def test_a_terminal_gets_only_the_codes_of_rich(
    sweep: Ledger, command: tuple[str, ...], columns: int, tmp_path: Path
) -> None:
    code, shown = both_streams(columns, *arguments(sweep, command), cwd=tmp_path)
    assert code == 0 and not acting(shown, on_terminal=True)
    assert "\x1b]0;" not in shown and "owned\x07" not in shown


@pytest.mark.parametrize("command", OTHERS, ids=lambda command: " ".join(command)[:20].strip())
def test_files_for_programs_and_mistakes_have_none_either(
    sweep: Ledger, command: tuple[str, ...], tmp_path: Path
) -> None:
    found = orch(*arguments(sweep, command), cwd=tmp_path)
    assert found.returncode in (0, 2) and not acting(found.stdout + found.stderr)
    _, shown = both_streams(80, *arguments(sweep, command), cwd=tmp_path)
    assert not acting(shown, on_terminal=True)


def test_the_status_of_a_foreign_driver_is_drawn_as_text(sweep: Ledger) -> None:
    write_hostile_driver(sweep, time.time())
    try:
        status = read_status(sweep)
        assert status is not None and status.doing.startswith("a\x1b]0;owned\x07")
        for width in (30, 80, 200):
            lines = draw(status, width, 40)
            assert all(len(line.plain) <= width for line in lines)
            assert not acting("".join(line.plain for line in lines))
        held = orch("sync", "s", "--out", str(sweep.out.local))
        assert held.returncode == 2 and not acting(held.stderr) and "[/red]" in held.stderr
    finally:
        sweep.folder.delete("lock")
        sweep.folder.delete("status.json")


def test_a_console_never_reads_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = io.StringIO()
    monkeypatch.setattr(sys, "stdout", sink)
    console().print(HOSTILE, soft_wrap=True)
    say(console(), HOSTILE)
    assert not acting(sink.getvalue()) and sink.getvalue().count(MARKUP) == 2


@pytest.mark.slow(reason="draws every figure of a report")
def test_the_report_shows_no_acting_character_and_runs_nothing(
    sweep: Ledger, tmp_path: Path
) -> None:
    made = orch(*arguments(sweep, ("report", "s", "-o", "r.html")), cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "r.html").read_text()
    assert not acting(page) and "<script" not in page and "&lt;script&gt;alert(1)" in page


def test_a_figures_file_is_xml_and_shows_the_text_as_it_is() -> None:
    from orchestrator.report import style
    from orchestrator.report.figure import Figure

    with style.axes(2.0) as (canvas, axes):
        axes.plot([0, 1], [0, 1], label=WHOLE)
        axes.set_xlabel(WHOLE)
    svg = Figure("f", "t", WHOLE, "c", canvas).svg()
    assert not acting(svg) and "<script" not in svg
    ElementTree.fromstring(svg)  # control characters are no XML
    assert "$x_1^{$" in svg  # no formula


def test_what_mlflow_gets_has_no_acting_character(sweep: Ledger) -> None:
    from orchestrator.tracking import trial_run
    from orchestrator.tracking.sweep_run import SweepDescription

    description = SweepDescription("s", varied=("encoder",))
    for trial in sweep.trials():
        texts = trial_run.params(trial.train_config, description)
        texts |= trial_run.tags(trial, "s", ("encoder",)) | trial_run.changing_tags(trial)
        sets = [dict(each.dataset) for each in trial_run.datasets(trial)]
        texts |= {f"{n} {key}": str(of[key]) for n, of in enumerate(sets) for key in of}
        texts |= dict.fromkeys(trial_run.epoch_metrics(trial.records[-1]), "")
        assert len(texts) > 20 and not acting("".join([*texts, *texts.values()]))


def test_a_notebook_shows_no_acting_character_and_runs_nothing(sweep: Ledger) -> None:
    loaded = orchestrator.load("s", out=str(sweep.out.local))
    compared = loaded.compare()
    for shown in (loaded, compared, compared.answer):
        html = shown._repr_html_()
        assert not acting(html) and "<script" not in html
    assert not acting(str(compared)) and not acting(str(compared.answer))


@pytest.mark.slow(reason="starts a process that loads torch")
def test_the_trainer_alone_escapes_its_errors(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"sampler": HOSTILE, HOSTILE: 1}))
    command = [sys.executable, "-m", "trainer", "--config", "c.json", "--out", "t"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, timeout=120)
    assert found.returncode == 2 and not acting(found.stderr.decode())


def test_acting_characters_are_escaped_and_letters_are_not() -> None:
    assert printable("\x1b[31m\r\x9b\u202e\U000e0001\ud800") == (
        r"\x1b[31m\r\x9b\u202e\U000e0001\ud800"
    )
    kept = "ü 漢字 می\u200cخواهم 👩\u200d🔬 a\u00a0b\n\tc"
    assert printable(kept) == kept
    assert in_one_line("a\nb\tc\x1b") == r"a\nb c\x1b"
    assert not acting(printable(ACTING)) and not acting(json_text(ACTING))


def test_json_is_escaped_by_its_own_rule() -> None:
    value = {f"k{ACTING}": [HOSTILE, "\U000e0001", 1.5, None]}
    assert json.loads(json_text(value)) == value
    assert not acting(json_text(value))


def test_markdown_has_no_picture_link_code_or_tag_of_a_text() -> None:
    shown = markdown_text("![p](http://h) [a](b) [c]: d `x` <b> | * [0.1, 0.2] p < 0.05")
    assert shown == (r"\![p]\(http://h) [a]\(b) [c]\: d \`x\` \<b> \| \* [0.1, 0.2] p < 0.05")
