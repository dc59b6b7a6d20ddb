"""docs/study/README.md shows what its commands print about the kept ledger."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.paths import ROOT
from tests.support.scripts import script

STUDY = ROOT / "docs" / "study"
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@pytest.fixture(scope="module")
def regenerate() -> ModuleType:
    return script(STUDY / "regenerate.py")


def alike(one: str, other: str) -> bool:
    """Whether two lines have the same words, and numbers that differ by one unit of their last
    digit at most.  Another processor adds in another order, which changes the rounding."""
    if re.sub(r"\d", "0", one) != re.sub(r"\d", "0", other):
        return False
    for a, b in zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True):
        unit = 10.0 ** -len(a.partition(".")[2]) if "." in a else 0.0
        if abs(float(a.replace(",", "")) - float(b.replace(",", ""))) > 1.01 * unit:
            return False
    return True


def test_numbers_may_differ_by_rounding_and_by_nothing_else() -> None:
    assert alike("0.6608 [0.6405, 1,200]", "0.6609 [0.6404, 1,200]")
    assert not alike("0.6608", "0.6610") and not alike("12 seeds", "13 seeds")
    assert not alike("better 0.1", "worse 0.1") and not alike("0.66", "0.660")


@pytest.mark.slow(reason="computes every answer of the kept study")
def test_the_page_holds_what_its_commands_print(regenerate: ModuleType, tmp_path: Path) -> None:
    page = regenerate.PAGE.read_text()
    expected = regenerate.filled(page, regenerate.Ledgers(tmp_path))
    assert expected.count("<!-- end -->") == page.count("<!-- end -->") > 10
    for one, other in zip(page.splitlines(), expected.splitlines(), strict=True):
        assert alike(one, other), f"the page: {one}\nits command: {other}"


def test_figures_and_report_are_there_and_hold_no_sentence(regenerate: ModuleType) -> None:
    page = regenerate.PAGE.read_text()
    for name in regenerate.FIGURES:
        assert f"({name}.svg)" in page and (STUDY / f"{name}.svg").is_file()
    report = (STUDY / "report.html").read_text()
    assert "by id, without their text" in report
    with tarfile.open(STUDY / "study-cpu.tar.xz") as pack:
        names = pack.getnames()
    assert names and not any("log" in Path(name).parts or "text" in name for name in names)
