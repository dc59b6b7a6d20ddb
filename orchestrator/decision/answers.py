"""Computes the answer to a sweep's question from its ledger: the one place that does."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.compare.methods import ANNEALED, ARRP, last_metric, method_name
from orchestrator.compare.options import ComparisonOptions
from orchestrator.compare.statistics.dev_predictions import PredictionsError
from orchestrator.decision import contestants, verdict
from orchestrator.decision.answer import Answer, Bounded, Contest, Side
from orchestrator.decision.confirming import Stage
from orchestrator.decision.minutes import Minutes
from orchestrator.decision.next_steps import plan_lines
from orchestrator.decision.pairs import guess_score
from orchestrator.decision.titles import question_of, title_of
from orchestrator.errors import UserError
from orchestrator.ledger import RESOLVED
from orchestrator.ledger.current import searched
from orchestrator.ledger.labels import label, varied_keys
from orchestrator.ledger.listing import resolved_spec
from orchestrator.spec.decide import DecideSpec
from orchestrator.spec.models import SweepSpec

if TYPE_CHECKING:
    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.compare.results import Contrast, MethodComparison
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
    """What the scores say about a method against the baseline, before minutes join them.

    Attributes:
        undecided: why the score is open, if not because its interval is too wide.
    """

    difference: Bounded | None = None
    state: str = "open"
    look: int = 0
    looks: int = 0
    pairs: int = 0
    undecided: str = ""
    problem: str = ""


@dataclass
class _Answering:
    """The steps of `answer_of`, in order."""

    ledger: Ledger
    spec: SweepSpec | None
    trials: list[TrialRecord]
    compared: SweepComparison

    def answer(self) -> Answer:
        decide, stage = self.decide, self._stage()
        if decide is None:
            contests, how, confirmed = [], "", False
        else:
            looks, problem = _looks(stage)
            confirmed = any(looks.values()) or bool(problem)
            contests = [
                self._confirmed(stage, name, looks[name], problem)
                if stage is not None and (problem or looks.get(name))
                else self._from_search(decide, name)
                for name in decide.challengers
            ]
            how = self._how(contests, stage if confirmed else None)
        contests = _distinct(contests)
        return Answer(
            question=self._question(contests),
            ask=decide.ask if decide else "score",
            metric=decide.metric if decide else "dev_score",
            margin=decide.margin if decide else 0.01,
            source="confirming" if confirmed else "search",
            contests=contests,
            how=how,
            best=self._best(),
            notes=self._notes(contests),
            plan=self._plan(contests, stage),
            next=self._next(contests),
        )

    @cached_property
    def decide(self) -> DecideSpec | None:
        """The question: that of the sweep file, ARRP against annealed PCGrad, or the best method
        against the baseline.  None if there are no two methods."""
        if self._asked is not None:
            return self._asked
        methods = self._methods if self.compared.methods else None
        if methods is None:
            return None
        others = [s.method for s in methods.standings if s.method != methods.baseline]
        others = [name for name in others if not name.endswith(ANY_FREEZE)]
        return DecideSpec(compare=[others[0], methods.baseline], ask="score") if others else None

    @cached_property
    def _asked(self) -> DecideSpec | None:
        """The question that does not depend on the scores."""
        if self.spec is not None and self.spec.decide is not None:
            return self.spec.decide
        names = {method_name(trial.train_config) for trial in searched(self.trials)}
        if ANNEALED in names and any(name.startswith(ARRP) for name in names):
            return DecideSpec(compare=[ARRP, ANNEALED])
        return None

    def _question(self, contests: Sequence[Contest]) -> str:
        if self.spec is not None and self.spec.question:
            return self.spec.question
        if not contests or self.decide is None:
            return ""
        first = contests[0]
        return question_of(first.one.title, first.other.title, self.decide.ask, self.decide.metric)

    @cached_property
    def _minutes(self) -> Minutes:
        return Minutes(self.ledger, self.trials)

    # The confirming stage.

    def _stage(self) -> Stage | None:
        spec = self.spec
        if spec is None or spec.decide is None or spec.resolved.decision is None:
            return None
        return Stage(self.ledger, spec, spec.resolved.decision, self.trials)

    def _confirmed(self, stage: Stage, name: str, looks: Sequence[Look], problem: str) -> Contest:
        pairs = stage.pairs.get(name, [])
        counted = pairs[: stage.decision.looks[looks[-1].number - 1]] if looks else pairs
        scores = _Scores(
            _bounded(looks), looks[-1].state if looks else "open",
            looks[-1].number if looks else 0, len(stage.decision.looks), len(counted),
            problem=problem,
        )  # fmt: skip
        return self._contest(stage.decide, self._paired_sides(stage, name, counted), scores)

    def _paired_sides(self, stage: Stage, name: str, pairs: Sequence[Pair]) -> tuple[Side, Side]:
        decide, ids = stage.decide, stage.decision.config_ids
        good = [pair for pair in pairs if pair.converged]
        one, other = (
            self._side(each, ids[each], own, decide.metric, _lost(all_of))
            for each, own, all_of in (
                (name, [pair.one for pair in good], [pair.one for pair in pairs]),
                (decide.baseline, [pair.other for pair in good], [pair.other for pair in pairs]),
            )
        )
        return one, other

    # The search's own trials.

    def _from_search(self, decide: DecideSpec, name: str) -> Contest:
        """A method against the baseline from the search's trials alone.

        Where the sweep file has a question, only fresh seeds answer it.
        """
        trials = searched(self.trials)
        try:
            tried = {each: contestants.candidates(trials, each, decide.metric)
                     for each in (name, decide.baseline)}  # fmt: skip
            ids = self._picked_ids(decide, tried)
        except UserError as error:
            sides = tuple(
                Side(each, title_of(self._only_method(each)), "", "")
                for each in (name, decide.baseline)
            )
            return self._contest(decide, (sides[0], sides[1]), _Scores(problem=str(error)))
        contrast = self._contrast(decide, tried)
        problem = contrast.problem if contrast else "their scores were not compared"
        difference, honest = None, dict[str, float]()
        if contrast is not None and not contrast.problem:
            difference = _interval_of(contrast, decide.metric, corrected=self._asked is None)
            honest = contrast.scores
        one, other = (
            self._side(
                each, ids[each], _trials_of(tried[each], ids[each]), decide.metric,
                _lost(t for t in trials if t.identity.get("config_id") == ids[each]),
            )
            for each in (name, decide.baseline)
        )  # fmt: skip
        if contrast is not None and honest:  # the configurations' own scores were chosen from
            one = replace(one, score=honest[contrast.method])
            other = replace(other, score=honest[contrast.baseline])
        if self.spec is not None and self.spec.decide is not None:
            scores = _Scores(difference, "open", undecided=_UNCONFIRMED, problem=problem)
        else:
            state = verdict.score_state(decide.ask, difference, decide.margin)
            several = difference is not None and difference.low is not None
            reason = "" if several else "One seed does not show how much seeds differ"
            scores = _Scores(difference, state, undecided=reason, problem=problem)
        return self._contest(decide, (one, other), scores)

    def _picked_ids(
        self, decide: DecideSpec, tried: dict[str, contestants.Candidates]
    ) -> dict[str, str]:
        """The configurations that timing and confirming would take."""
        if self.spec is not None and self.spec.resolved.decision is not None:
            return self.spec.resolved.decision.config_ids
        if self.spec is None or self.spec.decide is None:  # the configurations of `orch time`
            return {name: each.best().config_id for name, each in tried.items()}
        prior = contestants.prior_of(searched(self.trials), decide.metric)
        choose = decide.choose
        given = {} if isinstance(choose, str) else choose
        rule = choose if isinstance(choose, str) else "fastest"
        return {
            name: _with_params(each, given[name])
            if name in given
            else contestants.standing_for(each, prior, rule).config_id
            for name, each in tried.items()
        }

    def _contrast(
        self, decide: DecideSpec, tried: Mapping[str, contestants.Candidates]
    ) -> Contrast | None:
        """The honest comparison of the first method, or of all methods whose names begin so."""
        name, baseline = tried
        methods = self._methods
        if self._asked is not None:
            methods = self._canonical(decide.metric, _method_of(tried[baseline]))
        contrasts = {each.method: each for each in methods.contrasts} if methods else {}
        names = sorted({method_name(c.config) for c in tried[name].configurations})
        joined = [key for key in contrasts if key.endswith(ANY_FREEZE) and key.startswith(name)]
        for key in (name, *(joined if len(names) > 1 else []), *names):
            if key in contrasts:
                return contrasts[key]
        return None

    @cached_property
    def _methods(self) -> MethodComparison | None:
        """The comparison of methods by their names in `decide`, whatever the user's options are."""
        methods = self.compared.methods
        return self._canonical("dev_score", "") if methods and methods.options.by else methods

    def _canonical(self, metric: str, baseline: str) -> MethodComparison | None:
        """The comparison whose numbers the answer takes, so that no option changes the answer."""
        from orchestrator.compare.compare_methods import compare_methods

        methods = self.compared.methods
        if methods is None:
            return None
        wanted = ComparisonOptions(metric=metric)
        same = replace(methods.options, baseline="", margin=wanted.margin) == wanted
        if same and methods.baseline == (baseline or methods.baseline):
            return methods
        chosen = searched(self.trials)
        options = replace(wanted, baseline=baseline)
        return compare_methods(self.ledger, chosen, self.compared.rows, options)

    def _only_method(self, name: str) -> str:
        """The method that a name in `decide.compare` stands for, if it is only one."""
        names = {method_name(t.train_config) for t in searched(self.trials)}
        begun = {name} & names or {each for each in names if each.startswith(name)}
        return begun.pop() if len(begun) == 1 else name

    # Both.

    def _contest(self, decide: DecideSpec, sides: tuple[Side, Side], scores: _Scores) -> Contest:
        one, other = sides
        minutes = self._minutes
        ratio = minutes.ratio(one.config_id, other.config_id)
        times = verdict.minutes_state(ratio)
        if scores.problem:
            sentence = f"The methods cannot be compared: {scores.problem}."
        else:
            sentence = verdict.sentence_of(
                decide.ask, decide.margin, verdict.Finding(scores.state, scores.difference),
                verdict.Finding(times, ratio), scores.undecided,
            )  # fmt: skip
        epochs = minutes.mean_epochs(one.config_id, other.config_id, decide.metric)
        one, other = (
            _with_minutes(side, own, epochs and epochs[number])
            for number, (side, own) in enumerate(
                zip(sides, minutes.of_both(one.config_id, other.config_id), strict=True)
            )
        )
        one, other = _without_common_parts(one, other)
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
        score = sum(scores) / len(scores) if scores else None
        with_diverged = None
        if diverged and score is not None:
            guess = guess_score(self.ledger, trials[0], metric)
            share = diverged / (diverged + len(scores))
            with_diverged = None if guess is None else score + share * (guess - score)
        return Side(
            method=name,
            title=title_of(method_name(trials[0].train_config) if trials else name),
            config_id=config_id,
            configuration=self._configuration(trials[0]) if trials else "",
            score=score,
            examples=sum(examples) / len(examples) if examples else None,
            seeds=len(trials),
            diverged=diverged,
            score_with_diverged=with_diverged,
        )

    def _configuration(self, trial: TrialRecord) -> str:
        """What distinguishes the configuration, without the method's own name."""
        varied = varied_keys(self.spec) if self.spec is not None else []
        config = trial.train_config
        named = (config.sampler, config.combiner, f"F={config.freeze}")  # in the method's title
        parts = label(config, varied).split()
        return " ".join(part for part in parts if part not in named)

    def _how(self, contests: Sequence[Contest], stage: Stage | None) -> str:
        """How it was decided; for a question without its fresh seeds, what is missing."""
        if stage is not None:
            return _how_confirmed(contests[0], stage)
        seeds = sorted({side.seeds for c in contests for side in (c.one, c.other) if side.seeds})
        count = f"{_range(seeds)} of each configuration" if seeds else ""
        if self.spec is None or self.spec.decide is None:
            return f"Judged by the search's own trials: {count}." if seeds else ""
        if contests and contests[0].minutes_state == "not fewer":
            return "Decided by the minutes alone: the scores were not confirmed."
        looks = self.spec.resolved.decision.looks if self.spec.resolved.decision else []
        first = (looks or self.spec.decide.looks)[0]
        shown = f" The difference is that of the search: {count}." if seeds else ""
        return (
            f"Not confirmed yet: the first look needs {first} pairs of fresh seeds.{shown} "
            "The same `orch sweep` trains what is missing."
        )

    def _notes(self, contests: Sequence[Contest]) -> list[str]:
        """What a reader must know, each note once."""
        notes = [self.compared.chosen.scored_on] if contests else []
        if contests and self.spec is not None and self.spec.decide is not None:
            notes.append(_CHOSEN.get(str(self.spec.decide.choose), ""))
        notes += [note for contest in contests for note in _notes(contest)]
        return [note for note in dict.fromkeys(notes) if note]

    def _plan(self, contests: Sequence[Contest], stage: Stage | None) -> list[str]:
        """What would decide an open score; empty while planned looks are left."""
        open_score = any(
            c.verdict == "NOT DECIDED" and c.score_state == "open" and not c.problem
            for c in contests
        )
        if not open_score or (stage is not None and stage.own and stage.next_count()):
            return []
        return plan_lines(self.spec, self.ledger, self.trials)

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
        name = shlex.quote(self.ledger.name)
        commands = [f"orch {command} {name}" for command in ("compare", "report", "ui")]
        untimed = [c for c in contests if not c.problem and c.minutes_ratio is None]
        if untimed:
            commands.insert(0, f"orch time {name}{self._timed_trials(untimed)}")
        unconfirmed = any(
            c.verdict == "NOT DECIDED" and not c.look and not c.problem for c in contests
        )
        if self.spec is not None and self.spec.decide is not None and unconfirmed:
            commands.insert(0, f"orch sweep {_sweep_file(self.ledger)}")
        return commands

    def _timed_trials(self, contests: Sequence[Contest]) -> str:
        """`orch time` without options times each method's best configuration; else which ones."""
        if self.spec is None or self.spec.decide is None:
            return ""
        wanted = dict.fromkeys(side.config_id for c in contests for side in (c.one, c.other))
        ids = [
            next((t.trial_id for t in self.trials if t.identity.get("config_id") == each), "")
            for each in wanted
        ]
        known = [trial.trial_id for trial in self.trials]
        return "".join(f" --trials {_short(each, known)}" for each in ids if each)


