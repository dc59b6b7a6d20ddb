"""What `tests/cluster/run` lacks is said at once, a line each with the remedy, and exit 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(HERE))
    import needs

    return needs


def test_a_bare_machine_is_told_each_package_and_its_command(tmp_path: Path) -> None:
    copy = tmp_path / "checkout" / "tests" / "cluster"
    copy.mkdir(parents=True)
    for name in ("run", "needs.py"):
        shutil.copy(HERE / name, copy)
    answer = subprocess.run(
        [sys.executable, "-S", copy / "run"], capture_output=True, text=True, timeout=60,
        env={"PATH": str(tmp_path / "nothing")},
    )  # fmt: skip
    lines = answer.stderr.splitlines()
    assert answer.returncode == 2 and answer.stdout == "", answer
    assert all(line.startswith("error: ") for line in lines), lines
    for what, command in (
        ("ip", "apt-get install iproute2"),
        ("unshare", "apt-get install util-linux"),
        ("setpriv", "apt-get install util-linux"),
        ("module ray of the extra `cluster`", "pip install -c constraints.txt -e '.[cluster]'"),
        ("module flask_wtf of the extra `cluster`", "-e '.[cluster]'"),
    ):
        (line,) = (line for line in lines if line.startswith(f"error: {what}: not there; "))
        assert line.endswith(command), line
    assert any("root: not there; sudo " in line for line in lines) == bool(os.geteuid())


@pytest.mark.parametrize("folder", ["/tmp", "/srv", "/run", "/dev/shm"])
def test_a_place_that_every_service_has_its_own_of_is_named(needs: Any, folder: str) -> None:
    (line,) = needs.covered("checkout", Path(folder) / "orch", needs.OWN, "clone it elsewhere")
    own = "which every service has its own of; clone it elsewhere"
    assert line == f"checkout {folder}/orch: below {folder}, {own}"
    assert list(needs.covered("checkout", Path("/opt/tmp/orch"), needs.OWN, "")) == []


def test_a_folder_that_only_its_owner_enters_is_named(
    needs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "OWN", ())
    private = tmp_path / "private"
    (private / "orch").mkdir(parents=True)
    private.chmod(0o700)
    lines = list(needs.out_of_sight("checkout", private / "orch", ""))
    assert f"other users may not enter {private}; chmod o+rx {private}" in lines[0]
    private.chmod(0o755)
    after = list(needs.out_of_sight("checkout", private / "orch", ""))
    assert not any(f"chmod o+rx {private}" == line.partition("; ")[2] for line in after), after


def test_a_folder_without_the_package_is_no_image(needs: Any, tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (line,) = (line for line in needs.lacking(tmp_path) if line.startswith("image "))
    assert f"image {tmp_path}: no opt/orch/bin/orch in it" in line and "podman image mount" in line
    program = tmp_path / "opt/orch/bin/orch"
    program.parent.mkdir(parents=True)
    program.touch()
    assert not any(line.startswith("image ") for line in needs.lacking(tmp_path))
