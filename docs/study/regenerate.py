"""Everything in docs/study.md that a command printed, printed anew from the packed sweep.

    python docs/study/regenerate.py

unpacks `study-cpu.tar.xz`, runs every command that the page quotes, puts what it prints in the
place of what stood there, and writes the report and its figures.  tests/test_study_page.py holds
that the page's text is what the commands print.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "study.md"
PACK = HERE / "study-cpu.tar.xz"
#: What of the report's figures the page shows.
FIGURES = ("frontier.svg", "curves.svg", "conflicts.svg")
#: A command alone in a line, the Markdown that it prints, and the end of that ...
_MARKDOWN = re.compile(r"^(`\$ (orch [^`\n]+)`\n\n).*?(\n<!-- end -->)$", re.MULTILINE | re.DOTALL)
#: ... or a console with a command and what it prints.
_CONSOLE = re.compile(r"^(```console\n\$ (orch [^\n]+)\n).*?(^```)$", re.MULTILINE | re.DOTALL)


def unpack(folder: Path) -> None:
    """The sweep, as `folder`/sweeps/study-cpu."""
    (folder / "sweeps").mkdir()
    subprocess.run(["tar", "xf", PACK, "-C", folder / "sweeps"], check=True)


def run(command: str, folder: Path) -> str:
    """What `orch ...` prints in a folder with the unpacked sweep."""
    start = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
    words = shlex.split(command)[1:]
    done = subprocess.run([*start, *words], cwd=folder, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def regenerated(page: str, folder: Path) -> str:
    """The page with what its commands print now."""
    for quoted in (_MARKDOWN, _CONSOLE):
        page = quoted.sub(lambda m: f"{m[1]}{run(m[2], folder).strip(chr(10))}\n{m[3]}", page)
    return page


def commands(page: str) -> list[str]:
    """Those whose output the page holds."""
    return [found[2] for quoted in (_MARKDOWN, _CONSOLE) for found in quoted.finditer(page)]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(folder)
        PAGE.write_text(regenerated(PAGE.read_text(), folder))
        run("orch report study-cpu -o report.html --figures figures", folder)
        shutil.copy(folder / "report.html", HERE)
        for figure in FIGURES:
            shutil.copy(folder / "figures" / figure, HERE)


if __name__ == "__main__":
    main()
