"""Compares a sweep's methods with a baseline: the numbers of `orch compare` on methods."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.compare import methods
from orchestrator.compare.configurations import Comparison
from orchestrator.compare.diagnostics import conflicts, unlearned_tasks
from orchestrator.compare.methods import Method
from orchestrator.compare.options import ComparisonOptions
from orchestrator.compare.output import sentences
from orchestrator.compare.results import Contrast, MethodComparison, Standing
from orchestrator.compare.statistics import (
    best_of_k,
    epochs_to_score,
    hypothesis_tests,
    pareto_frontier,
    speed_up,
)
from orchestrator.compare.statistics.bootstrap import Estimate
from orchestrator.compare.statistics.honest_scores import HonestScores
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE, Difference
from orchestrator.compare.statistics.paired_difference import MeanDifference
from orchestrator.compare.statistics.scores import OVERALL
from orchestrator.errors import UserError, unknown_name
from orchestrator.ledger.best_epoch import best_epoch_note
from orchestrator.ledger.timing_sessions import timings

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord


def compare_methods(
    ledger: Ledger,
    trials: Sequence[TrialRecord],
    comparison: Comparison,
    options: ComparisonOptions,
    tell: Callable[[str], None] = lambda text: None,
) -> MethodComparison | None:
    """Compare the methods of a sweep; None without a complete trial.

    Args:
        comparison: the configurations of the same trials.
        tell: is called with what is being done.

    Raises `UserError` for a baseline, metric or key that does not exist.
    """
    all_methods = methods.group(trials, options.by)
    if not any(method.candidates for method in all_methods):
        return None
    return _Comparing(ledger, all_methods, options, tell).result(comparison)


class _Comparing:
    """The steps of `compare_methods`, in order."""

    def __init__(
        self,
        ledger: Ledger,
        all_methods: list[Method],
        options: ComparisonOptions,
        tell: Callable[[str], None],
    ):
        self.options = options
        self.methods = all_methods
        self.baseline = methods.find_baseline(all_methods, options.baseline)
        named = methods.named(all_methods, options.methods, self.baseline)
        joined = None if options.by else methods.union(named, methods.ARRP)
        # A method is not compared with one of its own parts.
        if joined and self.baseline.name in joined.parts:
            joined = None
        self.joined = joined
        self.compared = [m for m in [*named, *([joined] if joined else [])] if m.candidates]
        self.metrics = _metrics_of(self.baseline)
        if options.metric not in self.metrics:
            said = f"--metric {options.metric}: no such metric"
            raise unknown_name(said, options.metric, self.metrics)
        self.apart = {m.name: self._why_apart(m) for m in self.compared}
        self.alike = [m for m in self.compared if not self.apart[m.name]]
        self.sessions = timings(ledger)
        self.minutes = speed_up.fair_minutes(self.sessions, self.alike)
        ends = pareto_frontier.as_measured(self.alike, options.metric, self.minutes)
        self.honest = HonestScores(ledger, self.alike, options, also=ends, tell=tell)
        tell("comparing methods")

    def result(self, comparison: Comparison) -> MethodComparison:
        metric = self.options.metric
        labels = {row.config_id: row.label for row in comparison.rows}
        standings = [self._standing(method, labels) for method in self.compared]
        standings.sort(key=lambda standing: -_rank(standing, metric))
        contrasts = [self._contrast(m) for m in self.compared if m is not self.baseline]
        self._judge(contrasts)
        curves = [best_of_k.curve(method, metric) for method in self.alike]
        trials_minutes = bool(self.minutes.values) and not self.minutes.session
        return MethodComparison(
            options=self.options,
            baseline=self.baseline.name,
            metrics=self.metrics,
            standings=standings,
            contrasts=contrasts,
            best_of_k=[point for curve in curves for point in curve],
            frontier=pareto_frontier.points(self.honest, self.minutes, labels),
            frontier_problem=self.minutes.problem,
            timed=self.minutes.session is not None,
            notes=[
                *filter(None, [best_epoch_note(t for m in self.compared for t in m.trials)]),
                *unlearned_tasks.notes(self.honest.fits.values(), self.honest.dev),
                *sentences.notes(standings, contrasts, metric, trials_minutes),
            ],
            methods=self.methods,
        )

    def _why_apart(self, method: Method) -> str:
        """Why a method's scores do not compare with the baseline's; empty if they do."""
        missing = [name for name in self.metrics if name not in _metrics_of(method)]
        return methods.why_apart(method, self.baseline, self.options.by) or (
            f"a trial without {', '.join(missing)}" if missing else ""
        )

    def _problem(self, method: Method) -> str:
        """Why a method has no honest scores; empty if it has."""
        return self.apart[method.name] or self.honest.problems.get(method.name, "")

    def _standing(self, method: Method, labels: Mapping[str, str]) -> Standing:
        metric = self.options.metric
        counts = dict(sorted(method.counts.items()))
        standing = Standing(method.name, len(method.configurations), counts, method.common)
        standing.problem = self._problem(method)
        standing.lacking = len(method.configurations) - len(method.candidates)
        if not self.apart[method.name]:
            best = conflicts.best(method, metric)
            standing.naive = best.mean(metric, method.common)
            standing.best_config_id = best.config_id
        fit = self.honest.fits.get(method.name)
        if fit is None:
            return standing
        standing.seeds = fit.seeds
        for name in self.metrics:
            value, draws = self.honest.draws(method.name, name)
            ends = self.honest.clipped(*draws.interval(CONFIDENCE), name)
            standing.scores[name] = Estimate(value, *ends)
        if standing.naive is not None:
            standing.optimism = standing.naive - standing.scores[metric].value
        shares = zip(fit.read, fit.cross.shares.mean(0), strict=True)
        standing.chosen = {each.config_id: float(share) for each, share in shares if share}
        standing.configuration = labels[fit.chosen.config_id]
        standing.read, standing.not_read = len(fit.read), fit.left_out
        standing.minutes_per_epoch = float(fit.minutes(fit.seeds).mean())
        standing.minutes_problem = speed_up.why_not_comparable(fit.trials(fit.seeds))
        standing.diverged = len(fit.chosen.diverged)
        standing.tried = standing.diverged + len(fit.chosen.trials)
        if standing.diverged:
            share = standing.diverged / standing.tried
            score = standing.scores[metric].value
            standing.score_with_diverged = score + share * (self.honest.guess() - score)
        return standing

    def _contrast(self, method: Method) -> Contrast:
        honest, other, metric = self.honest, self.baseline, self.options.metric
        contrast = Contrast(method.name, other.name)
        contrast.problem = self._problem(method) or self._problem(other)
        if contrast.problem:
            contrast.seeds = sorted(set(method.seeds) & set(other.seeds))
            contrast.speed_problem = contrast.problem
            return contrast
        if self.joined and method.name in self.joined.parts:
            contrast.part_of = self.joined.name
        difference = honest.contrast(method.name, other.name, metric)
        contrast.seeds, contrast.unpaired_seeds = difference.paired, difference.unpaired
        contrast.dropped_seeds = difference.dropped
        for name in self.metrics:
            contrast.differences[name] = self._difference(method, name, CONFIDENCE)
        contrast.interval = contrast.differences[metric]
        for name in (method.name, other.name):
            fit = honest.fits[name]
            scores = zip(fit.seeds, honest.score(fit.cross.scores), strict=True)
            counting = [score for seed, score in scores if seed not in contrast.dropped_seeds]
            contrast.scores[name] = statistics.fmean(counting)
        self._add_minutes(contrast, difference)
        return contrast

    def _difference(self, method: Method, metric: str, confidence: float) -> Difference:
        """A method's metric minus the baseline's, with an interval within the metric's range."""
        difference = self.honest.contrast(method.name, self.baseline.name, metric).distribution
        ends = self.honest.clipped(*difference.interval(confidence), metric, difference=True)
        return Difference(metric, difference.value, *ends)

    def _add_minutes(self, contrast: Contrast, difference: MeanDifference) -> None:
        """Only `orch time` supports a ratio; otherwise that of the trials is shown."""
        honest, seeds, metric = self.honest, contrast.seeds, self.options.metric
        one, other = honest.fits[contrast.method], honest.fits[contrast.baseline]
        timed = speed_up.ratio_of_session(
            self.sessions, one.chosen.config_id, other.chosen.config_id,
            honest.rng, self.options.replicates,
        )  # fmt: skip
        if timed is None:
            trials = [*one.trials(one.seeds), *other.trials(other.seeds)]
            contrast.speed_problem = speed_up.why_not_comparable(trials)
            if not contrast.speed_problem:
                contrast.speed_problem = speed_up.NOT_IN_TURN
                if seeds:
                    minutes = one.minutes(seeds), other.minutes(seeds)
                    contrast.trials_ratio = speed_up.ratio_of_trials(*minutes, seeds, honest.seeds)
            return
        contrast.minutes_ratio, logs = timed
        both = [s for s in seeds if s in one.chosen.trials and s in other.chosen.trials]
        if both:
            epochs = epochs_to_score.epochs_to_same_score(one.chosen, other.chosen, both, metric)
            own, baselines = epochs.mean(0)
            contrast.epochs_to_same_score = float(own), float(baselines)
            contrast.same_score_ratio = speed_up.to_same_score(
                contrast.minutes_ratio, logs, epochs, both, honest.seeds
            )
        # Scores and minutes are independent: the minutes come from other runs.
        better = difference.distribution.tail(-difference.distribution.value)
        fewer = float((logs < 0).mean())
        contrast.dominates = better * fewer
        contrast.dominated = (1 - better) * (1 - fewer)

    def _judge(self, contrasts: Sequence[Contrast]) -> None:
        """Decide outcomes, with p-values corrected for the number of comparisons.

        A part of a method that is tested does not enter, so that one question is paid for once.
        """
        metric, margin = self.options.metric, self.options.margin
        tested = {}
        for contrast in contrasts:
            if contrast.problem or contrast.part_of:
                continue
            difference = self.honest.contrast(contrast.method, contrast.baseline, metric)
            if difference.seeds_differ:
                tested[contrast.method] = difference.distribution
        judged = dict(zip(tested, hypothesis_tests.judge([*tested.values()], margin), strict=True))
        by_name = {method.name: method for method in self.compared}
        for contrast in contrasts:
            if judgement := judged.get(contrast.method):
                contrast.p_different = judgement.p_different
                contrast.p_equivalent = judgement.p_equivalent
                contrast.outcome, contrast.confidence = judgement.outcome, judgement.confidence
                contrast.interval = self._difference(
                    by_name[contrast.method], metric, judgement.confidence
                )
            contrast.sentence = sentences.verdict_of(contrast, metric, margin)


def _metrics_of(method: Method) -> list[str]:
    """The metrics by which this method can be compared."""
    if not method.candidates:
        raise UserError(f"--baseline {method.name}: it has no complete trial")
    return [*OVERALL, *method.dev_tasks]


def _rank(standing: Standing, metric: str) -> float:
    """Honest scores first, then scores on the dev set on which they were chosen, then none."""
    if metric in standing.scores:
        return standing.scores[metric].value
    return -2.0 if standing.naive is None else standing.naive - 2
