"""The beginning of the report: the picture of the two methods, the paper's figures, the words."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from orchestrator.compare.output.tables import TableData
from orchestrator.compare.published import Pair
from orchestrator.decision.answer.answer import Bounded
from orchestrator.decision.answer.words import difference_text
from orchestrator.ledger import Ledger
from orchestrator.report import Report, make
from orchestrator.report.head import head
from orchestrator.report.measures import published_of, within
from orchestrator.report.parts import File, Table, Text
from orchestrator.report.words import PAPERS, WORDS, of_papers, used_in
from tests.support.paths import ROOT
from tests.support.reported import TASKS, world, write_sweep
from tests.support.simulated import write_predicted
from trainer.storage.local_folder import write_whole


def two_methods(folder: Path, skills: dict[str, float]) -> Ledger:
    """A sweep of a configuration of each method, three seeds each."""
    rng = np.random.default_rng(0)
    made = world(rng, 40)
    for sampler, skill in skills.items():
        for seed in (1, 2, 3):
            write_predicted(
                folder, made, made.predictions(rng, skill), epochs=1, seed=seed, tasks=TASKS,
                sampler=sampler, contended=False,
            )  # fmt: skip
    spec = {
        "name": folder.name,
        "base": {"epochs": 1, "tasks": TASKS, "data": {"source": "synthetic"}},
        "search": {"algorithm": "list", "num_trials": 2, "seeds": [1, 2, 3]},
        "enqueue": [{"sampler": sampler} for sampler in skills],
    }
    write_whole(folder / "sweep.yaml", yaml.safe_dump(spec).encode())
    return Ledger(folder.parent, folder.name)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return make(write_sweep(tmp_path_factory.mktemp("sweeps") / "s", epochs=1))


def test_the_picture_shows_what_the_verdict_says(report: Report) -> None:
    (contest, *_), drawn = report.answer.contests, report.figures["contest"]
    assert next(iter(report.figures)) == "contest"
    for side in (contest.one, contest.other):
        assert side.title in drawn.alt and f"{side.score:.3f} [" in drawn.alt
        assert side.minutes is not None and f"{side.minutes:#.3g}" in drawn.alt
    assert difference_text(contest.difference) in drawn.alt
    assert difference_text(contest.difference) in drawn.svg()
    assert report.html.index("figure-contest") < report.html.index("<nav")


def test_intervals_and_axes_end_where_the_metric_does(tmp_path: Path) -> None:
    ledger = two_methods(tmp_path / "s", {"arrp": 0.99, "annealed": 0.995})
    drawn = make(ledger).figures["contest"]
    (own, *_) = drawn.canvas.axes
    assert own.get_xlim()[1] == 1.0
    ends = [x for line in own.lines for x in np.atleast_1d(line.get_xdata())]
    assert max(ends) == 1.0 and min(ends) > 0.8
    assert within(0.98, (0.05, 0.05), (0.0, 1.0)) == Bounded(0.98, 0.98 - 0.05, 1.0)
    assert within(0.98, None, (0.0, 1.0)) == Bounded(0.98)


def test_without_two_scores_there_is_no_picture(tmp_path: Path) -> None:
    made = make(two_methods(tmp_path / "s", {"arrp": 0.8}))
    assert "contest" not in made.figures and "figure-contest" not in made.html


def test_a_paper_s_figures_stand_beside_ours_if_it_has_both(report: Report) -> None:
    contest = report.answer.contests[0]
    one, other = (
        Pair("row", {"dev_score": score, "minutes_per_epoch": minutes}, config_ids=[side.config_id])
        for side, score, minutes in ((contest.one, 0.775, 14.47), (contest.other, 0.785, 45.18))
    )
    assert published_of(contest, "P0", [one]) is None
    found = published_of(contest, "P0", [other, one])
    assert found is not None and found.rows == (one, other)
    assert found.difference("dev_score") == pytest.approx(-0.01)
    assert found.ratio() == pytest.approx(14.47 / 45.18)
    made = head(report.answer, None, found)
    (shown,) = (part for part in made.beside if isinstance(part, Table))
    rows = [[cell.text for cell in row] for row in shown.data.rows]
    assert rows[1] == ["published", "0.775", "0.785", "-0.010"]
    assert rows[3] == ["published", "14.47", "45.18", "0.32"]
    assert any(PAPERS["P0"] in part.text for part in made.parts if isinstance(part, Text))


def test_every_word_is_explained_where_it_stands_first(report: Report) -> None:
    meanings = re.findall(r"<dt>(.*?)</dt>", report.html)
    assert {"dev score", "ARRP", "PCGrad", "95 %"} <= set(meanings) <= set(WORDS)
    assert used_in(["λ=0.3 B=40"]) == [(word, WORDS[word]) for word in ("λ", "B")]
    assert used_in(["a lookout for Berlin"]) == []


def test_papers_have_their_titles_and_those_of_the_reference() -> None:
    text = of_papers("P0, Table 4; P0 again; P3")
    assert text.count(PAPERS["P0"]) == 1 and PAPERS["P3"] in text
    page = (ROOT / "docs/reference/methods.md").read_text()
    assert all(f"| {short} | {title}" in page for short, title in PAPERS.items())


@pytest.mark.parametrize("rows", [*range(12), 40])
@pytest.mark.parametrize("indented", [False, True])
def test_no_group_of_rows_is_a_single_one(rows: int, indented: bool) -> None:
    data = TableData(["a", "b"])
    for number in range(rows):
        data.add(f"{'  ' if indented and number % 2 else ''}{number}", "x")
    groups = Table("", data).groups()
    assert [row for group in groups for row in group.rows] == data.rows
    assert [group.first for group in groups] == [
        sum(len(g.rows) for g in groups[:n]) for n in range(len(groups))
    ]
    if not indented:
        assert all(len(group.rows) > 1 for group in groups if group.whole or rows < 2) or rows < 2


def test_a_file_s_address_holds_the_whole_file() -> None:
    text = "name: <script> ü\n" * 3
    kind, _, content = File("s.yaml", text).address.partition(",")
    assert kind.startswith("data:") and base64.b64decode(content).decode() == text
