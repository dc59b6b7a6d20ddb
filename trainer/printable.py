"""Text from files, as a terminal, a page or a table may show it: what would act there is escaped.

A control character can rewrite a terminal's lines, its title or its clipboard, and an override of
the direction shows text in another order than it has.  Anybody may have written a name, a message
or a label, so whatever is printed passes through here.
"""

from __future__ import annotations

import json
import re
from typing import Any, TextIO

#: Characters that act, hide or cannot be encoded.  Ends of lines, tabs and the joiners of Persian
#: and of emoji are not among them.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters; \x9b alone begins a command
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of text
    "\u2028\u2029"  # ends of lines that others do not see
    "\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # hidden
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
    "\ud800-\udfff]"  # halves of a character
)

#: What is more than text in Markdown.  A bracket alone is an interval's.
_MARKDOWN = re.compile(r"[\\|*`]|!(?=\[)|(?<=\])[(\[:]|<(?=[A-Za-z/!?])")


def printable(text: str) -> str:
    r"""The text with every acting character written as `\x1b` or `\u202e`."""
    return text if text.isprintable() else _ACTING.sub(_escape, text)


def in_one_line(text: str) -> str:
    r"""The same for a name or a table's cell: the end of a line is `\n`, too."""
    return text if text.isprintable() else printable(text).replace("\n", r"\n").replace("\t", " ")


def markdown_text(text: str) -> str:
    """Text within Markdown that is no table's border, emphasis, code, link, picture or HTML."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


def json_text(value: Any, indent: int | None = None) -> str:
    """Plain values as JSON that a terminal may show; it has the same values.

    Raises `ValueError` for NaN and infinities.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return _ACTING.sub(lambda match: json.dumps(match[0])[1:-1], text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")


class PrintableStream:
    """A stream that escapes what is written to it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    @property
    def rich_proxied_file(self) -> TextIO:
        """The stream itself, where rich draws: it knows which of its codes are its own."""
        return self._stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
