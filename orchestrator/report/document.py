"""A sweep's report: its sections in order, from the comparison and the chosen trials."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.compare.compare_sweep import SweepComparison
from orchestrator.compare.diagnostics import conflicts
from orchestrator.compare.methods import counted_metric, method_name
from orchestrator.compare.options import ComparisonOptions
from orchestrator.compare.output.configuration_table import configurations_table, footnotes
from orchestrator.compare.output.published_table import published_notes, published_table
from orchestrator.compare.output.tables import TableData
from orchestrator.compare.published import NotPublished, SideBySide, side_by_side
from orchestrator.compare.results import MethodComparison
from orchestrator.compare.statistics.scores import OVERALL
from orchestrator.compare.statistics.speed_up import why_not_comparable
from orchestrator.report import (
    contest,
    cost,
    data,
    errors,
    methods,
    progress,
    reasons,
    reproduce,
    style,
    trial,
)
from orchestrator.report.head import Head, head
from orchestrator.report.measures import published_of
from orchestrator.report.parts import Heading, Missing, Section, Table, Text
from orchestrator.report.words import of_papers

if TYPE_CHECKING:
    from orchestrator.decision.answer.answer import Answer
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.report.figure import Figure

#: Trials in the table of those that are not complete.
_MOST_INCOMPLETE = 30
_WORST_FIRST = ("failed", "unreadable", "unfinished", "pruned")


@dataclass(frozen=True)
class Document:
    """What a page is made of.

    Attributes:
        head: question and answer.
        facts: what a reader wants to know besides the answer.
        trials: those whose predictions are shown.
    """

    name: str
    head: Head
    facts: list[str]
    sections: list[Section]
    trials: list[TrialRecord]

    def figures(self) -> list[Figure]:
        """All figures, as they stand in the page."""
        first = [self.head.picture] if self.head.picture else []
        return [*first, *(figure for section in self.sections for figure in section.figures())]


def document(
    ledger: Ledger,
    compared: SweepComparison,
    answer: Answer,
    options: ComparisonOptions,
    trials: Sequence[TrialRecord],
    report_progress: Callable[[str], None],
) -> Document:
    """The page's parts.

    Args:
        trials: those whose predictions are shown; by default one of the best method.
    """
    comparison, rows = compared.methods, compared.rows
    report_progress("drawing figures")
    beside = _beside(ledger, compared)
    looks = _looks(comparison) if comparison else {}
    published = None
    if answer.contests:
        published = published_of(answer.contests[0], beside.source, beside.pairs)
    drawn = contest.picture(ledger, compared, answer, published, looks)
    shown, reason = list(trials), "as requested."
    if not shown:
        shown, reason = representative(comparison)
    sections = methods.sections(comparison, looks) if comparison else []
    if sections and compared.stage_note:
        sections[0].parts.insert(0, Text(compared.stage_note))
    if comparison:
        sections.append(cost.frontier(comparison, compared.rows.rows, looks))
    sections += [_published(beside), Section("notes", "Notes", [Text(n) for n in compared.notes])]
    if comparison:
        sections += _reasons(ledger, comparison, looks)
    single = Section("trials", "Single trials", folded=True)
    single.parts.append(Text(f"Shown: {reason}") if shown else Missing(reason))
    labels = {row.config_id: row.label for row in rows.rows}
    for each in shown:
        report_progress(f"drawing {each.trial_id}")
        label = labels.get(str(each.identity["config_id"])) or method_name(each.train_config)
        single.parts += trial.parts(errors.read_errors(ledger, each), label)
    sections += [single, data.section(compared.chosen.trials), _configurations(compared)]
    sections.append(reproduce.section(ledger, compared.chosen.trials, shown, options))
    counts = ", ".join(f"{n} {status}" for status, n in rows.counts.items()) or "none"
    return Document(
        name=ledger.name,
        head=head(answer, drawn, published),
        facts=[f"Trials: {counts}", *_facts(compared.chosen.trials)],
        sections=[section for section in sections if section.parts],
        trials=shown,
    )


def _looks(comparison: MethodComparison) -> dict[str, style.Look]:
    scored = (method.name for method in comparison.scored())
    return style.looks(dict.fromkeys([*(s.method for s in comparison.standings), *scored]))


def _reasons(
    ledger: Ledger, comparison: MethodComparison, looks: Mapping[str, style.Look]
) -> list[Section]:
    """The sections on how and why methods differ, all folded."""
    from orchestrator.ledger.timing_sessions import timings

    metric = comparison.options.metric
    best = {method.name: conflicts.best(method, metric) for method in comparison.scored()}
    shown = {name: list(best[name].trials.values()) for name in looks if name in best}
    minutes_problem = why_not_comparable(each for trials in shown.values() for each in trials)
    diagnostics = comparison.diagnostics()
    metrics = [metric, *(name for name in comparison.metrics if name not in OVERALL)]
    sections = [
        methods.other_metrics(comparison, looks),
        cost.best_of_k(comparison, looks),
        progress.section(diagnostics["progress"], metrics, minutes_problem, looks),
        reasons.section(diagnostics, timings(ledger), shown, looks, ledger.name),
    ]
    for section in sections:
        section.folded = True
    return sections


def representative(comparison: MethodComparison | None) -> tuple[list[TrialRecord], str]:
    """The trial that represents the best method, and why it was chosen or why there is none.

    It belongs to the configuration that was chosen most often. Of its seeds it has the median
    score; of an even number of seeds, the lower one of the two in the middle.
    """
    if comparison is None:
        return [], "No trial is shown: none is complete."
    standing = next((s for s in comparison.standings if s.scores), comparison.standings[0])
    shares = standing.chosen
    chosen = max(shares, key=lambda key: shares[key], default=standing.best_config_id)
    metric = comparison.options.metric
    configurations = {c.config_id: c for m in comparison.methods for c in m.configurations}
    if chosen not in configurations:
        return [], f"No trial is shown: {standing.method} has no configuration that compares."
    by_score = sorted(
        configurations[chosen].trials.values(), key=lambda t: counted_metric(t, metric)
    )
    median = statistics.median_low(counted_metric(each, metric) for each in by_score)
    shown = next(each for each in by_score if counted_metric(each, metric) == median)
    return [shown], (
        f"{shown.trial_id}. It belongs to the best method ({standing.method}) and to the "
        f"configuration that was chosen most often; of its {len(by_score)} seeds it has the "
        f"median {metric}. --trial shows other trials."
    )


def _facts(trials: Sequence[TrialRecord]) -> list[str]:
    facts = []
    seeds = sorted({int(each.config["seed"]) for each in trials})
    if seeds:
        facts.append(f"Seeds: {', '.join(map(str, seeds))}")
    for title, key in (("Tasks", "tasks"), ("Encoder", "encoder"), ("Epochs", "epochs")):
        values = dict.fromkeys(_plain(each.config[key]) for each in trials)
        if values:
            facts.append(f"{title}: {' | '.join(values)}")
    devices = dict.fromkeys(str(each.identity.get("device", "unknown")) for each in trials)
    if devices:
        facts.append(f"Device: {' | '.join(devices)}")
    ends = [r["finished_at"] for each in trials for r in each.records if r.get("finished_at")]
    if ends:
        facts.append(f"Newest epoch: {max(map(str, ends))[:16].replace('T', ' ')} UTC")
    return facts


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _beside(ledger: Ledger, compared: SweepComparison) -> SideBySide:
    """A paper's figures and ours; most sweeps quote none."""
    try:
        return side_by_side(ledger, compared.chosen.trials, compared.rows)
    except NotPublished:
        return SideBySide("", "", [])


