"""Runs the notebook of this folder and keeps what its cells show.

    python docs/guide/notebook.py             # write docs/guide/notebook.ipynb anew
    python docs/guide/notebook.py --check     # only compare; exit code 1 if it shows something else

Words are compared, not numbers: minutes differ from run to run, and scores from one processor to
another.  A cell with the tag `varies` has words that depend on them.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FILE = Path(__file__).with_suffix(".ipynb")
ROOT = FILE.parents[2]
_SECONDS = 600
_NUMBER = re.compile(r"(?<![\w.-])[-+]?\d[\d,]*(\.\d+)?(e-?\d+)?")


def executed(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh run in `folder`.

    Raises nbclient's `CellExecutionError` for a cell that fails.
    """
    result = copy.deepcopy(notebook)
    path = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), path]))}
    client = NotebookClient(result, timeout=_SECONDS, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    for cell in result.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [_without(str(folder), output) for output in _joined(cell.outputs)]
    result.metadata.language_info = {"name": "python"}
    return result


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """The outputs with neighbouring texts of one stream in one; the kernel sends them in pieces."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        streams = output.output_type == "stream" and last is not None
        if streams and last.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _without(folder: str, output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The output with `~` for the folder in which it was made."""
    if output.output_type == "stream":
        output.text = output.text.replace(folder, "~")
    return output


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What must be the same in every run: the text, the code, and the words of the outputs."""
    lines = []
    for cell in notebook.cells:
        lines += cell.source.splitlines()
        if cell.cell_type == "markdown":
            continue
        for output in cell.outputs if "varies" not in cell.metadata.get("tags", ()) else ():
            kinds = {"": output.text} if output.output_type == "stream" else output.data
            texts = [kinds[name] for name in sorted(kinds)]
            lines += [" ".join(_NUMBER.sub("#", str(text)).split()) for text in texts]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    wanted = parser.parse_args()
    kept = nbformat.read(FILE, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        fresh = executed(kept, Path(folder))
    if wanted.check:
        difference = list(difflib.unified_diff(shown(kept), shown(fresh), "kept", "fresh", n=0))
        print("\n".join(difference) or f"{FILE.name} shows what its cells print")
        return 1 if difference else 0
    nbformat.write(fresh, FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
