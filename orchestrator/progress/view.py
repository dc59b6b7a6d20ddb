"""The live view: a driver's status as lines of text that fit a terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

from rich.text import Text

from orchestrator.ledger.driver_status import RUNNING, DriverStatus, RunningTrial
from trainer.printable import in_one_line

_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red", RUNNING: "cyan"}
_STAGES = {
    "start": "starting", "search": "search", "timing": "timing", "confirming": "confirming",
    "end": "finishing",
}  # fmt: skip
_BETWEEN = " · "
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
#: The columns of the table of trials, in their order.
_TITLES = {
    "trial": "trial", "state": "state", "epoch": "epoch", "score": "score",
    "minutes": "min/epoch", "since": "for", "node": "node", "configuration": "configuration",
}  # fmt: skip
_LEFT = ("trial", "state", "node")
#: Columns between two cells of a row, and the fewest that a configuration is shown in.
_GAP, _LEAST = 2, 16


def draw(status: DriverStatus, width: int, height: int, now: float | None = None) -> list[Text]:
    """The lines of the view: at most `height - 1`, none longer than `width`, none with an end of
    spaces.

    Args:
        now: seconds since 1970.
    """
    now = time.time() if now is None else now
    lines = head(status, width)
    if status.doing:
        beat = _SPINNER[int(4 * now) % len(_SPINNER)]
        lines += _wrapped([f"{beat} {status.doing}"], width, "cyan")
    if status.stopping:
        lines += _wrapped([status.stopping], width, "bold yellow")
    room = max(1, height - 1)
    lines = lines[:room]
    return lines + _rows(status, width, room - len(lines), now)


def head(status: DriverStatus, width: int) -> list[Text]:
    """The status line, and the best configuration so far."""
    parts = [stage_of(status)]
    if status.planned:
        kept = f" ({status.kept} kept)" if status.kept else ""
        parts += [
            f"{status.done} of {status.planned} done{kept}",
            f"{status.running} running",
            f"{status.waiting} waiting",
            f"{status.failed} failed",
        ]
    parts.append(f"{clock(status.elapsed)} elapsed")
    if status.seconds_left is not None:
        parts.append(f"about {duration(status.seconds_left)} left")
    over = status.stage == "confirming" and status.done == status.planned
    if status.decision_minutes_left is not None and not over:
        parts.append(f"confirming may cost {status.decision_minutes_left:.1f} trial minutes more")
    lines = _wrapped(parts, width, "bold")
    if status.failed:
        for line in lines:
            line.highlight_words([f"{status.failed} failed"], "red")
    if status.best is not None:
        best = status.best
        seeds = "1 seed" if best.seeds == 1 else f"mean of {best.seeds} seeds"
        lines += _wrapped([f"best so far {best.dev_score:.4f} ({seeds}): {best.label}"], width)
    return lines


def stage_of(status: DriverStatus) -> str:
    """`confirming, look 2 of 7`."""
    name = _STAGES.get(status.stage, status.stage)
    return f"{name}, look {status.look} of {status.looks}" if status.looks else name


def clock(seconds: float) -> str:
    """`1:02:03`."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def duration(seconds: float) -> str:
    """`2 h 40 min`, never less than a minute."""
    minutes = max(1, math.ceil(seconds / 60))
    return (f"{minutes // 60} h " if minutes >= 60 else "") + f"{minutes % 60} min"


def _rows(status: DriverStatus, width: int, room: int, now: float) -> list[Text]:
    """The running trials; below them those that ended last, where there is room."""
    if not status.trials and not status.ended:
        return []
    title, *rows = _table(status, width, now)
    running, ended = rows[: len(status.trials)], rows[len(status.trials) :]
    each = len(rows[0])
    titles = title if room > len(title) + each else []
    room -= len(titles)
    if sum(map(len, running)) > room:
        shown = max(0, (room - 1) // each)
        more = len(running) - shown
        text = f"and {more} more" if shown else f"{more} trials run"
        return titles + [*_flat(running[:shown]), Text(text[:width], "dim")][: max(0, room)]
    lines = _flat(running)
    for row in ended:
        if len(lines) + len(row) > room:
            break
        lines += row
    return titles + lines if lines else []


def _flat(rows: Iterable[Sequence[Text]]) -> list[Text]:
    return [line for row in rows for line in row]


def _table(status: DriverStatus, width: int, now: float) -> list[list[Text]]:
    """The titles, then a row for each trial: one line, or two on a narrow terminal."""
    trials = [*status.trials, *status.ended]
    cells = [_cells(trial, status.host, now) for trial in trials]
    filled = [kind for kind in _TITLES if any(row[kind] for row in cells)]
    titled = [_TITLES, *cells]
    widths = {kind: max(len(row[kind]) for row in titled) for kind in filled}
    chosen = ["trial", "epoch", "score"]
    used = sum(widths[kind] + _GAP for kind in chosen)
    beside = width - used >= _LEAST
    wanted = widths.pop("configuration")
    for kind in ("state", "minutes", "since", "node"):
        # Numbers may take the place that whole configurations leave.
        if beside and kind in widths and used + widths[kind] + _GAP + wanted <= width:
            chosen.append(kind)
            used += widths[kind] + _GAP
    shown = {kind: widths[kind] for kind in widths if kind in chosen}
    styles = ["dim", *(_STYLES.get(trial.state, "") for trial in trials)]
    rows = []
    for row, style in zip(titled, styles, strict=True):
        line = Text(style="dim" if row is _TITLES else "")
        for kind, cell in shown.items():
            text = row[kind].ljust(cell) if kind in _LEFT else row[kind].rjust(cell)
            line.append(text, style if kind == "trial" else "")
            line.append(" " * _GAP)
        if beside:
            line.append(_cut(row["configuration"], width - len(line)))
        line.rstrip()
        line.truncate(width)
        lines = [line]
        if not beside and row is not _TITLES:
            lines.append(Text("  " + _cut(row["configuration"], width - 2), "dim"))
        rows.append(lines)
    return rows


def _cells(trial: RunningTrial, driver: str, now: float) -> dict[str, str]:
    cells = {
        "trial": trial.trial_id,
        "state": trial.state,
        "epoch": f"{trial.epoch}/{trial.epochs}",
        "score": _number(trial.dev_score),
        "minutes": _number(trial.minutes),
        "since": clock(max(0.0, now - trial.since)) if trial.state == RUNNING else "",
        "node": "" if trial.node == driver else trial.node,
        "configuration": f"{trial.label}, seed {trial.seed}",
    }
    return {kind: in_one_line(cell) for kind, cell in cells.items()}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)].rstrip() + "…"


def _wrapped(parts: Sequence[str], width: int, style: str = "") -> list[Text]:
    """The parts one after another; lines end between parts, and within long ones between words."""
    lines: list[str] = []
    for part in map(in_one_line, parts):
        if lines and len(lines[-1]) + len(_BETWEEN) + len(part) <= width:
            lines[-1] += _BETWEEN + part
            continue
        lines.append("")
        for word in part.split():
            if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
    return [Text(_cut(line, width), style) for line in lines]
