"""A sweep's id, written at its first start, and how its name becomes free for a new sweep."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.ledger.sweep_lock import LOCK, SweepLock
from trainer.storage.folder import Folder, Refused, StoreError
from trainer.storage.json_reader import JsonError, parse_object

ORIGIN = "origin.json"


def sweep_id(folder: Folder) -> str:
    """The sweep's id, created at its first start.  It distinguishes sweeps of the same name.

    Call it while you hold the sweep's lock.
    """
    if known := known_sweep_id(folder):
        return known
    new = uuid.uuid4().hex
    origin = {"sweep_id": new, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    folder.write(ORIGIN, (json.dumps(origin) + "\n").encode())
    return new


def known_sweep_id(folder: Folder) -> str:
    """The sweep's id; empty before its first start."""
    try:
        known = parse_object(folder.read(ORIGIN) or b"{}")["sweep_id"]
    except (Refused, JsonError, KeyError):
        return ""
    return known if isinstance(known, str) else ""


def set_aside(folder: Folder) -> Path | None:
    """Rename a sweep's folder to `<name>.<UTC time>`, so that its name is free.

    Returns the new path, under which the old sweep can still be read; None if there was no sweep.
    Raises `Locked` if a driver works on the sweep, `StoreError` on a remote store, which cannot
    rename.
    """
    if not folder.names():
        return None
    if folder.local is None:
        raise StoreError(
            f"{folder.path}: a sweep on a remote store cannot be renamed; give the new one "
            "another name (--set name=...)"
        )
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    with SweepLock(folder):
        moved = folder.local.rename(folder.local.with_name(f"{folder.local.name}.{stamp}Z"))
    (moved / LOCK).unlink(missing_ok=True)  # it was renamed, too
    return moved