#: What `compare` calls all frozen sets of a method together.
ANY_FREEZE = "any freeze"
#: By `decide.choose`: which configuration stands for a method.
_CHOSEN = {
    "fastest": "Compared: the fastest configuration of each method within one standard error of "
    "its best score.",
    "best": "Compared: the configuration of each method with the best score.",
}
_UNCONFIRMED = "The scores are not confirmed on fresh seeds yet"


def _looks(stage: Stage | None) -> tuple[dict[str, list[Look]], str]:
    """The looks that were taken by challenger, and why they cannot be computed."""
    if stage is None or not any(stage.pairs.values()):
        return {}, ""
    try:
        return stage.looks, ""
    except PredictionsError as error:
        return {name: [] for name in stage.decide.challengers}, str(error)


def _with_minutes(side: Side, minutes: float | None, epochs: float | None) -> Side:
    """The side with its minutes per epoch, and to the score that both reach."""
    to_score = None if minutes is None or epochs is None else minutes * epochs
    return replace(side, minutes=minutes, minutes_to_score=to_score)


def _without_common_parts(one: Side, other: Side) -> tuple[Side, Side]:
    """Two configurations without what they have in common, `dropout=0.1`."""
    parts = [side.configuration.split() for side in (one, other)]
    common = set(parts[0]) & set(parts[1])
    texts = (" ".join(part for part in own if part not in common) for own in parts)
    one_text, other_text = texts
    return replace(one, configuration=one_text), replace(other, configuration=other_text)


