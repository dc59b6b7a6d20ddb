"""A sweep's report: its sections in their order, from the comparison and the chosen trials."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.compare.compare_sweep import SweepComparison
from orchestrator.compare.diagnostics import conflicts
from orchestrator.compare.methods import last_metric, method_name
from orchestrator.compare.options import Question
from orchestrator.compare.output.configuration_table import configurations_sheet, footnotes
from orchestrator.compare.output.tables import Cell
from orchestrator.compare.published import NotPublished, side_by_side
from orchestrator.compare.results import MethodComparison
from orchestrator.compare.statistics.scores import OVERALL
from orchestrator.compare.statistics.speed_up import why_not_comparable
from orchestrator.ledger import listing
from orchestrator.report import cost, errors, methods, progress, reasons, reproduce, style, trial
from orchestrator.report.parts import Heading, Missing, Section, Table, Text
from trainer.metrics import EPOCH

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord

_ENDED_BADLY = 30
_WORST_FIRST = ("failed", "unreadable", "unfinished", "pruned")
_CONFIGURATIONS = (
    "Every configuration by falling dev_score on the whole dev set, which chose the best."
)
_SHORT = {name: field.compare for name, field in EPOCH.items() if field.compare}


@dataclass(frozen=True)
class Document:
    """What a page is made of.

    Attributes:
        facts: what a reader wants to know beside the answer.
        trials: those whose predictions are drawn.
    """

    name: str
    question: str
    answer: str
    facts: list[str]
    notes: list[str]
    sections: list[Section]
    trials: list[TrialRecord]


def document(
    ledger: Ledger,
    compared: SweepComparison,
    question: Question,
    trials: Sequence[TrialRecord],
    tell: Callable[[str], None],
) -> Document:
    """`trials`: those whose predictions are drawn; none: one that stands for the best method."""
    found, rows = compared.methods, compared.rows
    tell("drawing figures")
    shown, reason = list(trials), "as asked for."
    if not shown:
        shown, reason = representative(found)
    sections = _of_methods(ledger, compared, found) if found else []
    part = Section("trials", "Single trials")
    part.parts.append(Text(f"Shown: {reason}") if shown else Missing(reason))
    labels = {row.config_id: row.label for row in rows.rows}
    for each in shown:
        tell(f"drawing {each.trial_id}")
        name = labels.get(str(each.identity["config_id"])) or method_name(each.train_config)
        part.parts += trial.parts(errors.read_errors(ledger, each), name)
    sections += [part, _configurations(ledger, compared)]
    sections.append(reproduce.section(ledger, compared.chosen.trials, shown, question))
    counts = ", ".join(f"{n} {status}" for status, n in rows.counts.items()) or "none"
    facts = [f"Trials: {counts}"]
    facts += _facts(compared.chosen.trials)
    return Document(
        ledger.name, listing.question(ledger), compared.answer, facts, compared.notes,
        [section for section in sections if section.parts], shown,
    )  # fmt: skip


def _of_methods(
    ledger: Ledger, compared: SweepComparison, found: MethodComparison
) -> list[Section]:
    from orchestrator.ledger.timing_sessions import timings

    tried = found.scored()
    best = {method.name: conflicts.best(method, found.question.metric) for method in tried}
    order = [made.method for made in found.standings]
    looks = style.looks([*order, *(name for name in best if name not in order)])
    shown = {name: list(best[name].trials.values()) for name in looks if name in best}
    problem = why_not_comparable(each for some in shown.values() for each in some)
    facts, sessions = found.why(), timings(ledger)
    metric = found.question.metric
    tasks = [name for name in found.metrics if name not in OVERALL]
    return [
        *methods.sections(found, looks),
        *cost.sections(found, compared.rows.rows, looks),
        progress.section(facts["progress"], [metric, *tasks], problem, looks),
        reasons.section(facts, sessions, shown, looks),
    ]


def representative(found: MethodComparison | None) -> tuple[list[TrialRecord], str]:
    """Of the best method's configuration that was chosen most often the seed whose score is the
    median (of an even number the lower one); and why it was taken, or why there is none."""
    if found is None:
        return [], "No trial is shown: none is complete."
    made = next((m for m in found.standings if m.scores), found.standings[0])
    chosen = max(made.chosen, key=lambda key: made.chosen[key], default=made.best_config_id)
    metric = found.question.metric
    tried = {c.config_id: c for method in found.methods for c in method.configurations}
    if chosen not in tried:
        return [], f"No trial is shown: {made.method} has no configuration that compares."
    trials = sorted(tried[chosen].trials.values(), key=lambda each: last_metric(each, metric))
    middle = statistics.median_low(last_metric(each, metric) for each in trials)
    taken = next(each for each in trials if last_metric(each, metric) == middle)
    return [taken], (
        f"{taken.trial_id}, of the best method ({made.method}) the configuration that was chosen "
        f"most often, of its {len(trials)} seeds the one with the median {metric}. "
        "Others with --trial."
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


def _configurations(ledger: Ledger, compared: SweepComparison) -> Section:
    """Every configuration, a paper's figures, and the trials that did not end well."""
    section = Section("configurations", "Configurations and trials")
    if compared.rows.rows:
        sheet = configurations_sheet(compared.rows, metrics=False)
        section.parts.append(Table.of(sheet, _CONFIGURATIONS))
    section.parts += [Text(note) for note in footnotes(compared.rows)]
    try:
        pairs, source = side_by_side(ledger, compared.chosen.trials, compared.rows)
    except NotPublished:
        pairs, source = [], ""  # most sweeps quote none
    if any(figure is not None for pair in pairs for figure in pair["ours"].values()):
        section.parts.append(Heading("Beside published figures", "published"))
        section.parts.append(_published(pairs, source))
    told = [t for t in compared.chosen.trials if t.status != "complete"]
    bad = [[t.trial_id, t.status, t.reason.partition("\n")[0] or "-"] for t in told]
    bad += [[name, "unreadable", why] for name, why in compared.chosen.unreadable.items()]
    bad.sort(key=lambda row: _WORST_FIRST.index(row[1]))
    if bad:
        section.parts.append(Heading("Trials that are not complete", "not-complete"))
        caption = "Not complete, and why." + (
            f" The first {_ENDED_BADLY} of {len(bad)}." if len(bad) > _ENDED_BADLY else ""
        )
        columns = ["trial", "status", "reason"]
        section.parts.append(Table.plain(caption, columns, bad[:_ENDED_BADLY], words=(0, 1, 2)))
    return section


def _published(pairs: Iterable[dict[str, Any]], source: str) -> Table:
    pairs = list(pairs)
    keys = [k for k in pairs[0]["published"] if any(p["published"][k] is not None for p in pairs)]
    columns = [
        "method",
        *(f"{_SHORT.get(key, key)} {whose}" for key in keys for whose in ("published", "ours")),
    ]
    cells = []
    for pair in pairs:
        line = [Cell(pair["method"])]
        for key in keys:
            minutes = key == "minutes_per_epoch"
            unfair = minutes and pair["contended"] is not False
            line.append(Cell(_number(pair["published"][key], 2 if minutes else 3)))
            ours = _number(pair["ours"][key], 2 if minutes else 3)
            line.append(Cell(ours + ("*" if unfair and ours != "-" else ""), grey=unfair))
        cells.append(line)
    return Table(f"{source} beside our means over seeds.", columns, cells)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
