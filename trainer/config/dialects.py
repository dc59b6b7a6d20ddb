"""How a file of sentences may be written: its separator and its quotation marks.

Each concept has one list, as in trainer/config/choices.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.registry import Entry, Registry

#: Value of `separator` and `quotes`: find it out from the file.
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class SeparatorEntry(Entry):
    """What stands between two fields of a line."""

    character: str


SEPARATORS = Registry(
    "separator",
    SeparatorEntry(name="tab", character="\t", summary="Tab-separated."),
    SeparatorEntry(name="comma", character=",", summary="Comma-separated."),
    SeparatorEntry(name="semicolon", character=";", summary="Semicolon-separated."),
    SeparatorEntry(name="pipe", character="|", summary="Separated by |."),
)


@dataclass(frozen=True, kw_only=True)
class QuotesEntry(Entry):
    """What a quotation mark at the start of a field means."""

    #: What to call it where a file's dialect is named.
    words: str
    #: Whether a pair of marks encloses a field.  Otherwise a mark is ordinary text.
    enclose: bool = True
    #: Whether a line break within a pair of marks belongs to the field.
    span_lines: bool = False


QUOTES = Registry(
    "quotes",
    QuotesEntry(
        name="none",
        words="quotation marks are text",
        enclose=False,
        summary="A quotation mark is ordinary text.",
    ),
    QuotesEntry(
        name="one_line",
        words="quotation marks enclose fields within a line",
        summary=(
            "Quotation marks enclose a field, which ends within its line. A mark that is never "
            "closed there is text."
        ),
    ),
    QuotesEntry(
        name="many_lines",
        words="quotation marks enclose fields of any lines",
        span_lines=True,
        summary="Quotation marks enclose a field, which may hold line breaks.",
    ),
)
