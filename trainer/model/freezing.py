"""Named sets of frozen parameters: which segments of the model a phase does not train.

A segment is a group of parameters that is frozen or trained as a whole: `embeddings`, `layers.0`,
..., `pooler`, `shared_layer`, `relational_layer`, `head.sst`, ...
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from trainer.config.choices import FROZEN_SETS, JOINED_BY, frozen_set


class FreezeError(ValueError):
    """A frozen set that does not exist, or that names a segment which the model lacks."""


def frozen_segments(name: str, segments: Iterable[str]) -> frozenset[str]:
    """The segments that the set `name` freezes.  Several sets are joined by `+`.

    Raises:
        FreezeError: a set is not in the list, or it names a segment which the model lacks.
    """
    segments, frozen = list(segments), set[str]()
    for part in name.split(JOINED_BY):
        if (named := frozen_set(part)) is None:
            raise FreezeError(f"freeze: unknown set {part!r}; allowed: {', '.join(FROZEN_SETS)}")
        entry, match = named
        chosen = entry.load()(segments, match)
        if missing := [segment for segment in chosen if segment not in segments]:
            layers = sum(s.startswith("layers.") for s in segments)
            raise FreezeError(
                f"freeze: {part} names {missing[0]}, which this model lacks; "
                f"it has embeddings, layers 0 to {layers - 1} and pooler"
            )
        frozen.update(chosen)
    return frozenset(frozen)


def nothing(segments: list[str], match: re.Match[str]) -> list[str]:
    """P0's F = 0."""
    return []


def all_but_heads(segments: list[str], match: re.Match[str]) -> list[str]:
    """P0's F = 1.  For a whole run it is P1's "pretrain".

    A head moves only when its task is drawn.  So a phase of one task trains that task's head alone.
    """
    return [segment for segment in segments if not segment.startswith("head.")]


def bert(segments: list[str], match: re.Match[str]) -> list[str]:
    """The encoder alone (P2, Figure 3): a shared or relational layer trains like a head."""
    return [name for name in segments if name.startswith(("embeddings", "layers.", "pooler"))]


def segment(segments: list[str], match: re.Match[str]) -> list[str]:
    """The segment with the name of the set."""
    return [match[0]]


def layer(segments: list[str], match: re.Match[str]) -> list[str]:
    """One transformer layer."""
    return [f"layers.{match['first']}"]


def layers(segments: list[str], match: re.Match[str]) -> list[str]:
    """Transformer layers from the first named one to the last, both included."""
    first, last = int(match["first"]), int(match["last"])
    inside = [name for name in segments if name.startswith("layers.")]
    inside = [name for name in inside if first <= int(name.rpartition(".")[2]) <= last]
    # A range that goes beyond the encoder names at least one layer that it does not have.
    return inside if last < first + len(inside) else [*inside, f"layers.{last}"]
