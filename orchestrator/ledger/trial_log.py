"""The log of an attempt at a trial: the trainer's newest log lines, in `logs/NNN.txt`."""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections import deque

from trainer.storage.folder import Refused
from trainer.storage.trial_directory import TrialDirectory

FOLDER = "logs"
KEPT_LINES = 200
_NAME = re.compile(r"(\d{3,})\.txt")
#: Seconds between two writes of a growing log; a warning is written at once.
_PAUSE_S = 1.0


class AttemptLog(logging.Handler):
    """Keeps the newest `KEPT_LINES` lines of the `trainer` logger until `close`.

    It writes the whole file each time, so that a process that dies leaves a readable log.  Without
    a line there is no file.  A log that cannot be written does not stop the training.
    """

    def __init__(self, directory: TrialDirectory):
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._directory = directory
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._warnings: list[str] = []
        self._name = ""
        self._saved_at = 0.0
        self._unsaved = False
        self._logger = logging.getLogger("trainer")
        self._logger.setLevel(logging.INFO)
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._add(self.format(record))
        if record.levelno >= logging.WARNING:
            self._warnings.append(record.getMessage().removeprefix(f"{self._directory.path}: "))
            self.save()
        elif time.monotonic() - self._saved_at > _PAUSE_S:
            self.save()

    def warnings(self) -> list[str]:
        """The warnings since the last call, without the directory's path."""
        taken, self._warnings = self._warnings, []
        return taken

    def failed(self, error: BaseException) -> None:
        """Add an error's traceback."""
        self._add("".join(traceback.format_exception(error)).rstrip())

    def save(self) -> None:
        """Write the lines since the last write."""
        if not self._unsaved:
            return
        try:
            self._name = self._name or _file_name(_newest(self._directory) + 1)
            self._directory.write(self._name, ("\n".join(self._lines) + "\n").encode())
            self._unsaved = False
        except Exception as error:
            print(f"{self._directory.path}: the log cannot be written: {error}", flush=True)
        self._saved_at = time.monotonic()

    def close(self) -> None:
        """Write the remaining lines and detach from the logger."""
        self._logger.removeHandler(self)
        self.save()
        super().close()

    def _add(self, text: str) -> None:
        self._lines.extend(text.splitlines())
        self._unsaved = True


def last_log(directory: TrialDirectory) -> list[str]:
    """The log of a trial's latest attempt; empty if there is none."""
    number = _newest(directory)
    return log_of(directory, number) if number else []


def log_of(directory: TrialDirectory, number: int) -> list[str]:
    """The newest lines of an attempt's log, or why it cannot be read."""
    try:
        content = directory.read(_file_name(number)) or b""
    except Refused as error:
        return [str(error)]
    return content.decode(errors="replace").splitlines()


def attempts(directory: TrialDirectory) -> list[int]:
    """The numbers of the attempts that have a log, in their order."""
    matches = (_NAME.fullmatch(name) for name in directory.names(FOLDER))
    return sorted(int(match[1]) for match in matches if match)


def _file_name(number: int) -> str:
    return f"{FOLDER}/{number:03d}.txt"


def _newest(directory: TrialDirectory) -> int:
    return max(attempts(directory), default=0)
