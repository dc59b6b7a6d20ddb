"""One side of a contest: a method's configuration, its score, its minutes and its title."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.compare.methods import counted_metric, has_diverged, method_name
from orchestrator.decision.answer.answer import Contest, Side
from orchestrator.decision.answer.minutes import Minutes
from orchestrator.decision.pairs import guess_score
from orchestrator.decision.titles import title_of
from orchestrator.ledger.labels import label, varied_keys

if TYPE_CHECKING:
    from orchestrator.decision.answer.question import Question
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.spec.models import SweepSpec


def side_of(
    question: Question,
    name: str,
    config_id: str,
    trials: Sequence[TrialRecord],
    metric: str,
    diverged: int,
) -> Side:
    """A side without its minutes.

    Args:
        name: the method's name in `decide.compare`.
        trials: those that count.
        diverged: how many more diverged.
    """
    scores = [counted_metric(trial, metric) for trial in trials]
    examples = [record["examples"] for trial in trials for record in trial.records]
    score = sum(scores) / len(scores) if scores else None
    return Side(
        method=name,
        title=title_of(method_name(trials[0].train_config) if trials else name),
        config_id=config_id,
        configuration=_configuration(question.spec, trials[0]) if trials else "",
        score=score,
        examples=sum(examples) / len(examples) if examples else None,
        seeds=len(trials),
        diverged=diverged,
        score_with_diverged=_with_diverged(question.ledger, trials, metric, score, diverged),
    )


def _with_diverged(
    ledger: Ledger, trials: Sequence[TrialRecord], metric: str, score: float | None, diverged: int
) -> float | None:
    """The mean score if every diverged seed counts as a guess; None if none diverged."""
    if not diverged or score is None:
        return None
    guess = guess_score(ledger, trials[0], metric)
    share = diverged / (diverged + len(trials))
    return None if guess is None else score + share * (guess - score)


def _configuration(spec: SweepSpec | None, trial: TrialRecord) -> str:
    """What distinguishes the configuration, without the method's own name."""
    varied = varied_keys(spec) if spec is not None else []
    config = trial.train_config
    named = (config.sampler, config.combiner, f"F={config.freeze}")  # in the method's title
    parts = label(config, varied).split()
    return " ".join(part for part in parts if part not in named)


def count_diverged(trials: Iterable[TrialRecord]) -> int:
    """How many of these trials diverged."""
    return sum(map(has_diverged, trials))


def with_minutes(sides: tuple[Side, Side], metric: str, minutes: Minutes) -> tuple[Side, Side]:
    """Both sides with their minutes per epoch, and to the score that both reach."""
    one, other = (side.config_id for side in sides)
    epochs = minutes.mean_epochs(one, other, metric)
    first, second = (
        replace(
            side,
            minutes=own,
            minutes_to_score=None if own is None or epochs is None else own * epochs[number],
        )
        for number, (side, own) in enumerate(zip(sides, minutes.of_both(one, other), strict=True))
    )
    return first, second


def without_common_parts(one: Side, other: Side) -> tuple[Side, Side]:
    """Two configurations without what they have in common, `dropout=0.1`."""
    parts = [side.configuration.split() for side in (one, other)]
    common = set(parts[0]) & set(parts[1])
    texts = (" ".join(part for part in own if part not in common) for own in parts)
    one_text, other_text = texts
    return replace(one, configuration=one_text), replace(other, configuration=other_text)


def with_distinct_titles(contests: Sequence[Contest]) -> list[Contest]:
    """The contests with the methods' own names where two different ones have the same title."""
    sides = {side.method: side for c in contests for side in (c.one, c.other)}
    titles = Counter(side.title for side in sides.values())

    def named(side: Side) -> Side:
        return side if titles[side.title] == 1 else replace(side, title=side.method)

    return [replace(each, one=named(each.one), other=named(each.other)) for each in contests]
