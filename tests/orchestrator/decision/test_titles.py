"""Names of methods for people, and the question that is derived from them."""

from __future__ import annotations

import pytest

from orchestrator.decision.titles import question_of, title_of


@pytest.mark.parametrize(
    ("method", "title"),
    [
        ("arrp+pcgrad", "ARRP"),
        ("arrp", "ARRP"),
        ("arrp+pcgrad+freeze-encoder", "ARRP F=encoder"),
        ("arrp+sum", "ARRP, sum"),
        ("annealed+pcgrad", "annealed PCGrad"),
        ("annealed", "annealed"),
        ("round_robin+sum", "round robin, sum"),
        ("single_task+pcgrad+sst", "single task PCGrad, sst"),
        ("proportional+torchjd.CAGrad", "proportional, torchjd.CAGrad"),
    ],
)
def test_titles(method: str, title: str) -> None:
    assert title_of(method) == title


def test_a_question_names_methods_and_metric() -> None:
    assert question_of("ARRP", "annealed PCGrad", "minutes", "dev_score") == (
        "Does ARRP reach the dev score of annealed PCGrad in fewer minutes per epoch?"
    )
    assert question_of("ARRP", "annealed PCGrad", "score", "sts") == (
        "Does ARRP have a higher sts than annealed PCGrad?"
    )
