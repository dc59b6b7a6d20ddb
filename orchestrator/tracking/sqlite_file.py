"""Creates a database file with all its tables, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from trainer.storage.local_folder import write_whole


def make_whole(path: Path, fill: Callable[[Path], object]) -> None:
    """Create the file at `path` if there is none; `fill` first creates it elsewhere.

    MLflow creates its tables in dozens of steps.  If a kill comes in between, it later refuses the
    database as one of an older version.  If two processes create it, the first one's stays.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = path.with_name(f".{path.name}.{uuid.uuid4()}")
    with tempfile.TemporaryDirectory() as elsewhere:
        new = Path(elsewhere) / path.name
        fill(new)
        try:
            write_whole(mine, new.read_bytes())
            with contextlib.suppress(FileExistsError):
                os.link(mine, path)
        finally:
            mine.unlink(missing_ok=True)