def _published(beside: SideBySide) -> Section:
    section = Section("published", "Beside published figures")
    if any(pair.ours for pair in beside.pairs):
        caption = (
            f"{of_papers(beside.source)}. Below each row ours, means ± standard deviations over "
            "seeds."
        )
        section.parts.append(Table(caption, published_table(beside.pairs)))
        section.parts += [Text(of_papers(note)) for note in published_notes(beside)]
    return section


def _configurations(compared: SweepComparison) -> Section:
    """Every configuration, and the trials that are not complete."""
    # Without a complete trial there is nothing else to read.
    folded = compared.methods is not None
    section = Section("configurations", "Configurations and trials", folded=folded)
    if compared.rows.rows:
        caption = (
            "Every configuration by falling dev_score on the whole dev set, on which the best one "
            "was chosen."
        )
        section.parts.append(Table(caption, configurations_table(compared.rows, metrics=False)))
    section.parts += [Text(note) for note in footnotes(compared.rows)]
    incomplete = [
        (t.trial_id, t.status, t.reason.partition("\n")[0] or "-")
        for t in compared.chosen.trials
        if t.status != "complete"
    ]
    unreadable = compared.chosen.unreadable.items()
    incomplete += [(name, "unreadable", reason) for name, reason in unreadable]
    incomplete.sort(key=lambda row: _WORST_FIRST.index(row[1]))
    if incomplete:
        data = TableData(["trial", "status", "reason"])
        for row in incomplete[:_MOST_INCOMPLETE]:
            data.add(*row)
        more = f" The first {_MOST_INCOMPLETE} of {len(incomplete)}."
        caption = "Not complete, and why." + (more if len(incomplete) > _MOST_INCOMPLETE else "")
        section.parts.append(Heading("Trials that are not complete", "not-complete"))
        section.parts.append(Table(caption, data))
    return section
