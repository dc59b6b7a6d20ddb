"""Named frozen parameter sets: which segments of the model a phase must not move.

A segment is a stretch of parameters that is frozen or trained as one: `embeddings`, `layers.0`,
..., `pooler`, `shared_layer`, `relational_layer`, `head.sst`, ...
"""

from __future__ import annotations

from collections.abc import Iterable


class FreezeError(ValueError):
    """A frozen set that names what the model lacks."""


def frozen_segments(name: str, segments: Iterable[str]) -> frozenset[str]:
    """The segments that the set `name` freezes; several sets are joined by `+`.

    `none` (P0's F = 0) freezes nothing.  `encoder` (P0's F = 1; for a whole run P1's "pretrain")
    freezes everything but the heads: a task's head moves only when its task is drawn, so in a
    phase of one task only that task's head trains.  `embeddings`, `pooler`, `layers:3` and
    `layers:0-5` freeze those parts.
    """
    segments = list(segments)
    frozen: set[str] = set()
    for part in name.split("+"):
        if part == "encoder":
            frozen |= {s for s in segments if not s.startswith("head.")}
        elif part != "none":
            frozen |= set(_named(part, segments))
    return frozenset(frozen)


def _named(part: str, segments: list[str]) -> list[str]:
    wanted = [part]
    if part.startswith("layers:"):
        first, _, last = part.removeprefix("layers:").partition("-")
        wanted = [f"layers.{index}" for index in range(int(first), int(last or first) + 1)]
    for segment in wanted:
        if segment not in segments:
            layers = sum(s.startswith("layers.") for s in segments)
            raise FreezeError(
                f"freeze: {part} names {segment}, which this model lacks; "
                f"it has embeddings, layers 0 to {layers - 1} and pooler"
            )
    return wanted
