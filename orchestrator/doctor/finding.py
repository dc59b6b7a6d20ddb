"""One line of `orch doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What was checked, what was found and what to do; `node` is empty for this machine."""

    level: Level
    what: str
    found: str
    remedy: str = ""
    node: str = ""


def ok(what: str, found: str, *, node: str = "") -> Finding:
    return Finding("ok", what, found, node=node)


def warning(what: str, found: str, remedy: str, *, node: str = "") -> Finding:
    return Finding("warning", what, found, remedy, node)


def error(what: str, found: str, remedy: str, *, node: str = "") -> Finding:
    return Finding("error", what, found, remedy, node)
