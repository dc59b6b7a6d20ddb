"""docs/guide/notebook.ipynb runs, and shows what its cells say."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import nbformat
import pytest

from tests.support.paths import ROOT
from tests.support.scripts import script

GUIDE = ROOT / "docs" / "guide"


@pytest.fixture(scope="module")
def notebook() -> ModuleType:
    return script(GUIDE / "notebook.py")


@pytest.fixture(scope="module")
def kept() -> nbformat.NotebookNode:
    return nbformat.read(GUIDE / "notebook.ipynb", as_version=4)


@pytest.mark.slow(reason="starts a kernel, and a sweep in it; 20 seconds")
def test_a_fresh_run_shows_what_the_page_shows(
    notebook: ModuleType, kept: nbformat.NotebookNode, tmp_path: Path
) -> None:
    assert notebook.shown(notebook.executed(kept, tmp_path)) == notebook.shown(kept)


def test_the_page_is_valid_small_and_names_no_folder_of_its_maker(
    kept: nbformat.NotebookNode,
) -> None:
    nbformat.validate(kept)
    text = (GUIDE / "notebook.ipynb").read_text()
    assert len(text) < 60_000
    assert "/tmp" not in text and str(ROOT) not in text
    numbers = [cell.execution_count for cell in kept.cells if cell.cell_type == "code"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert not any(out.output_type == "error" for c in kept.cells for out in c.get("outputs", ()))


def test_words_are_compared_and_numbers_are_not(notebook: ModuleType) -> None:
    def page(text: str, *tags: str) -> list[str]:
        output = nbformat.v4.new_output("stream", text=text)
        cell = nbformat.v4.new_code_cell("f()", outputs=[output], metadata={"tags": list(tags)})
        shown: list[str] = notebook.shown(nbformat.v4.new_notebook(cells=[cell]))
        return shown

    assert page("dev 0.61  [0.5, 1e-3]") == page("dev 0.7 [0.4, 0.02]")
    assert page("YES 0.61") != page("NO 0.61")
    assert page("arrp-12ab") != page("arrp-12ac")
    assert page("YES", "varies") == page("NO", "varies") == ["f()"]
