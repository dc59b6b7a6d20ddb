"""Compares a sweep's methods with a baseline: the numbers of `orch compare` on methods."""

from __future__ import annotations

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
from orchestrator.compare.statistics.scores import OVERALL
from orchestrator.errors import UserError
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
        self.compared = [m for m in [*named, *([joined] if joined else [])] if m.candidates]
        self.metrics = _metrics_of(self.baseline)
        if options.metric not in self.metrics:
            allowed = ", ".join(self.metrics)
            raise UserError(f"--metric {options.metric}: no such metric; allowed: {allowed}")
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
        # The curves draw from the random stream before the frontier does.
        curves = [best_of_k.curve(method, metric, self.honest.rng) for method in self.alike]
        trials_minutes = bool(self.minutes.values) and not self.minutes.session
        return MethodComparison(
            answer=sentences.answer(self.options, self.baseline.name, standings, contrasts)
            or comparison.answer,
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
                *unlearned_tasks.notes(self.honest.fits.values(), self.honest.dev),
                *sentences.notes(standings, contrasts, trials_minutes),
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
        metric, seeds = self.options.metric, method.seeds
        standing = Standing(
            method.name, len(method.configurations), dict(sorted(method.counts.items())), seeds
        )
        standing.problem = self._problem(method)
        if not self.apart[method.name]:
            best = conflicts.best(method, metric)
            standing.naive, standing.best_config_id = best.mean(metric, seeds), best.config_id
        fit = self.honest.fits.get(method.name)
        if fit is None:
            return standing
        for name in self.metrics:
            value, draws = self.honest.draws(method.name, name)
            standing.scores[name] = Estimate(value, *draws.interval(CONFIDENCE))
        if standing.naive is not None:
            standing.optimism = standing.naive - standing.scores[metric].value
        shares = zip(fit.read, fit.cross.shares.mean(0), strict=True)
        standing.chosen = {each.config_id: float(share) for each, share in shares if share}
        standing.configuration = labels[fit.chosen.config_id]
        standing.read, standing.not_read = len(fit.read), fit.left_out
        standing.minutes_per_epoch = float(fit.minutes(seeds).mean())
        standing.minutes_problem = speed_up.why_not_comparable(fit.trials(seeds))
        return standing

    def _contrast(self, method: Method) -> Contrast:
        honest, other = self.honest, self.baseline
        contrast = Contrast(method.name, other.name)
        contrast.seeds = sorted(set(method.seeds) & set(other.seeds))
        contrast.dropped_seeds = sorted(set(method.seeds) ^ set(other.seeds))
        contrast.problem = (
            self._problem(method)
            or self._problem(other)
            or ("" if contrast.seeds else "no seed in common")
        )
        if contrast.problem:
            contrast.speed_problem = contrast.problem
            return contrast
        for name in self.metrics:
            value, draws = honest.contrast(method.name, other.name, contrast.seeds, name)
            contrast.differences[name] = Difference(name, value, *draws.interval(CONFIDENCE))
        for name in (method.name, other.name):
            scores, _ = honest.fits[name].by_seed(contrast.seeds)
            contrast.scores[name] = float(honest.score(scores).mean())
        self._add_speed(contrast)
        return contrast

    def _add_speed(self, contrast: Contrast) -> None:
        """Only `orch time` supports a speed-up; otherwise the ratio of the trials is shown."""
        honest, seeds, metric = self.honest, contrast.seeds, self.options.metric
        one, other = honest.fits[contrast.method], honest.fits[contrast.baseline]
        timed = speed_up.speed_up_of_session(
            self.sessions, one.chosen.config_id, other.chosen.config_id,
            honest.rng, self.options.replicates,
        )  # fmt: skip
        if timed is None:
            trials = [*one.trials(seeds), *other.trials(seeds)]
            contrast.speed_problem = speed_up.why_not_comparable(trials)
            if not contrast.speed_problem:
                contrast.speed_problem = speed_up.NOT_IN_TURN
                minutes = one.minutes(seeds), other.minutes(seeds)
                contrast.apart = speed_up.ratio_of_trials(*minutes, seeds, honest.seeds)
            return
        contrast.speed_up, faster = timed
        epochs = epochs_to_score.epochs_to_same_score(one.chosen, other.chosen, seeds, metric)
        own, baselines = epochs.mean(0)
        contrast.epochs_to_same_score = float(own), float(baselines)
        contrast.to_same_score = speed_up.to_same_score(
            contrast.speed_up, faster, epochs, seeds, honest.seeds
        )
        _, draws = honest.contrast(contrast.method, contrast.baseline, seeds, metric)
        contrast.dominates = float(((draws.values > 0) & (faster > 0)).mean())
        contrast.dominated = float(((draws.values < 0) & (faster < 0)).mean())

    def _judge(self, contrasts: Sequence[Contrast]) -> None:
        """Decide outcomes, with p-values corrected for the number of comparisons."""
        metric, margin = self.options.metric, self.options.margin
        tested = [each for each in contrasts if not each.problem and len(each.seeds) > 1]
        values = [self.honest.contrast(c.method, c.baseline, c.seeds, metric) for c in tested]
        different = hypothesis_tests.holm(
            [hypothesis_tests.p_different(draws.values) for _, draws in values]
        )
        equivalent = hypothesis_tests.holm(
            [hypothesis_tests.p_equivalent(draws.values, margin) for _, draws in values]
        )
        for contrast, (value, draws), p, q in zip(
            tested, values, different, equivalent, strict=True
        ):
            contrast.p_different, contrast.p_equivalent = p, q
            contrast.outcome = hypothesis_tests.outcome(value, p, q)
            if contrast.outcome == "undecided":
                contrast.seeds_needed = hypothesis_tests.seeds_needed(value, draws, margin)
        for contrast in contrasts:
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
