"""Tables on terminals of many widths: names and numbers stay whole, and what is hidden is named."""

from __future__ import annotations

import contextlib
import io
import re
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.cli.compare import print_comparison
from orchestrator.cli.fitted_table import table_lines, wrap
from orchestrator.compare.compare_sweep import SweepComparison, compare_sweep, trials_of
from orchestrator.compare.options import ComparisonOptions
from orchestrator.decision.answer.answer import Answer
from orchestrator.decision.answer.answers import answer_of
from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.table_data import Column, Content, TableData
from tests.support.command import on_terminal, orch, terminal
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT

WIDTHS = (40, 60, 80, 120, 200)
#: The narrowest terminal that shows a table.
LEAST = 60
METHODS = ["arrp+pcgrad+freeze-encoder", "annealed+pcgrad", "single_task+pcgrad+sst"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The comparison of the kept study: 75 trials of 14 methods."""
    folder = tmp_path_factory.mktemp("study")
    with tarfile.open(ROOT / "docs" / "study" / "study-cpu.tar.xz") as pack:
        pack.extractall(folder, filter="data")
    ledger = Ledger(folder, "study-cpu")
    compared = compare_sweep(ledger, trials_of(ledger), ComparisonOptions(replicates=200))
    return Study(compared, answer_of(ledger, compared))


class Study(NamedTuple):
    compared: SweepComparison
    answer: Answer


def table(rows: int = 2) -> TableData:
    data = TableData(
        [
            Column("method"),
            Column("seeds", Content.NUMBER, 2),
            Column("score [95 %]", Content.NUMBER, 1),
            Column("mostly", Content.LABEL, 3),
            Column("verdict", Content.SENTENCE),
        ]
    )
    for number in range(rows):
        sentence = "comparable within 0.01, but worse by less than that"
        interval = "+0.0020 [-0.0010, +0.0051]"
        data.add(f"arrp+pcgrad+{number}", "3", interval, "arrp λ=0.3 B=950", sentence)
    return data


def plain(data: TableData, width: int | None, *ways: str) -> list[str]:
    return [line.plain for line in table_lines(data, width, ways)]


@pytest.mark.parametrize("width", range(30, 130, 7))
def test_no_line_is_wider_than_the_terminal_and_no_name_or_number_is_broken(width: int) -> None:
    lines = plain(table(), width, "--wide")
    assert max(map(len, lines)) <= width
    for whole in ("arrp+pcgrad+0", "arrp+pcgrad+1"):
        assert any(whole in line for line in lines)
    numbers = re.findall(r"\+0\.0020.*", "\n".join(lines))
    assert all(number.startswith("+0.0020 [-0.0010, +0.0051]") for number in numbers)


def test_columns_go_by_their_rank_and_are_named() -> None:
    def hidden(width: int) -> list[str]:
        text = " ".join(plain(table(), width, "--wide", "--format csv"))
        match = re.search(r"(\d+) columns? hidden \((.*)\): --wide, --format csv$", text)
        names = match[2].split(", ") if match else []
        assert match is None or len(names) == int(match[1])
        return names

    assert hidden(140) == []
    assert hidden(80) == ["mostly"]  # rank 3
    assert hidden(LEAST) == ["seeds", "mostly"]


def test_below_60_columns_a_table_is_a_list_with_everything() -> None:
    lines = plain(table(), 50, "--wide")
    assert lines[0].split() == ["method", "arrp+pcgrad+0"]
    assert lines.count("") == 1 and "hidden" not in "".join(lines)
    assert [line for line in lines if line.startswith("seeds ")] == [lines[1]] * 2


def test_a_pipe_gets_all_columns_and_a_line_a_row() -> None:
    lines = plain(table(), None, "--wide")
    assert len(lines) == 3
    assert lines[0].split()[:2] == ["method", "seeds"] and lines[0].endswith("verdict")
    assert lines[1].endswith("3  +0.0020 [-0.0010, +0.0051]  arrp λ=0.3 B=950  "
                             "comparable within 0.01, but worse by less than that")  # fmt: skip


def test_wrapping_keeps_words_indents_and_signs_with_their_number() -> None:
    text = "  the interval of the verdict has a level of 95 % here"
    for width in range(12, 60):
        lines = wrap(text, width)
        assert " ".join(line.strip() for line in lines) == text.strip()
        assert all(len(line) <= width and line.startswith("  ") for line in lines)
        assert any("95 %" in line for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_ids_of_trials_can_be_copied_and_sentences_wrap(tmp_path: Path, width: int) -> None:
    reason = "the loss was not a number in the second epoch, and the trial had no attempt left"
    ids = [
        write_trial(tmp_path / "s", [0.4, 0.5], sampler="round_robin", seed=seed, **end)
        for seed, end in enumerate(({}, {}, {"status": "failed", "reason": reason}), 1)
    ]
    (tmp_path / "s" / RESOLVED).write_text("question: Which of the ways of training is better?\n")
    for words in (["ls"], ["show", "s"], ["show", "s", ids[0]]):
        lines = on_terminal(width, *words, "--out", str(tmp_path))
        assert max(map(len, lines[3 if "show" in words else 0 :])) <= width  # below the folder
    config = " ".join(on_terminal(width, "show", "s", ids[0], "--out", str(tmp_path)))
    assert "config besides defaults: {" in config and "adam_epsilon" not in config
    assert '"adam_epsilon"' in orch("show", "s", ids[0], "--out", str(tmp_path)).stdout
    rows = on_terminal(width, "show", "s", "--out", str(tmp_path))
    for each in ids:
        assert sum(re.search(rf"(^|  ){each}(  |$)", row) is not None for row in rows) == 1
    words = set(" ".join(rows).split())
    hidden = re.search(r"hidden \(.*\breason\b.*\)", " ".join(rows))
    assert hidden or set(reason.split()) <= words
    assert not hidden or width == 60


@pytest.mark.parametrize("width", WIDTHS)
def test_a_real_comparison_fits_the_terminal(study: Study, width: int) -> None:
    with terminal(width) as lines:
        print_comparison(*study)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert text.startswith("Does ARRP match annealed PCGrad,")
    for method in METHODS:
        assert re.search(rf"(^|  ){re.escape(method)}(  |$)", text, re.MULTILINE)
    assert "not decided" in text and "\nNext:  orch compare study-cpu" in text
    numbers = re.findall(r"-?\d\.\d{4} \[.*", text)
    assert len(numbers) > 14
    for number in numbers:
        assert re.match(r"-?\d\.\d{4} \[[-+]?\d\.\d{4}, [-+]?\d\.\d{4}\]", number)
    for name, ways in re.findall(r"hidden \((.*?)\): (.*)", " ".join(lines)):
        assert name and ways.startswith("--wide, --format csv")
    assert ("hidden" in text) == (width >= 60)
    if width >= 80:
        methods = text[text.index("\nmethod ") :].split("\n\n")[0]
        assert "min/epoch" in methods and "1.226*" in methods


def test_wide_prints_on_a_narrow_terminal_what_a_pipe_gets(study: Study) -> None:
    with terminal(80) as wide:
        print_comparison(*study, wide=True)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_comparison(*study)
    tables = [line for line in out.getvalue().splitlines() if re.match(r"(arrp|cycle)\S*  ", line)]
    assert len(tables) > 10 and set(tables) <= set(wide)
