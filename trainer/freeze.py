"""Named frozen parameter sets: which segments of the model a phase must not move.

A segment is a stretch of parameters that is frozen or trained as one: `embeddings`,
`layers.0`, ..., `pooler`, `head.sst`, ...
"""

from __future__ import annotations

from collections.abc import Iterable


def frozen_segments(name: str, segments: Iterable[str]) -> frozenset[str]:
    """The segments that the set `name` freezes.

    `none` (P0's F = 0) freezes nothing.  `encoder` (P0's F = 1; for a whole run P1's "pretrain")
    freezes everything but the heads: a task's head moves only when its task is drawn, so in a
    phase of one task only that task's head trains.
    """
    if name == "none":
        return frozenset()
    if name == "encoder":
        return frozenset(s for s in segments if not s.startswith("head."))
    raise ValueError(f"unknown frozen set {name!r}")
