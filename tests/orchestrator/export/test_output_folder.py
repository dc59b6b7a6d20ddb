"""The folder of an export: the user's files are never touched, a killed export's halves are."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.export.output_folder import check_folder
from trainer.storage.local_folder import PARTIAL

FILES = ("config.json", "README.md")


def test_what_a_killed_export_left_does_not_block_the_next(tmp_path: Path) -> None:
    half = tmp_path / f"{PARTIAL}1-a"
    half.write_bytes(b"half")
    check_folder(tmp_path, FILES, force=False)
    assert list(tmp_path.iterdir()) == []


def test_whole_files_are_replaced_by_force_only(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(UserError, match="is not empty; --force replaces its files"):
        check_folder(tmp_path, FILES, force=False)
    check_folder(tmp_path, FILES, force=True)


def test_a_folder_with_anything_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    names = {"notes.txt", f"{PARTIAL}1-a"}
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"has other files \(notes\.txt\)"):
        check_folder(tmp_path, FILES, force=True)
    assert {path.name for path in tmp_path.iterdir()} == names
