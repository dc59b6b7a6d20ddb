"""The scenes of the first hour, in the order in which a new user meets them."""

from __future__ import annotations

import html
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from tests.first_hour.album import Album
from tests.first_hour.terminal import Terminal
from tests.support.browser import Browser
from tests.support.paths import ROOT
from tests.support.scripts import script

#: The sweep of README's first command.
NAME = "arrp-embedded"
SWEEP = "orch sweep search_spaces/arrp.yaml --profile embedded"
#: Widths at which tables must be right, in characters.
WIDTHS = (40, 60, 80, 120, 200)


@dataclass
class Walk:
    """Where the user works, what was photographed, and what was not as it must be."""

    folder: Path
    album: Album
    browser: Browser
    complaints: list[str] = field(default_factory=list)

    def terminal(self, columns: int = 100, lines: int = 30) -> Terminal:
        kept = ("HOME", "PIP_CONFIG_FILE", "SSL_CERT_FILE", "PIP_FIND_LINKS")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        binaries = str(Path(sys.executable).parent)
        environment |= {
            "PATH": os.pathsep.join([binaries, "/usr/local/bin", "/usr/bin", "/bin"]),
            "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8",
        }  # fmt: skip
        return Terminal(self.folder, environment, columns, lines)

    def expect(self, true: object, complaint: str) -> None:
        if not true:
            print(f"   NOT SO: {complaint}", flush=True)
            self.complaints.append(complaint)


def arrive(walk: Walk) -> None:
    """Help, version, a look at the machine and at what a sweep would do, and first mistakes."""
    with walk.terminal(80, 60) as shell:
        for name, line in {
            "help": "orch --help", "version": "orch --version; orch sweep -h",
            "doctor": "orch doctor search_spaces/arrp.yaml --profile embedded",
            "dry-run": f"{SWEEP} --dry-run",
            "dry-run-why": f"set -o pipefail; {SWEEP} --dry-run --why | head -n 30; echo exit $?",
        }.items():  # fmt: skip
            shell.run(line)
            walk.album.screen(shell, name, history=True)
        shell.clear()
        for line in (
            "orch sweep arp.yaml", "orch sweep arrp --dry-run | head -n 1", "orch swep",
            "orch ls", "orch show nothing", f"{SWEEP} --set base.sampel=arrp",
            f"{SWEEP} --set base.sampler=arp",
        ):  # fmt: skip
            shell.type(line)
            shell.wait_for_prompt(60)
        walk.album.screen(shell, "mistakes", history=True)
        walk.expect("Traceback" not in shell.text(True), "a mistake gives no traceback")
        walk.expect("arrp.yaml" in shell.text(True), "arp.yaml is answered by arrp.yaml")


def first_sweep(walk: Walk) -> None:
    """README's sweep: its start, its live view, a second terminal, Ctrl-C and the resume."""
    with walk.terminal(100, 30) as shell, walk.terminal(80, 24) as second:
        shell.type(SWEEP)
        shell.wait_for(r"(?s)user\$.*\n\S", 3)  # something is said within three seconds
        for name in ("start", "start-later", "ray"):
            walk.album.screen(shell, name)
            second.run("sleep 3")
        shell.wait_for(r"\d+ running", 120)
        walk.album.screen(shell, "live")
        second.type(f"orch watch {NAME}")
        second.wait_for(r"\d+ running", 60)
        walk.album.screen(second, "watch")
        second.press("C-c")
        second.wait_for_prompt(5)
        second.run("orch ls; orch show " + NAME)
        walk.album.screen(second, "ls-and-show", history=True)
        walk.expect("running" in second.text(True), "ls and show say that trials run")
        for columns, lines in ((80, 24), (60, 12), (40, 24), (120, 40)):
            shell.resize(columns, lines)
            second.run("sleep 1")
            walk.album.screen(shell, f"live-{columns}x{lines}")
        shell.press("C-c")
        waited = shell.wait_for(r"(?i)stopping|commit|interrupt", 5)
        walk.expect(waited <= 1.2, f"the first Ctrl-C was answered after {waited:.1f} s")
        time.sleep(0.5)  # two that are closer count as one
        shell.press("C-c")
        waited = shell.wait_for_prompt(60)
        walk.expect(waited <= 2.3, f"the prompt returned {waited:.1f} s after the second Ctrl-C")
        walk.album.screen(shell, "ctrl-c-twice")
        shell.clear()
        shell.type(SWEEP)
        shell.wait_for(r"\d+ running", 120)
        walk.album.screen(shell, "resumed")
        shell.wait_for(r"confirming", 400)
        second.run("sleep 2")
        walk.album.screen(shell, "later")
        shell.wait_for_prompt(500)
        walk.album.screen(shell, "end", history=True)


