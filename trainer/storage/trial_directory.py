"""The trial directory: the truth about a trial.

Every file is written once and completely (trainer.storage.folder).  The commit record of an epoch
is written last and names its files with their sha256.  An epoch without its record did not happen.
Files may be damaged or written by others, so readers ignore what is not valid.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from trainer.storage.folder import Folder, OutOfSpace, Refused, StoreError
from trainer.storage.json_reader import JsonError, parse_object
from trainer.storage.open import open_folder
from trainer.storage.record_check import problem_with

__all__ = [
    "KEPT_CHECKPOINTS",
    "WEIGHTS",
    "OutOfSpace",
    "StoreError",
    "TrialDirectory",
    "checkpoint_name",
    "predictions_name",
]

logger = logging.getLogger("trainer")

KEPT_CHECKPOINTS = 2
#: The file of a checkpoint with encoder and heads; the others are needed to resume only.
WEIGHTS = "weights.safetensors"
#: Bytes that stay free after every commit, so that an end record always fits.
MARGIN_BYTES = 8 * 2**20
ENDS = ("complete", "pruned", "failed")
_RECORD = re.compile(r"(\d{3,})\.json")


class TrialDirectory:
    """One trial's files in a folder, given as `Folder`, path or URI (`s3://...`).

    Methods raise `StoreError` (`OutOfSpace` for a full disk), and on a local filesystem `OSError`.
    """

    def __init__(self, place: str | os.PathLike[str] | Folder):
        self.folder = open_folder(place).enclosed()
        self.path = self.folder.path

    def write(self, name: str, content: bytes) -> str:
        """Write a file completely or not at all; returns its sha256."""
        return self.folder.write(name, content)

    def read(self, name: str) -> bytes | None:
        """A file's content; None if it does not exist."""
        return self.folder.read(name)

    def link(self, name: str, other: TrialDirectory) -> None:
        """Add a file of another trial under the same name, if it exists."""
        self.folder.link(name, other.folder)

    def names(self, folder: str) -> list[str]:
        """The sorted content of a folder of the trial (`logs`); empty if it does not exist."""
        return self.folder.names(folder)

    def config(self) -> dict[str, Any] | None:
        """The content of config.json; None before the trial's first start, and if it is damaged."""
        return _parsed(self.read("config.json"))

    def write_config(self, description: dict[str, Any]) -> None:
        self.write("config.json", _json(description))

    def records(self) -> list[dict[str, Any]]:
        """Commit records 1..n, up to the first one that is missing or not valid."""
        return self.history()[0]

    def history(self) -> tuple[list[dict[str, Any]], str]:
        """`records()`, and what is wrong with the record after them; empty if there is none."""
        records: list[dict[str, Any]] = []
        while True:
            name = record_name(len(records) + 1)
            try:
                content = self.read(name)
                record = None if content is None else parse_object(content)
            except Refused as error:
                return records, f"{name}: {error.why}"
            except JsonError as error:
                return records, f"{name}: {error}"
            if record is None:
                return records, ""
            if wrong := problem_with(record, len(records) + 1):
                return records, f"{name}: {wrong}"
            records.append(record)

    def end(self) -> dict[str, Any] | None:
        """end.json (`status`, `reason`, `summary`); None if the trial has not ended."""
        end = _parsed(self.read("end.json"))
        if end is None or end.get("status") not in ENDS:
            return None
        reason, summary = end.setdefault("reason", ""), end.setdefault("summary", {})
        return end if isinstance(reason, str) and isinstance(summary, dict) else None

    def is_over(self) -> bool:
        """Whether the trial has ended and has all its epochs.

        A trial that says it is complete but lacks epochs or its config has lost files.  Its end
        record is deleted, so that it resumes after the epochs that are left.
        """
        end = self.end()
        if end is None:
            return False
        lost = lost_epoch(end, *self.history())
        if end["status"] == "complete" and self.config() is None:
            lost = lost or "config.json: is missing"
        if lost:
            logger.warning("%s: %s; it is trained again from there", self.path, lost)
            self.folder.delete("end.json")
        return not lost

    def write_end(
        self, status: str, reason: str = "", summary: dict[str, Any] | None = None
    ) -> None:
        """End the trial: `complete`, `pruned` or `failed`."""
        if status not in ENDS:
            raise ValueError(f"status {status!r} is not complete, pruned or failed")
        self.write(
            "end.json", _json({"status": status, "reason": reason, "summary": summary or {}})
        )

    def commit(
        self, record: dict[str, Any], files: dict[str, bytes], weights_of: Container[int] = ()
    ) -> dict[str, Any]:
        """Write an epoch's files, then its record; then delete old checkpoints.

        Returns the record with `files`: name -> sha256.  Raises `OutOfSpace` before or while it
        writes.  Then nothing of the epoch remains, and earlier epochs are untouched.  Raises
        `StoreError` if somebody has deleted what was committed before.

        Args:
            weights_of: earlier epochs whose weights stay, without the rest of their checkpoints.
        """
        epoch = record["epoch"]
        if wrong := problem_with(record, epoch):
            raise ValueError(f"{self.path}: the record of epoch {epoch}: {wrong}")
        before = record_name(epoch - 1)
        if epoch > 1 and not self.folder.has(before):  # the trial would have a gap for ever
            raise StoreError(f"{self.path}: {before} is gone; was it deleted while it trained?")
        needed, free = sum(map(len, files.values())) + MARGIN_BYTES, self.folder.free()
        if free is not None and free < needed:
            raise OutOfSpace(self.path, needed, free)
        try:
            hashes = {name: self.write(name, content) for name, content in files.items()}
            record = {**record, "files": hashes}
            self.write(record_name(epoch), _json(record))
        except OutOfSpace:
            self._roll_back(epoch, files)
            raise
        self.drop_checkpoints(epoch - KEPT_CHECKPOINTS + 1, weights_of)
        return record

    def _roll_back(self, epoch: int, files: dict[str, bytes]) -> None:
        """Delete the files of an epoch that was not committed."""
        for name in (*files, f"checkpoints/{epoch:03d}"):
            with contextlib.suppress(OSError, StoreError):
                self.folder.delete(name)

    def drop_checkpoints(self, before: int, weights_of: Container[int] = ()) -> None:
        """Delete the checkpoints of all epochs below `before`, but not the weights of some."""
        for name in self.names("checkpoints"):
            if not name.isdecimal() or int(name) >= before:
                continue
            folder = f"checkpoints/{name}"
            for file in self.names(folder) if int(name) in weights_of else ():
                if file != WEIGHTS:
                    self.folder.delete(f"{folder}/{file}")
            if int(name) not in weights_of:
                self.folder.delete(folder)

    def weights(self, record: Mapping[str, Any]) -> tuple[bytes, str]:
        """The weights after a committed epoch, and their sha256.

        Raises `StoreError` if they are missing, not complete or damaged.
        """
        name = checkpoint_name(record["epoch"], WEIGHTS)
        content = self.checkpoint(record["epoch"], WEIGHTS)
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != (record.get("files") or {}).get(name):
            raise StoreError(f"{self.path}: {name} does not match its sha256")
        return content, sha256

    def checkpoint(self, epoch: int, name: str) -> bytes:
        """A checkpoint file of a committed epoch."""
        content = self.read(checkpoint_name(epoch, name))
        if content is None:
            raise StoreError(f"{self.path}: no {checkpoint_name(epoch, name)}")
        return content

    def resume_point(self) -> tuple[list[dict[str, Any]], list[str]]:
        """The committed epochs to resume after, and a note about every epoch that is given up.

        If an epoch's record is not valid, or its files are missing or do not match their sha256,
        the trial falls back to the epoch before, without any checkpoint to the start.  This deletes
        all later records, and incomplete files of killed writers.  Notes are also logged as
        warnings.
        """
        self.folder.delete_partial_files()
        records, wrong = self.history()
        notes = [_given_up(len(records) + 1, wrong)] if wrong else []
        while records and (broken := self._broken(records[-1])):
            notes.append(_given_up(len(records), broken))
            records.pop()
        for note in notes:
            logger.warning("%s: %s", self.path, note)
        self.forget(after=len(records))
        return records, notes

    def forget(self, after: int) -> None:
        """Delete the records of all later epochs."""
        for name in reversed(self.names("epochs")):  # reversed, so that a crash leaves no gap
            match = _RECORD.fullmatch(name)
            if match and int(match[1]) > after:
                self.folder.delete(f"epochs/{name}")

    def _broken(self, record: dict[str, Any]) -> str:
        """Why the trial cannot resume after an epoch; empty if it can."""
        files, epoch = record.get("files", {}), record["epoch"]
        if not any(name.startswith(checkpoint_name(epoch, "")) for name in files):
            return "its record names no checkpoint"
        for name, expected in files.items():
            try:
                content = self.read(name)
            except Refused as error:
                return f"{name} {error.why}"
            if content is None:
                return f"{name} is missing"
            if hashlib.sha256(content).hexdigest() != expected:
                return f"{name} does not match its sha256"
        return ""


def checkpoint_name(epoch: int, name: str) -> str:
    return f"checkpoints/{epoch:03d}/{name}"


def predictions_name(epoch: int) -> str:
    return f"predictions/{epoch:03d}.parquet"


def _given_up(epoch: int, reason: str) -> str:
    return f"epoch {epoch} cannot be resumed from ({reason}); falling back to epoch {epoch - 1}"


def record_name(epoch: int) -> str:
    return f"epochs/{epoch:03d}.json"


def lost_epoch(end: Mapping[str, Any], records: Sequence[Mapping[str, Any]], wrong: str) -> str:
    """Which epoch a complete trial lacks, and why; empty if it has all, or is not complete.

    Args:
        end: its end record.
        records, wrong: its `history`.
    """
    if end["status"] != "complete":  # other ends do not need all epochs
        return ""
    count = end["summary"].get("epochs")
    if not wrong and isinstance(count, int) and len(records) < count:
        return f"{record_name(len(records) + 1)}: is missing"
    return wrong


def _parsed(content: bytes | None) -> dict[str, Any] | None:
    if content is None:
        return None
    try:
        return parse_object(content)
    except JsonError:
        return None


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
