"""Mutants of a pack: `orch unpack` makes a sweep of its own files, or nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.ledger.archive import pack
from orchestrator.ledger.tar_members import PackError
from orchestrator.ledger.unpack import _FILES, unpack
from tests.support.ledgers import write_trial
from tests.support.limits import Beyond, limits
from tests.support.text_mutants import mutated_pack


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("packed")
    for seed in (1, 2):
        write_trial(folder / "s", [0.4, 0.5], sampler="arrp", seed=seed)
    (folder / "s" / "sweep.yaml").write_text("name: s\nquestion: Which?\n")
    return pack(Ledger(folder, "s")).content


def attack(packed: bytes, folder: Path, seed: int) -> str:
    """What is wrong with how a mutant was unpacked; empty if nothing."""
    folder.mkdir()
    (folder / "p").write_bytes(mutated_pack(packed, random.Random(seed)))
    refused = False
    try:
        with limits():
            unpack(folder / "p", folder / "out")
    except PackError as error:
        refused = True
        if len(str(error)) > 10_000 or len(str(error).splitlines()) > 1:
            return f"seed {seed}: {str(error)[:200]!r}"
    except (Exception, Beyond) as error:
        return f"seed {seed}: {type(error).__name__}: {str(error)[:500]}"
    out = folder / "out"
    if sorted(path.name for path in folder.iterdir()) != ["out", "p"]:
        return f"seed {seed}: made {list(folder.iterdir())}"
    made = [path for path in out.rglob("*") if path.is_symlink() or not path.is_dir()]
    if (refused and list(out.iterdir())) or any(map(_is_foreign, made)):
        return f"seed {seed}: made {made}"
    inside = ["/".join(path.relative_to(out).parts[1:]) for path in made]
    if not all(map(_FILES.fullmatch, inside)):
        return f"seed {seed}: made {inside}"
    return ""


def _is_foreign(path: Path) -> bool:
    return path.is_symlink() or not path.is_file() or bool(path.stat().st_mode & 0o7111)


def problems(packed: bytes, folder: Path, first: int, count: int) -> list[str]:
    found = []
    for seed in range(first, first + count):
        found.append(attack(packed, folder / "mutant", seed))
        shutil.rmtree(folder / "mutant")
    return [problem for problem in found if problem]


def test_a_mutant_is_unpacked_or_refused(packed: bytes, tmp_path: Path) -> None:
    found = problems(packed, tmp_path, 0, 100)
    assert not found, "\n".join(found)


@pytest.mark.exhaustive(reason="10,000 mutants take minutes")
def test_ten_thousand_mutants_are_unpacked_or_refused(packed: bytes, tmp_path: Path) -> None:
    found = problems(packed, tmp_path, 1_000, 10_000)
    assert not found, "\n".join(found)
