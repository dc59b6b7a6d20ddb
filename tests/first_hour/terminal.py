"""A real terminal, driven by keys and kept as pictures: tmux on a socket of its own."""

from __future__ import annotations

import html
import os
import re
import shlex
import subprocess
import time
import uuid
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

#: What the shell shows when it waits for a command.
PROMPT = "user$ "
_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<body style="margin:12px;background:#1e1e1e;color:#ddd">
<pre style="font:14px/1.25 'DejaVu Sans Mono',monospace;margin:0">{{code}}</pre>
<style>{{stylesheet}}</style>"""


class Terminal:
    """A shell in a terminal of `columns` x `lines` characters.

    Args:
        folder: where the shell starts.
        environment: all that the shell inherits.
    """

    def __init__(self, folder: Path, environment: dict[str, str], columns: int, lines: int):
        self._socket = f"first-hour-{uuid.uuid4().hex[:8]}"
        # bash sets its own prompt when it starts, so ours is set before each prompt.
        prompt = {"PROMPT_COMMAND": f"PS1='{PROMPT}'", "HISTFILE": ""}
        self._environment = environment | prompt | {"TERM": "xterm-256color"}
        shell = "bash --norc --noprofile -i"
        size = ["-x", str(columns), "-y", str(lines)]
        self._tmux("new-session", "-d", *size, "-c", str(folder), shell)
        self._tmux("set-option", "-g", "status", "off")
        self._tmux("set-option", "-g", "history-limit", "5000")
        self._wait_for_prompt(20)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self._tmux("kill-server", check=False)

    def resize(self, columns: int, lines: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))
        time.sleep(0.5)  # for the shell or the program to draw itself anew

    def type(self, line: str) -> None:
        """Type a line and the enter key."""
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press a key by tmux's name: `C-c`, `Tab`."""
        self._tmux("send-keys", key)

    def run(self, line: str, seconds: float = 120) -> str:
        """Clear the screen, type a line, wait for the prompt; returns all that was printed."""
        self.clear()
        self.type(line)
        self._wait_for_prompt(seconds)
        return self.text(history=True)

    def clear(self) -> None:
        self.type("clear")
        time.sleep(0.3)
        self._tmux("clear-history")

    def wait_for(self, pattern: str, seconds: float) -> float:
        """Wait until a regular expression stands on the screen; returns the seconds it took."""
        begun = time.monotonic()
        while not re.search(pattern, self.text()):
            if time.monotonic() - begun > seconds:
                raise TimeoutError(f"{pattern!r} did not appear in {seconds} s:\n{self.text()}")
            time.sleep(0.05)
        return time.monotonic() - begun

    def wait_for_prompt(self, seconds: float) -> float:
        """Wait until the shell asks for the next command; returns the seconds it took."""
        return self._wait_for_prompt(seconds)

    def text(self, history: bool = False) -> str:
        return self._captured(history, colours=False)

    def picture(self, path: Path, history: bool = False) -> Path:
        """Keep the screen as text and as a page for a browser; returns the page."""
        path.with_suffix(".txt").write_text(self.text(history))
        console = Console(record=True, width=400, file=open(os.devnull, "w"))  # noqa: SIM115
        console.print(Text.from_ansi(self._captured(history, colours=True)), soft_wrap=True)
        page = path.with_suffix(".html")
        form = _PAGE.format(title=html.escape(path.stem))
        form = form.replace("{{", "{").replace("}}", "}")
        page.write_text(console.export_html(theme=DIMMED_MONOKAI, code_format=form))
        return page

    def _captured(self, history: bool, colours: bool) -> str:
        options = ["-p", *(["-e"] if colours else []), *(["-S", "-"] if history else [])]
        return self._tmux("capture-pane", *options).rstrip("\n") + "\n"

    def _wait_for_prompt(self, seconds: float) -> float:
        return self.wait_for(rf"(?:^|\n){re.escape(PROMPT.strip())} *\n*$", seconds)

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        command = ["tmux", "-L", self._socket, "-f", os.devnull, *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=20
        )
        if check and done.returncode:
            raise RuntimeError(f"{shlex.join(command)}: {done.stderr}")
        return done.stdout
