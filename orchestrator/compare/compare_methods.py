"""A sweep's methods against a baseline: every figure of `orch compare` beside the plain rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.compare import methods
from orchestrator.compare.configurations import Comparison
from orchestrator.compare.diagnostics import conflicts, unlearned_tasks
from orchestrator.compare.methods import Method
from orchestrator.compare.options import Question
from orchestrator.compare.output import sentences
from orchestrator.compare.results import Contrast, Estimate, MethodComparison, Standing
from orchestrator.compare.statistics import (
    best_of_k,
    epochs_to_score,
    hypothesis_tests,
    pareto_frontier,
    speed_up,
)
from orchestrator.compare.statistics.honest_scores import Evidence, Fit
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE
from orchestrator.compare.statistics.scores import OVERALL
from orchestrator.errors import UserError
from orchestrator.ledger.timing_sessions import timings

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord


def compare_methods(
    ledger: Ledger,
    trials: Sequence[TrialRecord],
    comparison: Comparison,
    question: Question,
    tell: Callable[[str], None] = lambda text: None,
) -> MethodComparison | None:
    """Compare the methods of a sweep; None without a complete trial.

    Args:
        comparison: the rows of the same trials.
        tell: is told what is being done.

    Raises `UserError` for a baseline, metric or key that is not there.
    """
    found = methods.group(trials, question.by)
    if not any(method.candidates for method in found):
        return None
    return _Making(ledger, found, question, tell).made(comparison)


class _Making:
    """The steps of `compare_methods`, in their order."""

    def __init__(
        self,
        ledger: Ledger,
        found: list[Method],
        question: Question,
        tell: Callable[[str], None],
    ):
        self.question = question
        self.methods = found
        self.baseline = methods.find_baseline(found, question.baseline)
        named = methods.named(found, question.methods, self.baseline)
        joined = None if question.by else methods.union(named, methods.ARRP)
        self.compared = [m for m in [*named, *([joined] if joined else [])] if m.candidates]
        self.metrics = _metrics_of(self.baseline)
        if question.metric not in self.metrics:
            allowed = ", ".join(self.metrics)
            raise UserError(f"--metric {question.metric}: no such metric; allowed: {allowed}")
        self.apart = {m.name: self._why_apart(m) for m in self.compared}
        self.alike = [m for m in self.compared if not self.apart[m.name]]
        self.sessions = timings(ledger)
        self.minutes = speed_up.fair_minutes(self.sessions, self.alike)
        ends = pareto_frontier.as_measured(self.alike, question.metric, self.minutes)
        self.evidence = Evidence(
            ledger, self.alike, question.metric,
            seed=question.seed, replicates=question.replicates, also=ends, tell=tell,
        )  # fmt: skip
        tell("comparing methods")

    def made(self, comparison: Comparison) -> MethodComparison:
        labels = {row.config_id: row.label for row in comparison.rows}
        standings = [self._standing(method, labels) for method in self.compared]
        standings.sort(key=lambda made: -_rank(made, self.question.metric))
        contrasts = [self._contrast(m) for m in self.compared if m is not self.baseline]
        self._judge(contrasts)
        rng = self.evidence.rng
        return MethodComparison(
            answer=sentences.answer(self.question, self.baseline.name, standings, contrasts)
            or comparison.answer,
            question=self.question,
            baseline=self.baseline.name,
            metrics=self.metrics,
            standings=standings,
            contrasts=contrasts,
            best_of_k=[
                point
                for method in self.alike
                for point in best_of_k.curve(method, self.question.metric, rng)
            ],
            frontier=pareto_frontier.points(self.evidence, self.minutes, labels),
            frontier_problem=self.minutes.problem,
            timed=self.minutes.session is not None,
            notes=[
                *unlearned_tasks.notes(self.evidence.fits.values(), self.evidence.dev),
                *sentences.notes(
                    standings, contrasts, bool(self.minutes.values) and not self.minutes.session
                ),
            ],
            methods=self.methods,
        )

    def _why_apart(self, method: Method) -> str:
        """Why a method's scores do not compare with the baseline's; empty if they do."""
        missing = [name for name in self.metrics if name not in _metrics_of(method)]
        return methods.why_apart(method, self.baseline, self.question.by) or (
            f"a trial without {', '.join(missing)}" if missing else ""
        )

    def _standing(self, method: Method, labels: Mapping[str, str]) -> Standing:
        metric, seeds = self.question.metric, method.seeds
        made = Standing(
            method.name, len(method.configurations), dict(sorted(method.counts.items())), seeds
        )
        made.problem = self.apart[method.name] or self.evidence.problems.get(method.name, "")
        if not self.apart[method.name]:
            best = conflicts.best(method, metric)
            made.naive, made.best_config_id = best.mean(metric, seeds), best.config_id
        fit = self.evidence.fits.get(method.name)
        if fit is None:
            return made
        for name in self.metrics:
            value, draws = self.evidence.draws(method.name, name)
            made.scores[name] = Estimate(value, *draws.interval(CONFIDENCE))
        if made.naive is not None:
            made.optimism = made.naive - made.scores[metric].value
        shares = fit.cross.shares.mean(0)
        made.chosen = {c.config_id: float(s) for c, s in zip(fit.read, shares, strict=True) if s}
        made.configuration = labels[fit.chosen.config_id]
        made.read, made.not_read = len(fit.read), fit.left_out
        made.minutes_per_epoch = float(fit.minutes(seeds).mean())
        made.minutes_problem = speed_up.why_not_comparable(fit.trials(seeds))
        return made

    def _contrast(self, method: Method) -> Contrast:
        evidence, other = self.evidence, self.baseline
        made = Contrast(method.name, other.name)
        made.seeds = sorted(set(method.seeds) & set(other.seeds))
        made.dropped_seeds = sorted(set(method.seeds) ^ set(other.seeds))
        made.problem = (
            self.apart[method.name]
            or evidence.problems.get(method.name, "")
            or evidence.problems.get(other.name, "")
            or ("" if made.seeds else "no seed in common")
        )
        if made.problem:
            made.speed_problem = made.problem
            return made
        for name in self.metrics:
            value, draws = evidence.contrast(method.name, other.name, made.seeds, name)
            made.differences[name] = hypothesis_tests.difference(name, value, draws)
        for name in (method.name, other.name):
            scores, _ = evidence.fits[name].by_seed(made.seeds)
            made.scores[name] = float(evidence.score(scores).mean())
        self._speed(made, evidence.fits[method.name], evidence.fits[other.name])
        return made

    def _speed(self, made: Contrast, one: Fit, other: Fit) -> None:
        """A speed-up is claimed from `orch time` alone; what trials took by themselves is shown."""
        evidence = self.evidence
        found = speed_up.speed_up_of_session(
            self.sessions, one.chosen.config_id, other.chosen.config_id,
            evidence.rng, self.question.replicates,
        )  # fmt: skip
        if found is None:
            trials = [*one.trials(made.seeds), *other.trials(made.seeds)]
            made.speed_problem = speed_up.why_not_comparable(trials) or speed_up.NOT_IN_TURN
            if made.speed_problem == speed_up.NOT_IN_TURN:
                minutes = one.minutes(made.seeds), other.minutes(made.seeds)
                made.apart = speed_up.ratio_of_trials(*minutes, made.seeds, evidence.seeds)
            return
        made.speed_up, faster = found
        epochs = epochs_to_score.epochs_to_same_score(
            one.chosen, other.chosen, made.seeds, self.question.metric
        )
        ours, theirs = epochs.mean(0)
        made.epochs_to_same_score = float(ours), float(theirs)
        made.to_same_score = speed_up.to_same_score(
            made.speed_up, faster, epochs, made.seeds, evidence.seeds
        )
        _, draws = evidence.contrast(made.method, made.baseline, made.seeds, self.question.metric)
        made.dominates = float(((draws.values > 0) & (faster > 0)).mean())
        made.dominated = float(((draws.values < 0) & (faster < 0)).mean())

    def _judge(self, contrasts: Sequence[Contrast]) -> None:
        """Outcomes, with p-values adjusted for as many comparisons as there are."""
        metric, margin = self.question.metric, self.question.margin
        told = [made for made in contrasts if not made.problem and len(made.seeds) > 1]
        drawn = [self.evidence.contrast(c.method, c.baseline, c.seeds, metric) for c in told]
        different = hypothesis_tests.holm(
            [hypothesis_tests.p_different(draws.values) for _, draws in drawn]
        )
        equivalent = hypothesis_tests.holm(
            [hypothesis_tests.p_equivalent(d.values, margin) for _, d in drawn]
        )
        for made, (value, draws), p, q in zip(told, drawn, different, equivalent, strict=True):
            made.p_different, made.p_equivalent = p, q
            made.outcome = hypothesis_tests.outcome(value, p, q)
            if made.outcome == "undecided":
                made.seeds_needed = hypothesis_tests.seeds_needed(value, draws, margin)
        for made in contrasts:
            made.sentence = sentences.verdict_of(made, metric, margin)


def _metrics_of(method: Method) -> list[str]:
    """The metrics that a comparison with this method can be about."""
    if not method.candidates:
        raise UserError(f"--baseline {method.name}: no complete trial of it")
    return [*OVERALL, *method.dev_tasks]


def _rank(made: Standing, metric: str) -> float:
    """Honest scores first, then those on the dev set that chose them, then none."""
    if metric in made.scores:
        return made.scores[metric].value
    return -2.0 if made.naive is None else made.naive - 2
