"""The folder that a command writes files into."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from orchestrator.errors import UserError


def check_folder(folder: Path, files: Collection[str], *, force: bool) -> None:
    """Check that a command may write these files: the folder is new, empty, or has only such files
    and `force` is set.  Raises `UserError`."""
    for each in (folder, folder.parent):
        if each.exists() and not each.is_dir():
            raise UserError(f"-o {each}: is not a folder")
    present = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if others := [name for name in present if name not in files]:
        raise UserError(f"-o {folder}: has other files ({others[0]}); name an empty folder")
    if present and not force:
        raise UserError(f"-o {folder}: is not empty; --force replaces its files")
