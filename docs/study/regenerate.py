"""Fill docs/study/README.md with what its commands print about the kept ledger, or check it.

    python docs/study/regenerate.py            # fill the page, write the report and the figures
    python docs/study/regenerate.py --check    # write nothing; print differences and exit with 1

Success prints nothing.  Each command takes about a minute on two cores.

A block of the page begins with a comment that holds its command.  A bar separates the command from
the parts of its Markdown output that the page shows.  A part is `answer` (the verdict), `notes`, or
a table, named by how the title of its first column begins (`against 2` is the second of these
tables).  The block ends at the next `<!-- end -->`:

    <!-- orch compare study-cpu --format md | answer, method, against, against 2, notes -->

The ledgers are the packs beside this file (written by `orch pack`).  They are unpacked into a
temporary folder.
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
PAGE = HERE / "README.md"
#: Writes the report and its figures; FIGURES are those that the page shows.
REPORT = "orch report study-cpu -o report.html --figures figures"
FIGURES = ("scores-dev_score", "frontier", "progress-dev_score-minutes", "conflicts")
_BLOCK = re.compile(
    r"<!-- (?P<command>(?:orch|python) [^|\n]+?)(?: \| (?P<parts>[^\n]+?))? -->\n"
    r"(?P<content>.*?)<!-- end -->",
    re.DOTALL,
)
_NUMBERED = re.compile(r"(.*\D) (\d)")


class Ledgers:
    """The sweeps of all packs, unpacked into a folder, and the output of commands about them.

    A command that the page names several times runs once.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._outputs: dict[str, str] = {}
        for pack in sorted(HERE.glob("*.tar.xz")):
            with tarfile.open(pack) as archive:
                archive.extractall(folder / "sweeps", filter="data")

    def output(self, command: str) -> str:
        """Return what a command prints: `orch` runs beside the ledgers, `python` in the project.

        Raises `SystemExit` with the command's message if it fails.
        """
        if command not in self._outputs:
            name, *arguments = shlex.split(command)
            working_folder = self.folder if name == "orch" else ROOT
            program = ["-c", "from orchestrator.cli import main; main()"] if name == "orch" else []
            process = subprocess.run(
                [sys.executable, *program, *arguments],
                cwd=working_folder, capture_output=True, text=True,
                env=os.environ | {"NO_COLOR": "1"},
            )  # fmt: skip
            if process.returncode:
                raise SystemExit(f"{command}: exit code {process.returncode}\n{process.stderr}")
            self._outputs[command] = process.stdout
        return self._outputs[command]

    def block(self, command: str, parts: str | None) -> str:
        """Return the content of a block: the named parts of the output, or all of it as text."""
        output = self.output(command).strip("\n")
        if parts is None:
            lines = (line.rstrip() for line in output.splitlines())
            return "\n".join(["```text", *lines, "```"]) + "\n"
        names = [part.strip() for part in parts.split(",")]
        texts = [_part(output.split("\n\n"), name) for name in names]
        if missing := [name for name, text in zip(names, texts, strict=True) if not text]:
            raise SystemExit(f"{command}: the output has no part {missing[0]}")
        return "\n" + "\n\n".join(texts) + "\n\n"


def _part(paragraphs: list[str], name: str) -> str:
    """Return one paragraph of what `orch compare --format md` prints, or "" if it is missing."""
    if name == "answer":
        return paragraphs[0]
    if name == "notes":
        return paragraphs[-1] if paragraphs[-1].startswith("- ") else ""
    numbered = _NUMBERED.fullmatch(name)
    title, number = (numbered[1], int(numbered[2])) if numbered else (name, 1)
    tables = [paragraph for paragraph in paragraphs if paragraph.startswith(f"| {title}")]
    return tables[number - 1] if len(tables) >= number else ""


def filled(page: str, ledgers: Ledgers) -> str:
    """Return the page with the output that its commands print today."""

    def fill(match: re.Match[str]) -> str:
        opening, _, _ = match[0].partition("\n")
        content = ledgers.block(match["command"], match["parts"])
        return f"{opening}\n{content}<!-- end -->"

    return _BLOCK.sub(fill, page)


def write_report(ledgers: Ledgers) -> None:
    """Write the report and the page's figures beside this file."""
    ledgers.output(REPORT)
    (HERE / "report.html").write_bytes((ledgers.folder / "report.html").read_bytes())
    for name in FIGURES:
        (HERE / f"{name}.svg").write_bytes((ledgers.folder / f"figures/{name}.svg").read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="show what differs, write nothing")
    options = parser.parse_args()
    page = PAGE.read_text()
    with tempfile.TemporaryDirectory() as folder:
        ledgers = Ledgers(Path(folder))
        expected = filled(page, ledgers)
        if not options.check:
            PAGE.write_text(expected)
            write_report(ledgers)
    if options.check and expected != page:
        lines = difflib.unified_diff(
            page.splitlines(),
            expected.splitlines(),
            str(PAGE),
            "what its commands print",
            lineterm="",
        )
        sys.exit("\n".join(lines))


if __name__ == "__main__":
    main()
