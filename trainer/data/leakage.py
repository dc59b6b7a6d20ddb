"""Examples that stand twice: ids that repeat, and dev or test rows that are also in train.

Nothing here returns a sentence, only counts and ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

#: Ids that are named for each finding.
NAMED = 3


@dataclass(frozen=True)
class Repeated:
    """What stands twice in one split of a task.

    Attributes:
        ids: rows whose id an earlier row of the split has.
        exact: rows whose text is also in the training set, character by character.
        similar: rows whose text is there in other case, with other spaces, or as a pair in the
            other order; the exact ones are not among them.
        examples: some ids for each of these, by its name.
    """

    task: str
    split: str
    rows: int
    ids: int = 0
    exact: int = 0
    similar: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def leaked(self) -> int:
        """Rows that are also in the training set."""
        return self.exact + self.similar

    @property
    def any(self) -> bool:
        return bool(self.ids or self.leaked)

    def line(self) -> str:
        """`sts dev: 12 of 863 rows are also in train (8 exactly, 4 but for ...), ids a, b, c`."""
        parts = []
        if self.ids:
            parts.append(f"{self.ids:,} of {self.rows:,} ids repeat{self._named('ids')}")
        if self.leaked:
            how = [f"{self.exact:,} exactly{self._named('exact')}"] if self.exact else []
            if self.similar:
                how.append(
                    f"{self.similar:,} but for case, spaces or order{self._named('similar')}"
                )
            share = f"{self.leaked / self.rows:.1%}"
            parts.append(
                f"{self.leaked:,} of {self.rows:,} rows ({share}) are also in train: "
                + ", ".join(how)
            )
        return f"{self.task} {self.split}: {'; '.join(parts) or 'no id repeats'}"

    def _named(self, what: str) -> str:
        return f" ({', '.join(self.examples.get(what, []))})"


class Seen:
    """The texts of a training set, as hashes: text and ids of large files need little memory."""

    def __init__(self, texts: Iterable[Sequence[str]] = ()):
        self._exact: set[bytes] = set()
        self._similar: set[bytes] = set()
        for text in texts:
            self._exact.add(_hash(text))
            self._similar.add(_hash(_normal(text)))

    def has(self, text: Sequence[str]) -> bool:
        return _hash(text) in self._exact

    def has_similar(self, text: Sequence[str]) -> bool:
        return _hash(_normal(text)) in self._similar


def repeated(
    task: str, split: str, ids: Sequence[str], texts: Sequence[Sequence[str]], train: Seen
) -> Repeated:
    """What stands twice in a split.

    Args:
        texts: one or two sentences for each row.
        train: the training set; an empty one for the training set itself.
    """
    often = {name for name, count in Counter(ids).items() if count > 1}
    found: dict[str, list[str]] = {"ids": [], "exact": [], "similar": []}
    counts = Counter({"ids": len(ids) - len(set(ids))})
    found["ids"] = list(dict.fromkeys(name for name in ids if name in often))[:NAMED]
    for name, text in zip(ids, texts, strict=True):
        if not any(text):  # an empty sentence says nothing about a leak
            continue
        kind = "exact" if train.has(text) else "similar" if train.has_similar(text) else ""
        if kind:
            counts[kind] += 1
            if len(found[kind]) < NAMED:
                found[kind].append(name)
    named = {what: names for what, names in found.items() if names}
    return Repeated(task, split, len(ids), counts["ids"], counts["exact"], counts["similar"], named)


def repeated_in_task(
    task: str, splits: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]]
) -> list[Repeated]:
    """What stands twice in the splits of a task, given as split -> (ids, texts)."""
    train = Seen(splits["train"][1] if "train" in splits else ())
    return [
        repeated(task, split, ids, texts, Seen() if split == "train" else train)
        for split, (ids, texts) in splits.items()
    ]


def _normal(text: Sequence[str]) -> list[str]:
    """Folded case, single spaces, and the sentences of a pair in one order."""
    return sorted(" ".join(sentence.casefold().split()) for sentence in text)


def _hash(text: Sequence[str]) -> bytes:
    joined = "\0".join(text).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=12).digest()
