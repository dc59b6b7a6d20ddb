"""One list for each concept: the names that a config may use, and what each stands for.

A registry holds dotted paths, which are resolved only when a trial is built, so it imports nothing
heavy.  The config's check, the JSON Schema, the tests and the tables of docs/reference/methods.md
read the same lists.  So a name that is in its list is known everywhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One name of a concept."""

    name: str
    #: What it does, in one sentence for the documentation.
    summary: str
    #: The config keys that it reads.  A key that nothing reads is no part of a trial's identity.
    keys: tuple[str, ...] = ()
    #: Where it was published.  docs/reference/methods.md lists P0 to P4.
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class CodeEntry(Entry):
    """A name that stands for code."""

    #: `module:attribute` of that code.
    path: str

    def load(self) -> Any:
        """What the name stands for.  Imports its module."""
        module, _, attribute = self.path.partition(":")
        return getattr(importlib.import_module(module), attribute)


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E], Generic[E]):
    """The names of one concept, in the order in which messages and tables show them."""

    def __init__(self, concept: str, *entries: E):
        self.concept = concept
        self._entries = {entry.name: entry for entry in entries}
        if len(self._entries) < len(entries):
            raise ValueError(f"{concept}: a name is listed twice")

    def __getitem__(self, name: str) -> E:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def keys_read(self) -> tuple[str, ...]:
        """Every key that an entry of this concept reads, each once."""
        return tuple(dict.fromkeys(key for entry in self.values() for key in entry.keys))
