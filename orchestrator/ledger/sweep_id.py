"""Which sweep this is: an id written at its first start, and the way to begin one anew."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

from trainer.storage.folder import Folder, StoreError

ORIGIN = "origin.json"


def sweep_id(folder: Folder) -> str:
    """The sweep's id, made at its first start; two sweeps of one name have two.

    Call it with the sweep's lock held: there is one writer.
    """
    content = folder.read(ORIGIN)
    if content is not None:
        try:
            found = json.loads(content)["sweep_id"]
        except (ValueError, KeyError, TypeError):
            found = None
        if isinstance(found, str) and found:
            return found
    made = uuid.uuid4().hex
    told = {"sweep_id": made, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    folder.write(ORIGIN, (json.dumps(told) + "\n").encode())
    return made


def set_aside(folder: Folder) -> Path | None:
    """Rename a sweep's folder to `<name>.<UTC time>`, so that its name is free; None without one.

    Nothing is deleted: the old sweep is read under its new name.  Raises `StoreError` on a remote
    store, which cannot rename.
    """
    if not folder.names():
        return None
    if folder.local is None:
        raise StoreError(
            f"{folder.path}: a sweep on a remote store cannot be set aside; give the new one "
            "another name (--set name=...)"
        )
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    return folder.local.rename(folder.local.with_name(f"{folder.local.name}.{stamp}Z"))
