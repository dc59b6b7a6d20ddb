"""Computes the answer to a sweep's question from its ledger: the one place that does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.compare.methods import ANNEALED, ARRP, last_metric, method_name
from orchestrator.compare.statistics.dev_predictions import PredictionsError
from orchestrator.decision import contestants, verdict
from orchestrator.decision.answer import Answer, Bounded, Contest, Side
from orchestrator.decision.confirming import Stage
from orchestrator.decision.minutes import Minutes
from orchestrator.decision.titles import question_of, title_of
from orchestrator.errors import UserError
from orchestrator.ledger.current import searched
from orchestrator.ledger.labels import label
from orchestrator.ledger.listing import resolved_spec
from orchestrator.spec.decide import DecideSpec
from orchestrator.spec.models import SweepSpec

if TYPE_CHECKING:
    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.compare.results import Contrast
    from orchestrator.decision.looks import Look
    from orchestrator.decision.pairs import Pair
    from orchestrator.ledger import Ledger, TrialRecord


def answer_of(ledger: Ledger, compared: SweepComparison) -> Answer:
    """The answer to a sweep's question, from the trials of both stages.

    Args:
        compared: the comparison of the search's trials.
    """
    try:
        spec = SweepSpec.model_validate(resolved_spec(ledger))
    except ValidationError:  # a sweep file of other code, or an edited one
        spec = None
    trials = [*compared.chosen.trials, *compared.chosen.confirming]
    return _Answering(ledger, spec, trials, compared).answer()


@dataclass(frozen=True)
class _Scores:
    """What the scores say about a method against the baseline, before minutes join them."""

    difference: Bounded | None = None
    state: str = "open"
    look: int = 0
    looks: int = 0
    pairs: int = 0
    problem: str = ""


@dataclass
class _Answering:
    """The steps of `answer_of`, in order."""

    ledger: Ledger
    spec: SweepSpec | None
    trials: list[TrialRecord]
    compared: SweepComparison

    def answer(self) -> Answer:
        decide = self.decide
        contests: list[Contest] = []
        how, source = "", "search"
        if decide is not None:
            stage = self._stage(decide)
            if stage is not None and any(stage.pairs.values()):
                contests, how = self._confirmed(stage)
                source = "confirming"
            else:
                contests = [self._from_search(decide, name) for name in decide.challengers]
                how = self._how_searched(contests)
        return Answer(
            question=self._question(contests),
            ask=decide.ask if decide else "score",
            metric=decide.metric if decide else "dev_score",
            margin=decide.margin if decide else 0.01,
            source="confirming" if source == "confirming" else "search",
            contests=contests,
            how=how,
            best=self._best(),
            notes=[note for contest in contests for note in _notes(contest)],
            next=self._next(contests),
        )

    @cached_property
    def decide(self) -> DecideSpec | None:
        """The question: that of the sweep file, ARRP against annealed PCGrad, or the best method
        against the baseline.  None if there are no two methods."""
        if self.spec is not None and self.spec.decide is not None:
            return self.spec.decide
        names = {method_name(trial.train_config) for trial in searched(self.trials)}
        if ANNEALED in names and any(name.startswith(ARRP) for name in names):
            return DecideSpec(compare=[ARRP, ANNEALED])
        methods = self.compared.methods
        others = (
            [s.method for s in methods.standings if s.method != methods.baseline] if methods else []
        )
        if methods is None or not others:
            return None
        return DecideSpec(compare=[others[0], methods.baseline], ask="score")

    def _question(self, contests: Sequence[Contest]) -> str:
        if self.spec is not None and self.spec.question:
            return self.spec.question
        if not contests or self.decide is None:
            return ""
        first = contests[0]
        return question_of(first.one.title, first.other.title, self.decide.ask, self.decide.metric)

    # The confirming stage.

    def _stage(self, decide: DecideSpec) -> Stage | None:
        spec = self.spec
        if spec is None or spec.decide is None or spec.resolved.decision is None:
            return None
        return Stage(self.ledger, spec, spec.resolved.decision, self.trials)

    def _confirmed(self, stage: Stage) -> tuple[list[Contest], str]:
        decide = stage.decide
        ids = stage.decision.config_ids
        minutes = Minutes(self.ledger, self.trials)
        contests = []
        try:
            looks = stage.looks
            problem = ""
        except PredictionsError as error:
            looks, problem = {name: [] for name in stage.pairs}, str(error)
        for name, pairs in stage.pairs.items():
            taken = looks[name]
            counted = pairs[: stage.decision.looks[taken[-1].number - 1]] if taken else pairs
            sides = self._paired_sides(name, decide, ids, counted)
            scores = _Scores(
                _bounded(taken), _state(taken), taken[-1].number if taken else 0,
                len(stage.decision.looks), len(counted), problem,
            )  # fmt: skip
            contests.append(self._contest(decide, sides, minutes, scores))
        return contests, _how_confirmed(contests[0], stage)

    def _paired_sides(
        self, name: str, decide: DecideSpec, ids: dict[str, str], pairs: Sequence[Pair]
    ) -> tuple[Side, Side]:
        good = [pair for pair in pairs if pair.converged]
        ones, others = [pair.one for pair in good], [pair.other for pair in good]
        lost = [
            sum(t.status != "complete" for t in side)
            for side in ([p.one for p in pairs], [p.other for p in pairs])
        ]
        return (
            self._side(name, ids[name], ones, decide.metric, diverged=lost[0]),
            self._side(
                decide.baseline, ids[decide.baseline], others, decide.metric, diverged=lost[1]
            ),
        )

    # The search's own trials.

    def _from_search(self, decide: DecideSpec, name: str) -> Contest:
        """A method against the baseline from the search's trials alone."""
        trials = searched(self.trials)
        try:
            tried = {each: contestants.candidates(trials, each, decide.metric)
                     for each in (name, decide.baseline)}  # fmt: skip
            ids = self._picked_ids(decide, tried)
        except UserError as error:
            sides = (
                Side(name, title_of(name), "", ""),
                Side(decide.baseline, title_of(decide.baseline), "", ""),
            )
            return self._contest(
                decide, sides, Minutes(self.ledger, []), _Scores(problem=str(error))
            )
        contrast = self._contrast(name, tried[name])
        one, other = (
            self._side(each, ids[each], _trials_of(tried[each], ids[each]), decide.metric)
            for each in (name, decide.baseline)
        )
        problem = contrast.problem if contrast else "their scores were not compared"
        difference = None
        if contrast is not None and not contrast.problem:
            interval = contrast.differences[decide.metric]
            several = len(contrast.seeds) > 1
            difference = Bounded(
                interval.value,
                interval.low if several else None,
                interval.high if several else None,
            )
        state = verdict.score_state(decide.ask, difference, decide.margin)
        minutes = Minutes(self.ledger, trials)
        scores = _Scores(difference, state, problem=problem)
        return self._contest(decide, (one, other), minutes, scores)

    def _picked_ids(
        self, decide: DecideSpec, tried: dict[str, contestants.Candidates]
    ) -> dict[str, str]:
        """The configurations that timing and confirming would take."""
        prior = contestants.prior_of(searched(self.trials), decide.metric)
        rule = decide.choose if isinstance(decide.choose, str) else "fastest"
        return {
            name: contestants.standing_for(each, prior, rule).config_id
            for name, each in tried.items()
        }

    def _contrast(self, name: str, tried: contestants.Candidates) -> Contrast | None:
        """The honest comparison of this method, or of all methods whose names begin so."""
        methods = self.compared.methods
        contrasts = {each.method: each for each in methods.contrasts} if methods else {}
        names = sorted({method_name(c.config) for c in tried.configurations})
        joined = [key for key in contrasts if key.endswith("any freeze") and key.startswith(name)]
        for key in (name, *(joined if len(names) > 1 else []), *names):
            if key in contrasts:
                return contrasts[key]
        return None

    # Both.

    def _contest(
        self, decide: DecideSpec, sides: tuple[Side, Side], minutes: Minutes, scores: _Scores
    ) -> Contest:
        one, other = sides
        ratio = minutes.ratio(one.config_id, other.config_id)
        times = verdict.minutes_state(ratio)
        sentence = f"The methods cannot be compared: {scores.problem}."
        if not scores.problem:
            sentence = verdict.sentence_of(
                decide.ask, scores.state, times, decide.margin, scores.difference, ratio
            )
        return Contest(
            one=one,
            other=other,
            verdict=verdict.verdict_of(decide.ask, scores.state, times),
            sentence=sentence,
            score_state=scores.state,
            minutes_state=times,
            difference=scores.difference,
            minutes_ratio=ratio,
            to_same_score=minutes.to_same_score(one.config_id, other.config_id, decide.metric),
            minutes_problem="" if ratio is not None else minutes.problem,
            look=scores.look,
            looks=scores.looks,
            pairs=scores.pairs,
            problem=scores.problem,
        )

    def _side(
        self,
        name: str,
        config_id: str,
        trials: Sequence[TrialRecord],
        metric: str,
        diverged: int = 0,
    ) -> Side:
        scores = [last_metric(trial, metric) for trial in trials]
        examples = [record["examples"] for trial in trials for record in trial.records]
        known = trials[0].train_config if trials else None
        minutes = Minutes(self.ledger, trials)
        return Side(
            method=name,
            title=title_of(method_name(known) if known else name),
            config_id=config_id,
            configuration=self._configuration(trials[0]) if trials else "",
            score=sum(scores) / len(scores) if scores else None,
            minutes=minutes.of(config_id),
            examples=sum(examples) / len(examples) if examples else None,
            seeds=len(trials),
            diverged=diverged,
        )

    def _configuration(self, trial: TrialRecord) -> str:
        """What distinguishes the configuration, without the method's own name."""
        from orchestrator.tracking.projections import varied_keys

        varied = varied_keys(self.spec) if self.spec is not None else []
        text = label(trial.train_config, varied)
        return text.removeprefix(trial.train_config.sampler).strip()

    def _how_searched(self, contests: Sequence[Contest]) -> str:
        seeds = sorted({side.seeds for c in contests for side in (c.one, c.other) if side.seeds})
        if not seeds:
            return ""
        count = f"{seeds[0]} seed{'s' if seeds[0] > 1 else ''}"
        return f"Judged by the search's own trials: {count} of each configuration."

    def _best(self) -> str:
        rows = self.compared.rows.rows
        counts = self.compared.rows.counts
        if not rows:
            return ""
        most = max(len(row.seeds) for row in rows)
        best = next(row for row in rows if len(row.seeds) == most)
        return (
            f"{best.label}, dev score {best.dev_score.mean:.3f}, of {len(rows):,} configurations, "
            f"{sum(counts.values()):,} trials, {counts.get('failed', 0):,} failed."
        )

    def _next(self, contests: Sequence[Contest]) -> list[str]:
        name = self.ledger.name
        timing = [f"orch time {name}"] if any(c.minutes_ratio is None for c in contests) else []
        return [*timing, f"orch compare {name}", f"orch report {name}", f"orch ui {name}"]