def _distinct(contests: Sequence[Contest]) -> list[Contest]:
    """The contests with the methods' own names where two different ones have the same title."""
    sides = {side.method: side for c in contests for side in (c.one, c.other)}
    titles = Counter(side.title for side in sides.values())

    def named(side: Side) -> Side:
        return side if titles[side.title] == 1 else replace(side, title=side.method)

    return [replace(each, one=named(each.one), other=named(each.other)) for each in contests]


def _sweep_file(ledger: Ledger) -> str:
    """The sweep's own file as an argument of `orch sweep`."""
    out = ledger.local_out
    path = shlex.quote(f"{out.name}/{ledger.name}/{RESOLVED}")
    return path if out.name == "sweeps" else f"{path} --out {shlex.quote(out.name)}"


def _short(trial_id: str, known: Sequence[str]) -> str:
    """The beginning of a trial's id that no other trial has, with at least four of its digits."""
    fewest = trial_id.rfind("-") + 5
    lengths = range(fewest, len(trial_id))
    unique = (n for n in lengths if sum(each.startswith(trial_id[:n]) for each in known) == 1)
    return shlex.quote(trial_id[: next(unique, len(trial_id))])


def _trials_of(tried: contestants.Candidates, config_id: str) -> list[TrialRecord]:
    """The complete trials of one of the configurations; none if it is no candidate."""
    own = [each for each in tried.configurations if each.config_id == config_id]
    return [trial for each in own for trial in each.trials.values()]


