"""The answer as text: at most 80 columns, whatever its names and numbers are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.decision.answer.answer import Answer, Bounded, Contest, Side
from orchestrator.decision.answer.block import WIDTH, block, headline, in_json, markdown, table
from orchestrator.decision.answer.words import difference_text, ratio_text, share_text, size_text

ONE = Side("arrp", "ARRP", "a", "λ=0.3 B=950", 0.663, 0.97, 1670.0, minutes_to_score=2.6, seeds=8)
OTHER = Side(
    "annealed", "annealed PCGrad", "b", "B=2220", 0.665, 1.08, 2220.0, minutes_to_score=2.9, seeds=8
)
CONTEST = Contest(
    ONE, OTHER, "YES",
    "The scores are equal within 0.01, and an epoch takes 0.90 of the minutes.",
    "reached", "fewer", Bounded(-0.002, -0.007, 0.004), Bounded(0.9, 0.82, 0.97),
    Bounded(0.89, 0.66, 1.22), look=3, looks=7, pairs=8,
)  # fmt: skip
ANSWER = Answer(
    "Does ARRP reach annealed PCGrad's dev score in fewer minutes per epoch?", "minutes",
    "dev_score", 0.01, "confirming", [CONTEST],
    "Decided at look 3 of 7, after 8 pairs of fresh seeds (16 trials).",
    "annealed B=2220, dev score 0.667, of 25 configurations, 75 trials, 0 failed.",
    next=["orch compare study", "orch report study", "orch ui study"],
)  # fmt: skip


def changed(one: dict[str, Any] | None = None, other: dict[str, Any] | None = None,
            **changes: Any) -> Answer:  # fmt: skip
    contest = replace(
        CONTEST, one=replace(ONE, **(one or {})), other=replace(OTHER, **(other or {})), **changes
    )
    return replace(ANSWER, contests=[contest])


def test_the_block_of_a_decided_question() -> None:
    assert (
        block(ANSWER)
        == """\
Does ARRP reach annealed PCGrad's dev score in fewer minutes per epoch?
YES. The scores are equal within 0.01, and an epoch takes 0.90 of the minutes.

                  ARRP              annealed PCGrad   difference (95 %)
  dev score       0.663             0.665             -0.002 [-0.007, +0.004]
  minutes/epoch   0.970             1.08              × 0.90 [0.82, 0.97]
  examples/epoch  1,670             2,220
  to same score   2.60 min          2.90 min          × 0.89 [0.66, 1.22]
  configuration   λ=0.3 B=950       B=2220

Decided at look 3 of 7, after 8 pairs of fresh seeds (16 trials).
Best:  annealed B=2220, dev score 0.667, of 25 configurations, 75 trials, 0
failed.

