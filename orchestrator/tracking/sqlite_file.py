"""A database in a file appears with all its tables, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from trainer.storage.local_folder import write_whole


def make_whole(path: Path, fill: Callable[[Path], object]) -> None:
    """Make the file at `path` if there is none: `fill` makes it elsewhere.

    MLflow makes its tables in dozens of steps.  A database whose maker was killed between two of
    them is refused ever after, as one of an older version.  Of two makers the first one's stays.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = path.with_name(f".{path.name}.{uuid.uuid4()}")
    with tempfile.TemporaryDirectory() as elsewhere:
        made = Path(elsewhere) / path.name
        fill(made)
        try:
            write_whole(mine, made.read_bytes())
            with contextlib.suppress(FileExistsError):
                os.link(mine, path)
        finally:
            mine.unlink(missing_ok=True)
