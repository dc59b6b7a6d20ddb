"""Signals for a while."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers


@contextlib.contextmanager
def handled(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Handle these signals by `handler`, by default SIGINT and SIGTERM.

    `ray job stop` sends SIGTERM.  Elsewhere than in the main thread signals are the caller's.
    """
    previous = {}
    with contextlib.suppress(ValueError):
        for number in numbers or (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def renew(*numbers: signal.Signals) -> None:
    """Install Python's handlers of these signals again, by default of SIGINT and SIGTERM.

    The end of `ray.shutdown` gives SIGTERM its default action, behind Python's back.
    """
    with contextlib.suppress(ValueError):  # not the main thread, see `handled`
        for number in numbers or (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.getsignal(number))


def terminate_is_interrupt() -> contextlib.AbstractContextManager[None]:
    """SIGTERM raises KeyboardInterrupt, as SIGINT does."""
    return handled(signal.default_int_handler, signal.SIGTERM)
