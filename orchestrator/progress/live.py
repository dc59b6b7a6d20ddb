"""On a terminal: a view of the sweep at the bottom, below the messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.segment import ControlCode, ControlType, Segment

from orchestrator.ledger.driver_status import DriverStatus
from orchestrator.progress.events import Progress, one_line
from orchestrator.progress.plain import say
from orchestrator.progress.view import draw, head

if TYPE_CHECKING:
    from orchestrator.scheduling.job_queue import Job

#: Views a second.
_RATE = 4


class LiveView:
    """Draws a status again and again, until it is closed.

    Args:
        status: returns what to draw; None leaves the view empty.
    """

    def __init__(self, console: Console, status: Callable[[], DriverStatus | None]):
        self._console, self._status = console, status
        self._live = Live(
            console=console, get_renderable=self._lines, refresh_per_second=_RATE, transient=True
        )
        self._live._live_render = _Reflowed(console, self._live.get_renderable())

    def start(self) -> None:
        self._live.start()

    def refresh(self) -> None:
        """Draw now."""
        self._live.refresh()

    def close(self) -> None:
        """Remove the view."""
        self._live.stop()

    def _lines(self) -> Group:
        status, size = self._status(), self._console.size
        return Group(*(draw(status, size.width, size.height) if status else ()))


class LiveProgress(Progress):
    """The view of `orchestrator.progress.view`; above it messages, failures and warnings."""

    def __init__(self, console: Console, varied: Sequence[str] = (), name: str = ""):
        super().__init__(name, varied)
        self._console = console
        self._view = LiveView(console, self.state.status)
        self._open = True
        self._view.start()

    def stopping(self, text: str) -> None:
        if not self._open:
            self.say(text)
            return
        self.state.stopping(text)  # the view has it
        self._view.refresh()

    def warned(self, job: Job, text: str) -> None:
        self.say(f"{job.trial_id} {one_line(text)}")

    def retried(self, job: Job, reason: str) -> None:
        super().retried(job, reason)
        self.say(f"{job.trial_id} is tried again from its last epoch: {one_line(reason)}")

    def ended(self, job: Job, status: str, reason: str, score: float | None = None) -> None:
        super().ended(job, status, reason, score)
        if status == "failed":
            self.say(f"{job.trial_id} failed: {one_line(reason)}")

    def say(self, text: str) -> None:
        say(self._console, text)

    def close(self) -> None:
        """Replace the view by its first lines."""
        if not self._open:
            return
        self._open = False
        self._view.close()
        status = self.state.status()
        if status.planned:
            self._console.print(*head(status, self._console.width), sep="\n", soft_wrap=True)


class _Reflowed(LiveRender):
    """Erases a view also where the terminal has another size than when it was drawn.

    A narrower terminal breaks lines anew, so the view fills more of them.  A lower one scrolls the
    view's first lines away, and shows them again when it becomes higher.
    """

    def __init__(self, console: Console, renderable: RenderableType):
        super().__init__(renderable)
        self._console = console
        self._widths: list[int] = []
        #: The terminal's height at the last view, and lines of views that scrolled away.
        self._high = console.height
        self._scrolled = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self.renderable, options, pad=False)
        lines = [line for line in lines if line] or [[]]
        self._widths = [Segment.get_line_length(line) for line in lines]
        self._shape = max(self._widths), len(lines)
        for number, line in enumerate(lines):
            yield from line
            if number + 1 < len(lines):
                yield Segment.line()

    def position_cursor(self) -> Control:
        if self._shape is None:
            return Control()
        return self._erase(self._height() - 1)

    def restore_cursor(self) -> Control:
        if self._shape is None:
            return Control()
        return self._erase(self._height())

    def _height(self) -> int:
        """Lines on the screen that the view fills now."""
        width, high = max(1, self._console.width), self._console.height
        filled = sum(max(1, -(-each // width)) for each in self._widths)
        back = min(self._scrolled, max(0, high - self._high))
        away = max(0, filled - high)
        self._scrolled += away - back
        self._high = high
        return filled - away + back

    def _erase(self, above: int) -> Control:
        """From so many lines above the cursor to the end of the screen."""
        up: list[ControlCode] = [(ControlType.CURSOR_UP, 1)] * above
        erase: list[ControlCode] = [
            (ControlType.CARRIAGE_RETURN,), *up, (ControlType.ERASE_IN_LINE, 2),
        ]  # fmt: skip
        for _ in range(above):
            erase += [(ControlType.CURSOR_DOWN, 1), (ControlType.ERASE_IN_LINE, 2)]
        return Control(*erase, *up)