def _trials_of(tried: contestants.Candidates, config_id: str) -> list[TrialRecord]:
    own = next(each for each in tried.configurations if each.config_id == config_id)
    return list(own.trials.values())


def _bounded(looks: Sequence[Look]) -> Bounded | None:
    """The last look's interval; a single pair has none."""
    if not looks or not math.isfinite(looks[-1].estimate):
        return None
    ends = [end if math.isfinite(end) else None for end in (looks[-1].low, looks[-1].high)]
    return Bounded(looks[-1].estimate, *ends)


def _state(looks: Sequence[Look]) -> str:
    return looks[-1].state if looks else "open"


def _how_confirmed(contest: Contest, stage: Stage) -> str:
    pairs, trials = contest.pairs, len(stage.own)
    about = f"{pairs} pair{'s' if pairs != 1 else ''} of fresh seeds ({trials} trials)"
    if not contest.look:
        return f"Not yet decided: {about}, and the first look needs {stage.decision.looks[0]}."
    if contest.score_state == "open":
        return f"Not decided by the score at look {contest.look} of {contest.looks}, after {about}."
    return f"Decided at look {contest.look} of {contest.looks}, after {about}."


def _notes(contest: Contest) -> list[str]:
    notes = []
    for side in (contest.one, contest.other):
        if side.diverged:
            whole = side.seeds + side.diverged
            guess = "" if side.score_with_diverged is None else (
                f"  With a guess in their place its score is {side.score_with_diverged:.3f}."
            )  # fmt: skip
            notes.append(
                f"{side.title}: {side.diverged} of {whole} seeds diverged.  Scores are those of "
                f"the seeds that converged.{guess}"
            )
    if contest.minutes_problem:
        notes.append(f"Minutes: {contest.minutes_problem}.")
    return notes
