"""The trial directory: the truth about a trial.

Every file is written once: to a temporary name, then renamed (on object stores: one put).  The
commit record of an epoch is written last and names its files with their sha256; an epoch without
its record did not happen.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
from pathlib import Path
from typing import Any

from pyarrow import fs

logger = logging.getLogger("trainer")

KEPT_CHECKPOINTS = 2
_RECORD = re.compile(r"(\d{3,})\.json")


class StoreError(RuntimeError):
    """A trial directory that cannot be used; the text says where and why."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a local file under a temporary name, then rename: whole or not at all, also when
    several processes write the same file or the power fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".writing-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class TrialDirectory:
    """One trial's files below `path`: a folder or any URI that pyarrow knows (`s3://...`)."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = str(path)
        if "://" in self.path:
            try:
                self._fs, self._root = fs.FileSystem.from_uri(self.path)
            except (ValueError, OSError) as error:
                raise StoreError(f"{self.path}: not a place to write to: {error}") from error
        else:
            self._fs, self._root = fs.LocalFileSystem(), os.path.abspath(self.path)
        self._local = isinstance(self._fs, fs.LocalFileSystem)

    # -- files ------------------------------------------------------------------------------

    def write(self, name: str, content: bytes) -> str:
        """Write a file whole or not at all; returns its sha256."""
        target = f"{self._root}/{name}"
        if self._local:
            write_whole(Path(target), content)
        else:
            with self._fs.open_output_stream(target) as stream:
                stream.write(content)
        return hashlib.sha256(content).hexdigest()

    def read(self, name: str) -> bytes | None:
        """A file's content, or None if there is none."""
        try:
            with self._fs.open_input_stream(f"{self._root}/{name}") as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def _names(self, folder: str) -> list[str]:
        selector = fs.FileSelector(f"{self._root}/{folder}", allow_not_found=True)
        return sorted(info.base_name for info in self._fs.get_file_info(selector))

    def _read_json(self, name: str) -> dict[str, Any] | None:
        content = self.read(name)
        if content is None:
            return None
        try:
            value = json.loads(content)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    # -- what a trial says of itself -----------------------------------------------------------

    def config(self) -> dict[str, Any] | None:
        """config.json, or None before the trial's first start."""
        return self._read_json("config.json")

    def write_config(self, description: dict[str, Any]) -> None:
        self.write("config.json", _json(description))

    def records(self) -> list[dict[str, Any]]:
        """Commit records 1..n without a gap; what follows a gap or cannot be read is left out."""
        found: list[dict[str, Any]] = []
        present = {int(m[1]) for name in self._names("epochs") if (m := _RECORD.fullmatch(name))}
        while len(found) + 1 in present:
            record = self._read_json(_record_name(len(found) + 1))
            if record is None or record.get("epoch") != len(found) + 1:
                break
            found.append(record)
        return found

    def end(self) -> dict[str, Any] | None:
        """end.json, or None while the trial is unfinished."""
        return self._read_json("end.json")

    def write_end(
        self, status: str, reason: str = "", summary: dict[str, Any] | None = None
    ) -> None:
        """End the trial: `complete`, `pruned` or `failed`."""
        if status not in ("complete", "pruned", "failed"):
            raise ValueError(f"status {status!r} is not complete, pruned or failed")
        self.write(
            "end.json", _json({"status": status, "reason": reason, "summary": summary or {}})
        )

    # -- epochs -------------------------------------------------------------------------------

    def commit(self, record: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
        """Write an epoch's files, then its record; then drop checkpoints that are too old.

        Returns the record with `files`: name -> sha256.
        """
        epoch = record["epoch"]
        hashes = {name: self.write(name, content) for name, content in files.items()}
        record = {**record, "files": hashes}
        self.write(_record_name(epoch), _json(record))
        self._drop_checkpoints(before=epoch - KEPT_CHECKPOINTS + 1)
        return record

    def _drop_checkpoints(self, before: int) -> None:
        for name in self._names("checkpoints"):
            if name.isdigit() and int(name) < before:
                self._fs.delete_dir(f"{self._root}/checkpoints/{name}")

    def checkpoint(self, epoch: int, name: str) -> bytes:
        """A checkpoint file of a committed epoch."""
        content = self.read(checkpoint_name(epoch, name))
        if content is None:
            raise StoreError(f"{self.path}: no {checkpoint_name(epoch, name)}")
        return content

    def resume_point(self) -> list[dict[str, Any]]:
        """The committed epochs to go on from; later ones are taken back.

        An epoch whose files are gone or do not match their sha256 falls back to the one before
        (and with no checkpoint left to the start): this is logged, never silent.
        """
        records = self.records()
        while records and (broken := self._broken(records[-1])):
            logger.warning(
                "%s: epoch %d cannot be resumed from (%s); falling back to epoch %d",
                self.path, records[-1]["epoch"], broken, records[-1]["epoch"] - 1,
            )  # fmt: skip
            records.pop()
        for name in self._names("epochs"):
            match = _RECORD.fullmatch(name)
            if match and int(match[1]) > len(records):
                self._fs.delete_file(f"{self._root}/epochs/{name}")
        return records

    def _broken(self, record: dict[str, Any]) -> str:
        """Why a record's files cannot be used, or nothing."""
        for name, expected in record.get("files", {}).items():
            content = self.read(name)
            if content is None:
                return f"{name} is missing"
            if hashlib.sha256(content).hexdigest() != expected:
                return f"{name} does not match its sha256"
        return ""


def checkpoint_name(epoch: int, name: str) -> str:
    return f"checkpoints/{epoch:03d}/{name}"


def predictions_name(epoch: int) -> str:
    return f"predictions/{epoch:03d}.parquet"


def _record_name(epoch: int) -> str:
    return f"epochs/{epoch:03d}.json"


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
