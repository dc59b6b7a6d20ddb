"""The folder that a command writes files into."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from orchestrator.errors import UserError
from trainer.storage.local_folder import PARTIAL, LocalFolder


def check_folder(folder: Path, files: Collection[str], *, force: bool) -> None:
    """Check that a command may write these files: the folder is new, empty, or has only such files
    and `force` is set.  What a killed writer left is no such file; it is deleted.

    Raises `UserError`.
    """
    for each in (folder, folder.parent):
        if each.exists() and not each.is_dir():
            raise UserError(f"-o {each}: is not a folder")
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    present = [name for name in names if not name.startswith(PARTIAL)]
    if others := [name for name in present if name not in files]:
        raise UserError(f"-o {folder}: has other files ({others[0]}); name an empty folder")
    if present and not force:
        raise UserError(f"-o {folder}: is not empty; --force replaces its files")
    LocalFolder(str(folder)).delete_partial_files()