Next:  orch compare study   orch report study   orch ui study"""
    )


LONG = "a_metric_with_a_name_that_is_longer_than_any_column_of_the_table"
WORDS = " ".join(["combiner_options.c=0.123456789"] * 7)


@pytest.mark.parametrize(
    "answer",
    [
        changed(one={"title": LONG}, other={"title": LONG + "'s"}),
        changed(one={"configuration": WORDS}, other={"configuration": LONG * 3}),
        replace(ANSWER, metric=LONG),
        replace(ANSWER, question=f"{WORDS}? {LONG * 2}", how=WORDS, best=LONG * 2, notes=[WORDS]),
        changed(difference=Bounded(-0.002, -math.inf, math.inf)),
        changed(difference=Bounded(math.nan, -math.inf, math.inf)),
        changed(difference=Bounded(-0.00204, -0.00996, 0.00004)),
        changed(minutes_ratio=Bounded(123.456, 0.0001, 98765.4321)),
        changed(one={"minutes": 123456.7, "examples": 1e12, "minutes_to_score": 1e7}),
        changed(one={"minutes": None}, minutes_ratio=None, to_same_score=None),
        replace(ANSWER, contests=[replace(CONTEST, one=replace(ONE, title=f"{LONG} {n}"))
                                  for n in range(5)]),
        replace(ANSWER, plan=[WORDS, LONG]),
        changed(problem=WORDS, sentence=f"The methods cannot be compared: {WORDS}."),
        replace(ANSWER, contests=[]),
        replace(ANSWER, next=[f"orch {word} {'n' * 60}" for word in ("compare", "report", "ui")]),
    ],
)  # fmt: skip
def test_no_line_is_longer_than_the_terminal(answer: Answer) -> None:
    lines = block(answer).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert all(line == line.rstrip() for line in lines)
    assert "None" not in block(answer) and "nan" not in block(answer)
    assert "inf" not in block(answer)


def test_random_numbers_never_break_a_column() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        difference = Bounded(*np.sort(rng.normal(0, 10.0 ** rng.integers(-6, 0), 3))[[1, 0, 2]])
        ratio = Bounded(*np.sort(10 ** rng.normal(0, 1.5, 3))[[1, 0, 2]])
        rows = table(changed(difference=difference, minutes_ratio=ratio), replace(
            CONTEST, difference=difference, minutes_ratio=ratio
        ))  # fmt: skip
        assert len(rows[1][3]) <= 26 and len(rows[2][3]) <= 26


def test_a_number_is_never_on_the_wrong_side_of_its_border() -> None:
    assert difference_text(Bounded(0.0012, 0.0003, 0.0021)) == "+0.0012 [+0.0003, +0.0021]"
    assert size_text(Bounded(0.0012, 0.0003, 0.0021)) == "0.0012"
    assert size_text(Bounded(-0.0012, -0.0021, -0.0003)) == "0.0012"
    assert ratio_text(Bounded(0.99, 0.97, 0.998)) == "0.990 [0.970, 0.998]"
    assert share_text(Bounded(0.99, 0.97, 0.998)) == "0.990 of the minutes"
    assert difference_text(Bounded(-1e-9, -0.2, 0.1)) == "+0.0000 [-0.2000, +0.1000]"
    assert ratio_text(Bounded(12.345, 10.0, 15.0)) == "12.3 [10.0, 15.0]"


def test_a_missing_ratio_says_that_nothing_was_measured_alone() -> None:
    rows = {row[0]: row for row in table(changed(minutes_ratio=None, to_same_score=None), replace(
        CONTEST, minutes_ratio=None, to_same_score=None
    ))}  # fmt: skip
    assert rows["minutes/epoch"][3] == rows["to same score"][3] == "not measured alone"
    assert rows["to same score"][1:3] == ("2.60 min", "2.90 min")


def test_methods_that_cannot_be_compared_have_no_difference() -> None:
    answer = changed(problem="different data", sentence="The methods cannot be compared: d.")
    assert table(answer, answer.contests[0])[1][3] == "not comparable"
    empty = changed(one={"score": None}, problem="arrp: no complete trial")
    assert table(empty, empty.contests[0]) == []
    assert "difference" not in block(empty)


def test_every_method_has_its_line() -> None:
    second = replace(CONTEST, one=replace(ONE, title="round robin"), verdict="NO",
                     sentence="The score is lower by 0.020.")  # fmt: skip
    text = block(replace(ANSWER, contests=[CONTEST, second]))
    assert "\nround robin against annealed PCGrad: NO. The score is lower by 0.020.\n" in text
    assert text.splitlines()[1].startswith("YES. ")


def test_without_two_methods_nothing_is_decided() -> None:
    answer = replace(ANSWER, contests=[])
    assert headline(answer).startswith("NOT DECIDED. ")
    assert "Best:  annealed" in block(answer)


def test_commands_stay_whole() -> None:
    command = f"orch sweep {'n' * 100}"
    assert command in block(replace(ANSWER, next=["orch ui s", command, "orch ls"]))


def test_markdown_begins_with_the_verdict_in_bold_and_escapes_it() -> None:
    text = markdown(ANSWER)
    first, _, rest = text.partition("\n\n")
    assert first == f"**{headline(ANSWER)}**"
    assert rest.startswith("```text\nDoes ARRP") and rest.endswith("\n```")
    assert text.count("YES") == 1
    hostile = replace(changed(sentence="2 * 3 | \\ is*."), question="```\n# title")
    text = markdown(hostile)
    assert text.startswith("**YES. 2 \\* 3 \\| \\\\ is\\*.**\n\n````text\n")
    assert text.endswith("\n````")


def test_json_has_verdict_text_and_fields() -> None:
    fields = in_json(ANSWER)
    assert fields["verdict"] == fields["decision"]["verdict"] == "YES"
    assert fields["answer"] == headline(ANSWER)
    assert fields["decision"]["contests"][0]["difference"]["low"] == -0.007
