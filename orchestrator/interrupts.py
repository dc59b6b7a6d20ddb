"""A first Ctrl-C is answered at once, and a second one ends the process at once.

Python runs signal handlers in the main thread, and only between two of its steps.  While that
thread loads a library, waits for Ray or tokenises a corpus, nobody would answer.  So `Interrupts`
listens in a thread of its own, to which the interpreter's C code passes every signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from orchestrator.signals import handled

#: Signals within so many seconds count as one: `timeout` signals a process and then its group.
SAME_S = 0.3
#: Leaving at once takes at most so many seconds for a cleanup, and for all of them.
_CLEANUP_S = 1.4
#: The exit code after an interrupt.
INTERRUPTED = 130


@dataclass(frozen=True)
class Moment:
    """What a first signal means now.

    Attributes:
        answer: returns what is said to the user.
        seconds: the process leaves after so many seconds, whatever it is doing; 0 is at once, and
            None never.
    """

    answer: Callable[[], str]
    seconds: float | None


_moments: list[Moment] = []
_cleanups: list[Callable[[], object]] = []
_active: list[Interrupts] = []


def answered() -> bool:
    """Whether a listener in this process answers signals."""
    return bool(_active)


@contextlib.contextmanager
def during(answer: str | Callable[[], str], seconds: float | None) -> Iterator[None]:
    """For a while a first signal has this answer (`Moment`)."""
    text = (lambda: answer) if isinstance(answer, str) else answer
    moment = Moment(text, seconds)
    _moments.append(moment)
    try:
        yield
    finally:
        _moments.remove(moment)


@contextlib.contextmanager
def cleanup(action: Callable[[], object]) -> Iterator[None]:
    """For a while this is called if the process leaves at once; the last one is called first."""
    _cleanups.append(action)
    try:
        yield
    finally:
        _cleanups.remove(action)


class Interrupts:
    """Context manager of a command: answers SIGINT and SIGTERM.

    Elsewhere than in the main thread signals are the caller's, and this does nothing.

    Args:
        say: shows an answer.
        last_words: printed on stderr when the process leaves at once.
    """

    def __init__(self, say: Callable[[str], None], last_words: str):
        self._say, self._last_words = say, last_words
        self._lock = threading.Lock()
        self._first = 0.0
        self._leaving = False
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        threading.Thread(target=self._listen, name="interrupts", daemon=True).start()
        before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._open.callback(self._stop, before)
        self._open.enter_context(handled(self._in_main_thread))
        _active.append(self)
        self._open.callback(_active.remove, self)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _stop(self, before: int) -> None:
        signal.set_wakeup_fd(before)
        os.close(self._writing)  # which ends the listener

    def _in_main_thread(self, number: int, frame: FrameType | None) -> None:
        """Unless the process leaves at once, the main thread ends what it does in order."""
        if not (_moments and _moments[-1].seconds == 0):
            raise KeyboardInterrupt

    def _listen(self) -> None:
        while signals := os.read(self._reading, 64):
            if any(each in (signal.SIGINT, signal.SIGTERM) for each in signals):
                self._note()
        os.close(self._reading)

    def _note(self) -> None:
        now = time.monotonic()
        if self._first and now - self._first < SAME_S:
            return
        if self._first:
            self._leave()
        self._first = now
        moment = _moments[-1] if _moments else Moment(lambda: "stopping", 0)
        _within(0.3, lambda: self._say(moment.answer()))
        if moment.seconds == 0:
            self._leave()
        elif moment.seconds is not None:
            timer = threading.Timer(moment.seconds, self._leave)
            timer.daemon = True
            timer.start()

    def _leave(self) -> None:
        """End the process; cleanups that take long are given up."""
        with self._lock:
            if self._leaving:
                return
            self._leaving = True
        end = time.monotonic() + _CLEANUP_S
        for action in reversed(_cleanups.copy()):
            _within(max(0.05, end - time.monotonic()), action)
        with contextlib.suppress(OSError, ValueError):
            print(self._last_words, file=sys.__stderr__, flush=True)
        os._exit(INTERRUPTED)


def _within(seconds: float, action: Callable[[], object]) -> None:
    """Do something for so long at most: the main thread may hold what it needs."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            action()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(seconds)
