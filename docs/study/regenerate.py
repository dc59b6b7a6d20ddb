"""Fill docs/study.md with what its commands print of the kept ledgers, or check that it holds that.

    python docs/study/regenerate.py            # fill the page, draw report and figures
    python docs/study/regenerate.py --check    # say where the page differs (exit 1), write nothing

A block of the page begins with a comment that holds its command and, behind a bar, which parts of
the command's Markdown are wanted: `answer`, `notes`, and tables by how their first column's name
begins (`against 2`: the second of these).  It reaches to the next `<!-- end -->`:

    <!-- orch compare study-cpu --format md | answer, method, against, against 2, notes -->

The ledgers are the packs beside this file (`orch pack`), unpacked into a temporary folder.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = HERE.parent / "study.md"
#: What the page shows of the report's figures, and the report itself.
REPORT = "orch report study-cpu -o report.html --figures figures"
FIGURES = ("scores-dev_score", "frontier", "progress-dev_score-minutes", "conflicts")
_BLOCK = re.compile(
    r"<!-- (?P<command>(?:orch|python) [^|\n]+?)(?: \| (?P<parts>[^\n]+?))? -->\n"
    r"(?P<content>.*?)<!-- end -->",
    re.DOTALL,
)
_NUMBERED = re.compile(r"(.*\D) (\d)")


class Ledgers:
    """The packs' sweeps in a folder, and what commands print there, each asked once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._printed: dict[str, str] = {}
        for pack in sorted(HERE.glob("*.tar.xz")):
            with tarfile.open(pack) as archive:
                archive.extractall(folder / "sweeps", filter="data")

    def printed(self, command: str) -> str:
        """What `orch` prints beside the ledgers, or `python` in the project's folder.

        Raises `SystemExit` with a command's complaint.
        """
        if command not in self._printed:
            name, *arguments = shlex.split(command)
            place = self.folder if name == "orch" else ROOT
            program = ["-c", "from orchestrator.cli import main; main()"] if name == "orch" else []
            done = subprocess.run(
                [sys.executable, *program, *arguments],
                cwd=place, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"},
            )  # fmt: skip
            if done.returncode:
                raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stderr}")
            self._printed[command] = done.stdout
        return self._printed[command]

    def block(self, command: str, parts: str | None) -> str:
        """A block's content."""
        printed = self.printed(command).strip("\n")
        if parts is None:
            lines = (line.rstrip() for line in printed.splitlines())
            return "\n".join(["```text", *lines, "```"]) + "\n"
        found = [_part(printed.split("\n\n"), part.strip()) for part in parts.split(",")]
        if missing := [
            part for part, text in zip(parts.split(","), found, strict=True) if not text
        ]:
            raise SystemExit(f"{command}: prints no {missing[0].strip()}")
        return "\n" + "\n\n".join(found) + "\n\n"


def _part(pieces: list[str], name: str) -> str:
    """One of the pieces that `orch compare --format md` prints; empty if there is none."""
    if name == "answer":
        return pieces[0]
    if name == "notes":
        return pieces[-1] if pieces[-1].startswith("- ") else ""
    numbered = _NUMBERED.fullmatch(name)
    begins, place = (numbered[1], int(numbered[2])) if numbered else (name, 1)
    tables = [piece for piece in pieces if piece.startswith(f"| {begins}")]
    return tables[place - 1] if len(tables) >= place else ""


def filled(page: str, ledgers: Ledgers) -> str:
    """The page with what its commands print today."""

    def fill(match: re.Match[str]) -> str:
        opening, _, _ = match[0].partition("\n")
        content = ledgers.block(match["command"], match["parts"])
        return f"{opening}\n{content}<!-- end -->"

    return _BLOCK.sub(fill, page)


def draw(ledgers: Ledgers) -> None:
    """The report and the page's figures, beside this file."""
    ledgers.printed(REPORT)
    (HERE / "report.html").write_bytes((ledgers.folder / "report.html").read_bytes())
    for name in FIGURES:
        (HERE / f"{name}.svg").write_bytes((ledgers.folder / f"figures/{name}.svg").read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="say what differs, write nothing")
    options = parser.parse_args()
    page = PAGE.read_text()
    with tempfile.TemporaryDirectory() as folder:
        ledgers = Ledgers(Path(folder))
        made = filled(page, ledgers)
        if not options.check:
            PAGE.write_text(made)
            draw(ledgers)
    if options.check and made != page:
        lines = difflib.unified_diff(
            page.splitlines(), made.splitlines(), str(PAGE), "what its commands print", lineterm=""
        )
        sys.exit("\n".join(lines))


if __name__ == "__main__":
    main()