def _with_params(tried: contestants.Candidates, params: Mapping[str, Any]) -> str:
    """The id of the configuration with these params; empty if the search has not tried it."""
    same = (c for c in tried.configurations if contestants.params_of(c) == params)
    return next((each.config_id for each in same), "")


def _method_of(tried: contestants.Candidates) -> str:
    """The method's full name; of several, that of the best configuration."""
    names = [method_name(each.config) for each in tried.configurations]
    return tried.name if tried.name in names else names[0]


def _lost(trials: Iterable[TrialRecord]) -> int:
    """How many of these trials diverged."""
    return sum(trial.status == "failed" and trial.reason == "diverged" for trial in trials)


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


def _bounded(looks: Sequence[Look]) -> Bounded | None:
    """The last look's interval; a single pair has none."""
    if not looks or not math.isfinite(looks[-1].estimate):
        return None
    ends = [end if math.isfinite(end) else None for end in (looks[-1].low, looks[-1].high)]
    return Bounded(looks[-1].estimate, *ends)


def _how_confirmed(contest: Contest, stage: Stage) -> str:
    if not contest.look:
        return ""
    trials = 2 * contest.pairs if len(stage.pairs) == 1 else len(stage.own)
    about = f"look {contest.look} of {contest.looks}, after {contest.pairs} pairs of fresh seeds"
    about += f" ({trials} trials)"
    counting = contest.one.seeds
    if counting < contest.pairs:
        about += f", of which {counting} count"
    if contest.score_state != "open":
        return f"Decided at {about}."
    undecided = f"Not decided by the scores at {about}."
    if stage.next_count():
        return f"{undecided} More looks follow."
    futile = any(looks and looks[-1].futile for looks in stage.looks.values())
    why = " It stopped there, because the looks that were left would hardly decide."
    return undecided + (why if futile else "")


def _range(seeds: Sequence[int]) -> str:
    low, high = seeds[0], seeds[-1]
    return f"{low} to {high} seeds" if low < high else f"{low} seed{'s' if low > 1 else ''}"


def _notes(contest: Contest) -> list[str]:
    notes = []
    for side in (contest.one, contest.other):
        if side.diverged:
            whole = side.seeds + side.diverged
            guess = "" if side.score_with_diverged is None else (
                f" With a guess in place of those that diverged it is "
                f"{side.score_with_diverged:.3f}."
            )  # fmt: skip
            notes.append(
                f"{side.title}: {side.diverged} of {whole} seeds diverged. Its score is that of "
                f"the seeds that converged.{guess}"
            )
    if contest.minutes_problem and not contest.problem:
        notes.append(f"Minutes: {contest.minutes_problem}.")
    return notes
