"""A command as it looks in a terminal, as SVG."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text


def screen(command: Sequence[str], columns: int, folder: Path) -> str:
    """What a command prints in a folder on a terminal of so many columns, with its colours.

    Raises `subprocess.CalledProcessError` if it fails.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    unset = {"COLUMNS", "LINES", "NO_COLOR"}
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, cwd=folder,
        env=environment | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    text = b""
    while True:
        try:
            more = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        text += more
    os.close(ours)
    if code := process.wait():
        raise subprocess.CalledProcessError(code, list(command), text.decode())
    return text.decode().replace("\r\n", "\n")


def drawing(text: str, title: str, columns: int) -> str:
    """A terminal's text as SVG that loads nothing from the network."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ {title}\n{text}"), soft_wrap=True)
    svg = console.export_svg(title=title, unique_id="terminal")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
