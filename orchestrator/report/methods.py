"""Methods against each other: scores and differences with their intervals, and every task's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.compare.output import sentences, tables
from orchestrator.compare.results import Contrast, MethodComparison, Standing
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.parts import Figures, Missing, Section, Table, Text
from orchestrator.report.style import Look

#: Of methods in one figure; the tables have all.
MOST = 12


def sections(found: MethodComparison, looks: Mapping[str, Look]) -> list[Section]:
    """Each method by itself; each one against the baseline."""
    return [_standings(found, looks), _contrasts(found, looks)]


def _standings(found: MethodComparison, looks: Mapping[str, Look]) -> Section:
    metric = found.question.metric
    section = Section("methods", "Methods")
    honest = [made for made in found.standings if made.scores]
    if honest:
        others = [name for name in found.metrics if name != metric]
        drawn = [_scores(honest[:MOST], name, looks, name == metric) for name in (metric, *others)]
        section.parts.append(Figures(drawn))
        if len(honest) > MOST:
            section.parts.append(
                Text(f"The figures show the best {MOST} of {len(honest)} methods.")
            )
    else:
        section.parts.append(
            Missing("No figure of scores with intervals: no method has an honest score.")
        )
    section.parts.append(
        Table.of(
            tables.methods_sheet(found),
            "Every method by falling score. The score is that of configurations chosen without "
            "what scores them; optimism is what choosing on the same examples would add; grey "
            "minutes (*) must not be compared.",
        )
    )
    return section


def _contrasts(found: MethodComparison, looks: Mapping[str, Look]) -> Section:
    metric = found.question.metric
    section = Section("against-the-baseline", f"Against {found.baseline}")
    told = [made for made in found.contrasts if metric in made.differences]
    told.sort(key=lambda made: -made.differences[metric].value)
    if not found.contrasts:
        section.parts.append(
            Missing(f"There is nothing to compare with {found.baseline}: no other method.")
        )
        return section
    if told:
        section.parts.append(Figures([_differences(found, told[:MOST], looks)]))
        if len(told) > MOST:
            section.parts.append(Text(f"The figure shows the best {MOST} of {len(told)} methods."))
    else:
        reasons = "; ".join(f"{made.method}: {made.problem}" for made in found.contrasts)
        section.parts.append(Missing(f"No difference can be drawn. {reasons}."))
    section.parts.append(
        Table.of(
            tables.verdicts_sheet(found),
            f"Each method against {found.baseline}: difference of {metric} with its 95 % interval, "
            f"p-values (Holm's) of being different and of being comparable within "
            f"{found.question.margin:g}, and the verdict.",
        )
    )
    others = tables.differences_sheet(found)
    if others.rows and len(others.columns) > 1:
        section.parts.append(
            Table.of(others, "Differences of the other metrics; each interval is its own 95 %.")
        )
    return section


def _scores(
    standings: Sequence[Standing], metric: str, looks: Mapping[str, Look], first: bool
) -> Figure:
    ranked = sorted(standings, key=lambda made: -made.scores[metric].value)
    names = [made.method for made in ranked]
    with style.styled():
        drawn, axes = style.axes(style.height_of_rows(len(ranked)))
        for place, made in zip(style.rows_of_names(axes, names), ranked, strict=True):
            score = made.scores[metric]
            axes.plot([score.low, score.high], [place, place], color=looks[made.method].colour)
            axes.plot(score.value, place, **looks[made.method].point_options())
        axes.set_xlabel(f"{metric}, honest, with 95 % interval")
        axes.margins(x=0.06)
    best, caution = ranked[0], ""
    if first:
        caution = (
            " Intervals that overlap may still belong to a clear difference: the same examples and "
            "seeds are in both."
        )
    told = "; ".join(f"{m.method} {sentences.interval(m.scores[metric], 4, '')}" for m in ranked)
    return Figure(
        f"scores-{metric}",
        f"{metric} of every method",
        f"{metric} of {len(ranked)} methods with 95 % intervals: {told}.",
        f"Highest: {best.method}, {sentences.interval(best.scores[metric], 4, '')}.{caution}",
        drawn,
    )


def _differences(
    found: MethodComparison, told: Sequence[Contrast], looks: Mapping[str, Look]
) -> Figure:
    metric, margin = found.question.metric, found.question.margin
    with style.styled():
        drawn, axes = style.axes(style.height_of_rows(len(told)) + 0.1)
        axes.axvspan(-margin, margin, color=style.GRID, zorder=0, label=f"within ±{margin:g}")
        axes.axvline(0, color=style.INK, linewidth=0.8)
        names = [made.method for made in told]
        for place, made in zip(style.rows_of_names(axes, names), told, strict=True):
            d, look = made.differences[metric], looks[made.method]
            axes.plot([d.low, d.high], [place, place], color=look.colour)
            axes.plot(d.value, place, **look.point_options())
        axes.set_xlabel(f"{metric} less that of {style.shortened(found.baseline, 30)}")
        axes.margins(x=0.06)
        style.with_legend(drawn, axes)
    texts = (f"{m.method} {sentences.interval(m.differences[metric], 4)}" for m in told)
    return Figure(
        "differences",
        f"Difference of {metric} to {found.baseline}",
        f"Differences of {metric} to {found.baseline} with 95 % intervals: {'; '.join(texts)}.",
        "An interval right of the line is better, left of it worse; one that lies in the band is "
        f"comparable: differences within ±{margin:g} do not matter. One that crosses both says "
        "nothing yet.",
        drawn,
    )