def results(walk: Walk) -> None:
    """Every command that reads, at every width."""
    with walk.terminal(100, 40) as shell:
        for columns in WIDTHS:
            shell.resize(columns, 40)
            for command in ("compare", "show"):
                text = shell.run(f"orch {command} {NAME}")
                walk.album.screen(shell, f"{command}-{columns}", history=True)
                wide = max(len(line) for line in text.splitlines())
                walk.expect(wide <= columns, f"{command} at {columns}: a line of {wide}")
        shell.resize(100, 40)
        trials = re.findall(r"(?m)^(arrp-[0-9a-f]{12})", shell.run(f"orch show {NAME}"))
        walk.expect(len(trials) > 2, "trial ids stand whole at 100 columns")
        for name, line in {
            "show-trial": f"orch show {NAME} {trials[0]}",
            "best": f"orch best {NAME}", "logs": f"orch logs {NAME} {trials[0]} | tail -n 8",
            "diff": f"orch diff {trials[0]} {trials[-1]}",
            "compare-why": f"orch compare {NAME} --why",
            "compare-published": f"orch compare {NAME} --published",
            "plan": "orch plan search_spaces/arrp.yaml --profile embedded",
            "predict": f'echo "a warm and funny film" | orch predict {NAME} - --task sst',
            "pipe": f"set -o pipefail; orch show {NAME} | head -n 2; echo exit $?",
            "wrong-trial": f"orch show {NAME} arrp-; orch compare {NAME} --baseline anealed",
        }.items():  # fmt: skip
            text = shell.run(line)
            walk.album.screen(shell, name, history=True)
            walk.expect("Traceback" not in text, f"{name}: a traceback")


def report(walk: Walk) -> None:
    """The report at two widths and on paper."""
    with walk.terminal() as shell:
        shell.run(f"orch report {NAME} -o report.html")
        walk.album.screen(shell, "report-command")
    page = walk.folder / "report.html"
    for width, height in ((1280, 800), (390, 844)):
        walk.album.window(page, f"report-{width}-fold", width, height)
        walk.album.whole(page, f"report-{width}", width)
    sheets = walk.album.printed(page, "report-sheet")
    shortest = min(len(sheet.split("\n")) for sheet in sheets)
    walk.expect(shortest > 3, f"a printed page of {shortest} lines")


def mlflow(walk: Walk) -> None:
    """MLflow's page as `orch ui` opens it."""
    with walk.terminal(100, 20) as shell:
        shell.type(f"orch ui {NAME} --port 5077 --no-open")
        shell.wait_for(r"http://127\.0\.0\.1:5077\S*", 120)
        address = re.findall(r"http://\S+", shell.text().replace("\n", ""))[0].rstrip(".,")
        shell.wait_for(r"(?i)answers|ready", 120)
        walk.album.screen(shell, "ui")
        for width in (1280, 390):
            walk.browser.open(address, width)
            _settled(walk)
            walk.album.now(f"mlflow-{width}")
        shell.press("C-c")
        shell.wait_for_prompt(15)


def notebook(walk: Walk) -> None:
    """The guide's notebook, executed in the user's folder."""
    guide = ROOT / "docs" / "guide"
    kept = nbformat.read(guide / "notebook.ipynb", as_version=4)
    executed = script(guide / "notebook.py").executed(kept, walk.folder)
    page = walk.folder / "notebook.html"
    page.write_text("".join([_NOTEBOOK, *map(_cell, executed.cells)]))
    walk.album.whole(page, "notebook", 1000)


_NOTEBOOK = """<!doctype html><meta charset="utf-8"><style>
body { font: 14px/1.4 sans-serif; margin: 20px; max-width: 900px }
pre { white-space: pre-wrap } .code { background: #f4f4f4; padding: 6px }
</style>"""


def _cell(cell: nbformat.NotebookNode) -> str:
    """A cell with what it shows, roughly as Jupyter draws it."""
    kind = "code" if cell.cell_type == "code" else "words"
    parts = [f'<pre class="{kind}">{html.escape(cell.source)}</pre>']
    for output in cell.get("outputs", []):
        data = output.get("data", {"text/plain": output.get("text", "")})
        plain = f"<pre>{html.escape(str(data.get('text/plain', '')))}</pre>"
        parts.append(str(data.get("text/html", plain)))
    return "".join(parts)


def tutorial(walk: Walk) -> None:
    """The tutorial's commands, one block after the other, as they stand."""
    text = (ROOT / "docs" / "guide" / "tutorial.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    brought = walk.folder / "packages"  # not into the environment that runs this
    with walk.terminal(100, 40) as shell:
        shell.run(f"export PIP_TARGET={brought} PYTHONPATH={brought}:{ROOT}")
        for number, block in enumerate(blocks, 1):
            script = walk.folder / f"block-{number}.sh"
            script.write_text(re.sub(r"(?m)^(orch time .*)$", r"\1 --patience 0", block))
            shell.run(f". {script}", 600)
            walk.album.screen(shell, f"tutorial-{number}", history=True)
            walk.expect("Traceback" not in shell.text(True), f"block {number}: a traceback")


def farewell(walk: Walk) -> None:
    """Clearing up."""
    with walk.terminal(80, 24) as shell:
        shell.type(f"orch rm {NAME}")
        shell.wait_for(r"\[y/N\]", 30)
        walk.album.screen(shell, "rm")
        shell.type("y")
        shell.wait_for_prompt(60)
        shell.type("orch ls")
        shell.wait_for_prompt(20)
        walk.album.screen(shell, "after-rm")


def _settled(walk: Walk) -> None:
    """MLflow draws its page in steps; it has settled when its text has stayed for two seconds."""
    same, last = 0, ""
    for _ in range(150):
        text = str(walk.browser.run("return document.body.innerText"))
        same = same + 1 if text == last and len(text) > 100 else 0
        last = text
        if same == 10:
            return
        time.sleep(0.2)


SCENES: dict[str, Callable[[Walk], None]] = {
    each.__name__: each
    for each in (arrive, first_sweep, results, report, mlflow, notebook, tutorial, farewell)
}
