"""The sections on methods: their scores with intervals, and their differences to the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from orchestrator.compare.output import tables
from orchestrator.compare.output.sentences import interval
from orchestrator.compare.results import Contrast, MethodComparison, Standing
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.parts import Figures, Missing, Part, Section, Table, Text
from orchestrator.report.style import Look

#: Methods in one figure; the tables show all.
MOST = 12
#: Curves in one figure; more of them cover each other.
MOST_CURVES = 8


def other_metrics(comparison: MethodComparison, looks: Mapping[str, Look]) -> Section:
    """Every method by each of the metrics that are not compared."""
    section = Section("metrics", "Every other metric", folded=True)
    honest = [standing for standing in comparison.standings if standing.scores][:MOST]
    others = [name for name in comparison.metrics if name != comparison.options.metric]
    if honest and others:
        drawn = [_scores(honest, name, looks, alone=False) for name in others]
        section.parts.append(Figures(drawn))
    table = tables.differences_table(comparison)
    if table.rows and len(table.columns) > 1:
        section.parts.append(
            Table(
                "Differences of the other metrics. Each 95 % interval stands alone: it is not "
                "corrected for the number of comparisons.",
                table,
            )
        )
    return section


def sections(comparison: MethodComparison, looks: Mapping[str, Look]) -> list[Section]:
    """Each method alone; each method against the baseline."""
    baseline = comparison.baseline
    return [
        Section("methods", "Methods", list(_standings(comparison, looks))),
        Section("against-the-baseline", f"Against {baseline}", list(_contrasts(comparison, looks))),
    ]


def methods_of(rows: Iterable[Mapping[str, Any]], looks: Mapping[str, Look]) -> list[str]:
    """The methods that have rows, in the order of `looks`."""
    there = {row["method"] for row in rows}
    return [name for name in looks if name in there]


def _standings(comparison: MethodComparison, looks: Mapping[str, Look]) -> Iterable[Part]:
    metric = comparison.options.metric
    honest = [standing for standing in comparison.standings if standing.scores]
    if honest:
        yield Figures([_scores(honest[:MOST], metric, looks, alone=True)])
        if len(honest) > MOST:
            yield Text(f"The figures show the best {MOST} of {len(honest)} methods.")
    else:
        yield Missing("No figure of scores with intervals: no method has an honest score.")
    yield Table(
        "Every method by falling score. A score comes from configurations that were chosen "
        "without the examples and the seed that score them. Optimism is what choosing on the same "
        "examples would add. Grey minutes (*) must not be compared.",
        tables.methods_table(comparison),
    )


def _contrasts(comparison: MethodComparison, looks: Mapping[str, Look]) -> Iterable[Part]:
    metric, baseline = comparison.options.metric, comparison.baseline
    if not comparison.contrasts:
        yield Missing(f"There is nothing to compare with {baseline}: no other method.")
        return
    comparable = [each for each in comparison.contrasts if metric in each.differences]
    comparable.sort(key=lambda each: -each.differences[metric].value)
    if comparable:
        yield Figures([_differences(comparison, comparable[:MOST], looks)])
        if len(comparable) > MOST:
            yield Text(f"The figure shows the best {MOST} of {len(comparable)} methods.")
    else:
        reasons = "; ".join(f"{each.method}: {each.problem}" for each in comparison.contrasts)
        yield Missing(f"No difference can be shown. {reasons}.")
    yield Table(
        f"Each method against {baseline}: the difference of {metric}, the interval that belongs to "
        "the verdict with its level, and the p-value of the verdict (corrected by Holm's method; "
        f"for a comparable method that of equivalence within {comparison.options.margin:g}). "
        "Ratios of minutes are the method's over the baseline's.",
        tables.verdicts_table(comparison),
    )


def _scores(
    standings: Sequence[Standing], metric: str, looks: Mapping[str, Look], *, alone: bool
) -> Figure:
    ranked = sorted(standings, key=lambda standing: -standing.scores[metric].value)
    scores = {standing.method: standing.scores[metric] for standing in ranked}

    def draw(width: float) -> Canvas:
        with style.axes(style.height_of_rows(len(scores), width), width) as (canvas, axes):
            _draw_intervals(axes, scores, looks)
            axes.set_xlabel(f"{metric} with 95 % interval")
        return canvas

    texts = [f"{method} {interval(score, 4, '')}" for method, score in scores.items()]
    best, score = next(iter(scores.items()))
    caution = (
        " Intervals that overlap may still belong to a clear difference, because both methods were "
        "scored on the same examples and seeds."
    )
    return Figure(
        f"scores-{metric}",
        f"{metric} of every method",
        f"{metric} of {len(scores)} methods with 95 % intervals: {'; '.join(texts)}.",
        f"Highest: {best}, {interval(score, 4, '')}.{caution if alone else ''}",
        draw(style.WIDE if alone else style.WIDTH),
        draw(style.WIDTH) if alone else None,
    )


def _differences(
    comparison: MethodComparison, contrasts: Sequence[Contrast], looks: Mapping[str, Look]
) -> Figure:
    metric, margin = comparison.options.metric, comparison.options.margin
    baseline = comparison.baseline
    differences = {each.method: each.interval or each.differences[metric] for each in contrasts}

    def draw(width: float) -> Canvas:
        height = style.height_of_rows(len(differences), width) + 0.1
        with style.axes(height, width) as (canvas, axes):
            axes.axvspan(-margin, margin, color=style.GRID, zorder=0, label=f"within ±{margin:g}")
            axes.axvline(0, color=style.INK, linewidth=0.8)
            _draw_intervals(axes, differences, looks)
            axes.set_xlabel(f"{metric} minus that of {style.shortened(baseline, 30)}")
        return canvas

    texts = (f"{method} {interval(each, 4)}" for method, each in differences.items())
    return Figure(
        "differences",
        f"Difference of {metric} to {baseline}",
        f"Differences of {metric} to {baseline} with the intervals of their verdicts: "
        f"{'; '.join(texts)}.",
        "A method whose interval lies right of the line is better, left of it worse. An interval "
        f"within the band is comparable: differences up to ±{margin:g} do not matter. An interval "
        "that crosses both is too wide to decide.",
        draw(style.WIDE),
        draw(style.WIDTH),
    )


def _draw_intervals(axes: Axes, estimates: Mapping[str, Any], looks: Mapping[str, Look]) -> None:
    """One row per method with its value and interval."""
    places = style.rows_of_names(axes, list(estimates))
    for place, (method, estimate) in zip(places, estimates.items(), strict=True):
        axes.plot([estimate.low, estimate.high], [place, place], color=looks[method].colour)
        axes.plot(estimate.value, place, **looks[method].point_options())
    axes.margins(x=0.06)
