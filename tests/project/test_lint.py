"""Formatting, lint and types, so that the README's test command is the whole check."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT


@pytest.mark.parametrize(
    "command",
    [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"]],
    ids=["format", "lint", "types"],
)
def test_the_code_is_clean(command: list[str]) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
