"""What was read of a large ledger, remembered as git's index remembers a checkout.

A trial is read anew as soon as a file of it has another time, size or inode.  What is remembered
is no truth: without it, or where it cannot be read, everything is read anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from pathlib import Path
from typing import Any

import orjson

from trainer import config, folder, known_samplers, store, tasks, values
from trainer.folder import write_whole
from trainer.store import record_name

logger = logging.getLogger("orchestrator")

#: Reading fewer trials takes less than a second as it is.
FEWEST = 2000
#: A file that was just written may be written again without a trace in its times.
_SETTLED_NS = 2 * 10**9
#: What nobody has asked for in so long a time goes when something else is remembered.
_UNUSED_S = 30 * 86_400
#: Whose judgement of files is remembered with what they said; another version judges anew.
_JUDGES = (config, folder, known_samplers, store, tasks, values)


class Remembered:
    """The trials below a local folder, by id, as plain values that JSON holds exactly."""

    def __init__(self, trials: Path):
        self._trials = str(trials.absolute())
        place = os.environ.get("ORCH_CACHE") or "~/.cache/orch-mtl"
        name = hashlib.sha256(self._trials.encode()).hexdigest()[:24]
        self.path = Path(place).expanduser() / "ledgers" / f"{name}.json"
        self._judged_by = _judges()
        self._known = self._load()
        #: Trial id -> JSON of its stats and values, for the next time.
        self._kept: dict[str, bytes] = {}
        self._learned = 0

    def find(self, trial_id: str) -> dict[str, Any] | None:
        """The trial's values if its files are still those that were read."""
        known = self._known.get(trial_id)
        if known is None:
            return None
        stats, trial = known
        if stats != self._stats(trial_id, len(trial["records"])):
            return None
        return dict(trial)

    def learn(self, trial_id: str, trial: dict[str, Any]) -> None:
        """Remember what was just read of a trial that has ended."""
        stats = self._stats(trial_id, len(trial["records"]))
        if max(stats[::3]) > time.time_ns() - _SETTLED_NS:
            return
        # What JSON cannot say (a number that is none, half of a surrogate pair) is not remembered.
        with contextlib.suppress(TypeError):
            said = orjson.dumps([stats, trial])
            if orjson.loads(said)[1] == trial:
                self._kept[trial_id] = said
                self._learned += 1

    def save(self, trial_ids: list[str]) -> None:
        """Write what is known of these trials, if much of it is new."""
        if self._learned * 20 < len(trial_ids):
            return
        kept = {name: self._known[name] for name in trial_ids if name in self._known}
        told = kept | {name: orjson.Fragment(said) for name, said in self._kept.items()}
        try:
            write_whole(self.path, orjson.dumps([self._judged_by, self._trials, told]))
            self._forget_unused()
        except OSError as error:  # it costs time and nothing else
            logger.debug("%s: %s", self.path, error)

    def _load(self) -> dict[str, Any]:
        try:
            judged_by, trials, known = orjson.loads(self.path.read_bytes())
            os.utime(self.path)
        except (OSError, ValueError, TypeError):
            return {}
        right = judged_by == self._judged_by and trials == self._trials and isinstance(known, dict)
        return known if right else {}

    def _stats(self, trial_id: str, epochs: int) -> list[int]:
        """Time, size and inode of everything that is read of a trial, zeros for what is not there;
        the record behind the last one is not."""
        place = f"{self._trials}/{trial_id}/"
        found: list[int] = []
        records = [record_name(number) for number in range(1, epochs + 2)]
        for name in ("config.json", "end.json", *records):
            try:
                told = os.stat(place + name)
                found += (told.st_mtime_ns, told.st_size, told.st_ino)
            except OSError:
                found += (0, 0, 0)
        return found

    def _forget_unused(self) -> None:
        for other in self.path.parent.glob("*.json"):
            if other.stat().st_mtime < time.time() - _UNUSED_S:
                other.unlink(missing_ok=True)


def same(one: Any, other: Any) -> bool:
    """Whether two values are written alike; 1 and 1.0 are not."""
    with contextlib.suppress(TypeError):
        return orjson.dumps(one) == orjson.dumps(other)
    return False


def _judges() -> list[list[int]]:
    """Times and sizes of the code that reads and checks."""
    files = [__file__, *(module.__file__ for module in _JUDGES)]
    files.append(str(Path(__file__).with_name("ledger.py")))
    stats = [os.stat(name) for name in files if name]
    return [[told.st_mtime_ns, told.st_size] for told in stats]
