"""Everything in docs/study.md that a command printed, printed anew from the packed sweep.

    python docs/study/regenerate.py

unpacks `study-cpu.tar.xz`, runs every command that the page quotes, puts what it prints in the
place of what stood there, and writes the report and its figures.  tests/test_study_page.py holds
that the page's text is what the commands print.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "study.md"
PACK = HERE / "study-cpu.tar.xz"
#: A command alone in a line, what it prints, and the end of that.
QUOTED = re.compile(r"^`\$ (orch [^`\n]+)`\n\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)


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
    return QUOTED.sub(
        lambda found: f"`$ {found[1]}`\n\n{run(found[1], folder).strip()}\n\n<!-- end -->", page
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(folder)
        PAGE.write_text(regenerated(PAGE.read_text(), folder))
        report = shlex.quote(str(HERE / "report.html"))
        run(f"orch report study-cpu -o {report} --figures {shlex.quote(str(HERE))}", folder)


if __name__ == "__main__":
    main()
