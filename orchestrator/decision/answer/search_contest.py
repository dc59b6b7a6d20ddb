"""A method against the baseline from the search's trials alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.compare.methods import method_name
from orchestrator.decision import contestants
from orchestrator.decision.answer import verdict
from orchestrator.decision.answer.answer import Bounded, Side
from orchestrator.decision.answer.contests import Scores
from orchestrator.decision.answer.question import ANY_FREEZE, Question
from orchestrator.decision.answer.sides import count_diverged, side_of
from orchestrator.decision.titles import title_of
from orchestrator.errors import UserError
from orchestrator.ledger.current import searched
from orchestrator.spec.decide import DecideSpec

if TYPE_CHECKING:
    from orchestrator.compare.results import Contrast
    from orchestrator.ledger import TrialRecord

_UNCONFIRMED = "The scores are not confirmed on fresh seeds yet"


def search_scores(question: Question, decide: DecideSpec, name: str) -> Scores:
    """What the search's trials say of a challenger.

    Where the sweep file has a question, only fresh seeds answer it.
    """
    trials = searched(question.trials)
    names = (name, decide.baseline)
    try:
        tried = {each: contestants.candidates(trials, each, decide.metric) for each in names}
        ids = _picked_ids(question, decide, tried)
    except UserError as error:
        one, other = (Side(each, title_of(_only_method(trials, each)), "", "") for each in names)
        return Scores((one, other), problem=str(error))
    contrast = _contrast(question, decide, tried)
    one, other = (
        side_of(
            question, each, ids[each], _trials_of(tried[each], ids[each]), decide.metric,
            count_diverged(t for t in trials if t.identity.get("config_id") == ids[each]),
        )
        for each in names
    )  # fmt: skip
    difference, problem = None, "their scores were not compared"
    if contrast is not None:
        problem = contrast.problem
    if contrast is not None and not contrast.problem:
        difference = _interval_of(contrast, decide.metric, corrected=question.asked is None)
        honest = contrast.scores
        if honest:  # the configurations' own scores were chosen from
            one = replace(one, score=honest[contrast.method])
            other = replace(other, score=honest[contrast.baseline])
    if question.in_file is not None:
        return Scores((one, other), difference, undecided=_UNCONFIRMED, problem=problem)
    state = verdict.score_state(decide.ask, difference, decide.margin)
    several = difference is not None and difference.low is not None
    reason = "" if several else "One seed does not show how much seeds differ"
    return Scores((one, other), difference, state, undecided=reason, problem=problem)


# The configurations.


def _picked_ids(
    question: Question, decide: DecideSpec, tried: Mapping[str, contestants.Candidates]
) -> dict[str, str]:
    """The configurations that timing and confirming would take."""
    if question.decision is not None:
        return question.decision.config_ids
    if question.in_file is None:  # the configurations of `orch time`
        return {name: each.best().config_id for name, each in tried.items()}
    assert question.spec is not None
    prior = contestants.prior_of(searched(question.trials), decide.metric)
    return {
        name: contestants.config_id_of(each, question.spec, decide, prior)
        for name, each in tried.items()
    }


def _trials_of(tried: contestants.Candidates, config_id: str) -> list[TrialRecord]:
    """The complete trials of one of the configurations; none if it is no candidate."""
    own = [each for each in tried.configurations if each.config_id == config_id]
    return [trial for each in own for trial in each.trials.values()]


def _only_method(trials: Sequence[TrialRecord], name: str) -> str:
    """The method that a name in `decide.compare` stands for, if it is only one."""
    names = {method_name(t.train_config) for t in trials}
    begun = {name} & names or {each for each in names if each.startswith(name)}
    return begun.pop() if len(begun) == 1 else name


# Their scores.


def _contrast(
    question: Question, decide: DecideSpec, tried: Mapping[str, contestants.Candidates]
) -> Contrast | None:
    """The honest comparison of the first method, or of all methods whose names begin so."""
    name, baseline = tried
    methods = question.methods
    if question.asked is not None:
        methods = question.methods_for(decide.metric, _method_of(tried[baseline]))
    contrasts = {each.method: each for each in methods.contrasts} if methods else {}
    names = sorted({method_name(c.config) for c in tried[name].configurations})
    joined = [key for key in contrasts if key.endswith(ANY_FREEZE) and key.startswith(name)]
    for key in (name, *(joined if len(names) > 1 else []), *names):
        if key in contrasts:
            return contrasts[key]
    return None


def _method_of(tried: contestants.Candidates) -> str:
    """The method's full name; of several, that of the best configuration."""
    names = [method_name(each.config) for each in tried.configurations]
    return tried.name if tried.name in names else names[0]


def _interval_of(contrast: Contrast, metric: str, *, corrected: bool) -> Bounded:
    """The difference with its interval; a single seed has none.

    Args:
        corrected: for the number of comparisons, from which the best was chosen.
    """
    interval = contrast.differences[metric]
    if corrected and contrast.interval is not None:
        interval = contrast.interval
    if not contrast.outcome and not contrast.part_of:  # a single seed
        return Bounded(interval.value)
    return Bounded(interval.value, interval.low, interval.high)
