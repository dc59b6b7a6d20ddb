"""The cost of surgery: where an epoch's minutes go, from a timing session or the trials' clocks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure as Canvas

from orchestrator.compare.output.tables import TableData
from orchestrator.compare.statistics.speed_up import NOT_IN_TURN, why_not_comparable
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.methods import MOST
from orchestrator.report.parts import Figures, Missing, Part, Table
from trainer.metrics import is_number

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord
    from orchestrator.ledger.timing_sessions import Session

_PARTS = ("data", "forward_backward", "surgery", "optimizer", "other")
_HATCHES = ("", "//", "xx", "..", "oo")


def parts(
    sessions: Sequence[Session], shown: Mapping[str, Sequence[TrialRecord]]
) -> Iterable[Part]:
    """The newest session of orch time; without one, the trials' own clocks.

    Args:
        shown: method -> trials of its best configuration.
    """
    if sessions:
        yield from _session(sessions[-1])
        return
    recorded = {name: _recorded_parts(trials) for name, trials in shown.items()}
    recorded = {name: minutes for name, minutes in list(recorded.items())[:MOST] if minutes}
    if not recorded:
        yield Missing("No session of orch time, and the trials recorded no parts of their steps.")
        return
    trials = (trial for name in recorded for trial in shown[name])
    problem = why_not_comparable(trials) or NOT_IN_TURN
    yield Figures([_bars(recorded, f"minutes per epoch, not comparable: {problem}")])
    kinds = _kinds(recorded)
    data = TableData(["method", *(_label(kind) for kind in kinds)])
    for name, minutes in recorded.items():
        shares = _shares(minutes)
        data.add(name, *(f"{shares.get(kind, 0.0):.1%}" for kind in kinds))
    yield Table(
        "Shares of the training time by part, from the trials' own clocks. orch time measures "
        "what surgery costs as a whole.",
        data,
    )


def _session(session: Session) -> Iterable[Part]:
    """Minutes of a timing session."""
    labels = session.names
    if session.problem:
        yield Missing(f"Nothing can be claimed from the newest timing session: {session.problem}.")
    minutes = {key: session.minutes(key) for key in labels}
    # On a GPU the parts come from steps that wait for the device after every part. Together they
    # are longer than the minutes, so we scale them.
    scaled = {
        labels[key]: {
            name: share * each.minutes.value for name, share in _shares(each.parts).items()
        }
        for key, each in minutes.items()
    }
    yield Figures([_bars(scaled, session.problem and f"minutes per epoch: {session.problem}")])
    columns = ["min/epoch (95 %)", "surgery's share", "surgery's whole cost (95 %)"]
    data = TableData(["configuration", *columns])
    for key, label in labels.items():
        cost = session.surgery_cost(key)
        share = f"{minutes[key].surgery_share:.1%}"
        data.add(label, minutes[key].minutes.text(3), share, cost.text(3) if cost else "not timed")
    yield Table(
        f"orch time, {len(session.quiet)} quiet of {len(session.rounds)} rounds, "
        f"{session.device}, threads: {session.threads}. Surgery's share is the time for Gramian, "
        "projection and combination. Its whole cost is the time that a plain sum would save.",
        data,
    )


def _recorded_parts(trials: Iterable[TrialRecord]) -> dict[str, float]:
    """Minutes per epoch by part, means over the epochs that recorded them; empty if none did."""
    epochs = []
    for record in (record for trial in trials for record in trial.records):
        if parts := {k: v for k, v in (record.get("parts") or {}).items() if is_number(v)}:
            rest = record["minutes_per_epoch"] - sum(parts.values())
            epochs.append(parts | {"other": max(0.0, rest)})
    names = [name for name in _PARTS if any(name in parts for parts in epochs)]
    return {name: statistics.fmean(parts.get(name, 0.0) for parts in epochs) for name in names}


def _bars(minutes: Mapping[str, Mapping[str, float]], grey: str) -> Figure:
    """Stacked bars of minutes by name and part.

    Args:
        grey: the axis label that says why the minutes do not compare; empty if they do.
    """

    def draw(width: float) -> Canvas:
        with style.axes(style.height_of_rows(len(minutes), width), width) as (canvas, axes):
            places = style.rows_of_names(axes, list(minutes))
            left = [0.0] * len(minutes)
            for number, kind in enumerate(_kinds(minutes)):
                widths = [parts.get(kind, 0.0) for parts in minutes.values()]
                axes.barh(
                    places, widths, left=left, height=0.42, label=_label(kind),
                    color=style.GREY if grey else style.PALETTE[number % len(style.PALETTE)],
                    hatch=_HATCHES[number % len(_HATCHES)], edgecolor=style.PAPER, linewidth=0.8,
                )  # fmt: skip
                left = [start + wide for start, wide in zip(left, widths, strict=True)]
            axes.set_xlabel(
                style.wrapped(grey) if grey else "minutes of training per epoch",
                color=style.SOFT if grey else style.INK,
            )
        return canvas

    texts = (
        f"{name}: " + ", ".join(f"{kind} {share:.0%}" for kind, share in _shares(parts).items())
        for name, parts in minutes.items()
    )
    return Figure(
        "step-parts",
        "Where an epoch's minutes go",
        f"Minutes of training per epoch by part of a step. {'; '.join(texts)}.",
        "Surgery is a part of its own. Keeping the tasks' gradients separate also costs time "
        "within forward + backward."
        + (" Grey: compare the parts of one bar, not bars with each other." if grey else ""),
        draw(style.WIDE),
        draw(style.WIDTH),
    )


def _kinds(minutes: Mapping[str, Mapping[str, float]]) -> list[str]:
    return [kind for kind in _PARTS if any(kind in parts for parts in minutes.values())]


def _label(kind: str) -> str:
    return kind.replace("_", " + ")


def _shares(parts: Mapping[str, float]) -> dict[str, float]:
    total = sum(parts.values()) or 1
    return {name: part / total for name, part in parts.items()}
