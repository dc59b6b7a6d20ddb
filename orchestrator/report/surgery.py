"""What surgery costs: where an epoch's minutes go, by timing session or by the trials' clocks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.compare.statistics.speed_up import NOT_IN_TURN, why_not_comparable
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.methods import MOST
from orchestrator.report.parts import Figures, Missing, Part, Table
from trainer.metrics import is_number

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord
    from orchestrator.ledger.timing_sessions import Minutes, Session

_PARTS = ("data", "forward_backward", "surgery", "optimizer", "other")
_HATCHES = ("", "//", "xx", "..", "oo")


def parts(
    sessions: Sequence[Session], shown: Mapping[str, Sequence[TrialRecord]]
) -> Iterable[Part]:
    """From the newest session of orch time; without one from the trials' own clocks.

    Args:
        shown: method -> trials of its best configuration.
    """
    if sessions:
        yield from _session(sessions[-1])
        return
    taken = {name: _recorded_parts(trials) for name, trials in shown.items()}
    taken = {name: found for name, found in list(taken.items())[:MOST] if found}
    if not taken:
        yield Missing("No session of orch time, and the trials recorded no parts of their steps.")
        return
    trials = (trial for name in taken for trial in shown[name])
    grey = why_not_comparable(trials) or NOT_IN_TURN
    yield Figures([_stacked(taken, f"minutes an epoch, not to be compared: {grey}")])
    yield _parts_table(
        taken,
        "Shares of the training time by part, from the trials' own clocks. What surgery "
        "costs as a whole, orch time tells.",
    )


def _session(session: Session) -> Iterable[Part]:
    """Minutes of the newest timing session."""
    labels = session.names
    if session.problem:
        yield Missing(f"Nothing can be claimed from the newest timing session: {session.problem}.")
    parts = {labels[key]: _scaled(session.minutes(key)) for key in labels}
    yield Figures([_stacked(parts, session.problem and f"minutes an epoch: {session.problem}")])
    rows = []
    for key, label in labels.items():
        minutes, cost = session.minutes(key), session.surgery_cost(key)
        rows.append(
            [
                label,
                minutes.minutes.text(3),
                f"{minutes.surgery_share:.1%}",
                cost.text(3) if cost else "not timed",
            ]
        )
    yield Table.plain(
        f"orch time, {len(session.quiet)} quiet of {len(session.rounds)} rounds, "
        f"{session.device}, threads: {session.threads}. Surgery's share is Gramian, "
        "projection and combination; its whole cost is what the plain sum would not take.",
        ["configuration", "min/epoch (95 %)", "surgery's share", "surgery's whole cost (95 %)"],
        rows,
    )


def _scaled(minutes: Minutes) -> dict[str, float]:
    """Parts that add up to the minutes: on a GPU they come from steps that wait for each part, and
    take longer together."""
    total = sum(minutes.parts.values())
    return {
        name: part * minutes.minutes.value / (total or 1) for name, part in minutes.parts.items()
    }


def _recorded_parts(trials: Iterable[TrialRecord]) -> dict[str, float]:
    """Minutes an epoch by part, means over epochs that recorded them; empty if none did."""
    there = []
    for record in (record for trial in trials for record in trial.records):
        if parts := {k: v for k, v in (record.get("parts") or {}).items() if is_number(v)}:
            rest = record["minutes_per_epoch"] - sum(parts.values())
            there.append(parts | {"other": max(0.0, rest)})
    names = [name for name in _PARTS if any(name in parts for parts in there)]
    return {name: statistics.fmean(parts.get(name, 0.0) for parts in there) for name in names}


def _stacked(parts: Mapping[str, Mapping[str, float]], grey: str) -> Figure:
    """`grey`: why the minutes are not to be compared; empty if they are."""
    names = list(parts)
    kinds = [kind for kind in _PARTS if any(kind in found for found in parts.values())]
    with style.styled():
        drawn, axes = style.axes(style.height_of_rows(len(names)))
        places = style.rows_of_names(axes, names)
        left = [0.0] * len(names)
        for number, kind in enumerate(kinds):
            widths = [found.get(kind, 0.0) for found in parts.values()]
            axes.barh(
                places, widths, left=left, height=0.42, label=kind.replace("_", " + "),
                color=style.GREY if grey else style.PALETTE[number % len(style.PALETTE)],
                hatch=_HATCHES[number % len(_HATCHES)], edgecolor=style.PAPER, linewidth=0.8,
            )  # fmt: skip
            left = [one + other for one, other in zip(left, widths, strict=True)]
        axes.set_xlabel(style.wrapped(grey) if grey else "minutes of training an epoch",
                        color=style.SOFT if grey else style.INK)  # fmt: skip
        style.with_legend(drawn, axes)
    told = "; ".join(
        f"{name}: "
        + ", ".join(f"{k} {v / (sum(found.values()) or 1):.0%}" for k, v in found.items())
        for name, found in parts.items()
    )
    return Figure(
        "step-parts",
        "Where an epoch's minutes go",
        f"Minutes of training an epoch by part of a step. {told}.",
        "Surgery is its own part; to keep the tasks' gradients apart costs within forward + "
        "backward too." + (" Grey: compare parts within a bar, not bars." if grey else ""),
        drawn,
    )


def _parts_table(parts: Mapping[str, Mapping[str, float]], caption: str) -> Table:
    kinds = [kind for kind in _PARTS if any(kind in found for found in parts.values())]
    rows = [
        [name, *(f"{found.get(k, 0.0) / (sum(found.values()) or 1):.1%}" for k in kinds)]
        for name, found in parts.items()
    ]
    return Table.plain(caption, ["method", *(kind.replace("_", " + ") for kind in kinds)], rows)
