"""Computes the answer to a sweep's question from its ledger: the one place that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.decision.answer import closing
from orchestrator.decision.answer.answer import Answer
from orchestrator.decision.answer.confirmed_contest import confirmed_scores, stage_of, taken_looks
from orchestrator.decision.answer.contests import contest_of
from orchestrator.decision.answer.minutes import Minutes
from orchestrator.decision.answer.question import Question
from orchestrator.decision.answer.search_contest import search_scores
from orchestrator.decision.answer.sides import with_distinct_titles
from orchestrator.ledger.listing import resolved_spec
from orchestrator.spec.decide import DecideSpec
from orchestrator.spec.models import SweepSpec

if TYPE_CHECKING:
    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.ledger import Ledger


def answer_of(ledger: Ledger, compared: SweepComparison) -> Answer:
    """The answer to a sweep's question, from the trials of both stages.

    Args:
        compared: the comparison of the search's trials.
    """
    question = _question_of(ledger, compared)
    decide, stage = question.decide, stage_of(question)
    minutes = Minutes(ledger, question.trials)

    # Each challenger against the baseline: by its looks at fresh seeds, else by the search.
    looks, problem = taken_looks(stage)
    confirmed = any(looks.values()) or bool(problem)
    contests = []
    if decide is not None:
        for name in decide.challengers:
            if stage is not None and (problem or looks.get(name)):
                scores = confirmed_scores(question, stage, name, looks[name], problem)
            else:
                scores = search_scores(question, decide, name)
            contests.append(contest_of(decide, scores, minutes))
    contests = with_distinct_titles(contests)

    return Answer(
        question=question.text(contests),
        ask=decide.ask if decide else "score",
        metric=(decide or DecideSpec()).metric,
        margin=(decide or DecideSpec()).margin,
        source="confirming" if confirmed else "search",
        contests=contests,
        how=closing.how_decided(question, contests, stage if confirmed else None),
        best=closing.best_of(compared),
        notes=closing.notes_of(question, contests),
        plan=closing.plan_of(question, contests, stage),
        next=closing.next_commands(question, contests),
    )


def _question_of(ledger: Ledger, compared: SweepComparison) -> Question:
    try:
        spec = SweepSpec.model_validate(resolved_spec(ledger))
    except ValidationError:  # a sweep file of other code, or an edited one
        spec = None
    trials = [*compared.chosen.trials, *compared.chosen.confirming]
    return Question(ledger, spec, trials, compared)
