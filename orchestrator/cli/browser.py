"""Opens a page in the user's browser as soon as its server answers."""

from __future__ import annotations

import os
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Mapping

_PAUSE_S = 0.3
_TIMEOUT_S = 5


def can_open(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user sits before a screen of this machine: no SSH, no script, a display."""
    if "SSH_CONNECTION" in environment or "SSH_TTY" in environment:
        return False
    if not sys.stdout.isatty():
        return False
    return sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & environment.keys())


def watch(address: str, *, show: bool) -> None:
    """Say when a server answers, and show its page; in a thread of its own.

    Args:
        address: of the page.
        show: whether to open it in the browser.
    """
    threading.Thread(target=_watch, args=(address, show), daemon=True).start()


def _watch(address: str, show: bool) -> None:
    while not answers(address):
        time.sleep(_PAUSE_S)
    opened = show and open_page(address)
    where = "MLflow is open in your browser" if opened else "MLflow answers"
    print(f"{where}; Ctrl-C ends it.", flush=True)


def open_page(address: str) -> bool:
    """Open a page in the browser; whether that worked."""
    try:
        return webbrowser.open(address)
    except (webbrowser.Error, OSError):
        return False


def answers(address: str) -> bool:
    """Whether a server answers at an address, with whatever status."""
    try:
        with urllib.request.urlopen(address.partition("#")[0], timeout=_TIMEOUT_S):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):  # not yet; or half of an answer
        return False
