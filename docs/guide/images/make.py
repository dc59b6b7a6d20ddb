"""Makes every picture of the docs anew, from a sweep that it runs.

    python docs/guide/images/make.py                      # all; 6 minutes on 2 cores
    python docs/guide/images/make.py report-phone.png     # some of them
    python docs/guide/images/make.py --out sweeps         # from the sweep there, if it has one

It needs Chromium with its chromedriver. The sweep is `arrp` with the profile `embedded`, whose
sentences
are generated, so no picture shows sentences of real data.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from terminal import drawing, screen

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
sys.path.insert(0, str(ROOT))  # it is run as a file, and the tests' browser is no package

from orchestrator.tracking import mlflow_views  # noqa: E402
from tests.support.browser import started  # noqa: E402

SWEEP = "arrp-embedded"
_ORCH = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
_LOADED = "document.readyState == 'complete' && location.href != 'about:blank'"
#: MLflow's assistant would cover a quarter of each page.
_NO_ASSISTANT = """
if (location.protocol.startsWith('http')) {
    localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
    localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
}
"""


@dataclass(frozen=True)
class Page:
    """A picture of a page.

    Attributes:
        address: of the page, from the place of the sweep's pages.
        ready: JavaScript that is true once the page shows what it should.
        then: JavaScript that runs before the picture is taken.
    """

    address: Callable[[Places], str]
    ready: str
    then: str = ""
    width: int = 1280
    height: int = 900


@dataclass(frozen=True)
class Places:
    """Where the pages of the sweep are.

    Attributes:
        out: the folder of all sweeps.
        server: MLflow's address.
        report: the report's file.
    """

    out: Path
    server: str
    report: Path

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.out}/mlflow.db")

    @property
    def experiment(self) -> str:
        return str(self.client.get_experiment_by_name(SWEEP).experiment_id)

    def runs(self, kind: str) -> list[str]:
        """The ids of the runs of a kind, `sweep` or `trial`, best first."""
        wanted, order = f"tags.kind = '{kind}'", ["metrics.`dev/score` DESC"]
        runs = self.client.search_runs([self.experiment], wanted, order_by=order)
        return [str(run.info.run_id) for run in runs]


def _charts(places: Places) -> str:
    return mlflow_views.address(places.server, places.experiment)


def _table(places: Places) -> str:
    return _charts(places).replace("compareRunsMode=CHART", "compareRunsMode=TABLE")


def _sweeps_run(places: Places) -> str:
    return f"{places.server}/#/experiments/{places.experiment}/runs/{places.runs('sweep')[0]}"


def _comparison(places: Places) -> str:
    ids = ",".join(f'"{run}"' for run in places.runs("trial"))
    experiments = quote(f'["{places.experiment}"]')
    return f"{places.server}/#/compare-runs?runs={quote(f'[{ids}]')}&experiments={experiments}"


def _model(places: Places) -> str:
    return f"{places.server}/#/models/{SWEEP}"


def _report(places: Places) -> str:
    return places.report.resolve().as_uri()


def _shown(words: str) -> str:
    return f"document.body.innerText.includes({words!r})"


def _click(words: str) -> str:
    buttons = "[...document.querySelectorAll('button, a')]"
    return f"{buttons}.filter(each => each.innerText.trim() == {words!r})[0].click()"


def _scroll_to(target: str) -> str:
    opened = "document.querySelectorAll('details').forEach(each => each.open = true)"
    return f"{opened}; document.querySelector({target!r}).scrollIntoView()"


PAGES = {
    "mlflow-charts.png": Page(_charts, _shown("Parallel Coordinates")),
    "mlflow-runs.png": Page(_table, _shown("matching runs"), width=1440),
    "mlflow-sweep.png": Page(_sweeps_run, _shown("Show more"), _click("Show more")),
    "mlflow-compare.png": Page(_comparison, _shown("Parallel Coordinates Plot"), height=640),
    "mlflow-model.png": Page(_model, _shown("Version 1"), height=660),
    "report-head.png": Page(_report, _LOADED, height=800),
    "report-phone.png": Page(_report, _LOADED, width=390, height=844),
    "report-curves.png": Page(_report, _LOADED, _scroll_to("#learning-curves"), height=540),
    "report-trial.png": Page(_report, _LOADED, _scroll_to("[id$=-confusion]"), height=1240),
}  # fmt: skip
#: Commands with the columns of their terminal.
TERMINALS = {
    "terminal-compare.svg": (("compare", SWEEP), 100),
}


def orch(*arguments: str | Path, out: Path) -> None:
    subprocess.run([*_ORCH, *map(str, arguments), "--out", str(out)], cwd=ROOT, check=True)


@contextmanager
def mlflow(out: Path) -> Iterator[str]:
    """`orch ui` on a free port; yields MLflow's address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*_ORCH, "ui", "--no-open", "--port", str(port), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "answers" in line:
                yield f"http://127.0.0.1:{port}"
                return
        raise RuntimeError("orch ui ended")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def make(wanted: list[str], out: Path) -> None:
    """Make these pictures; runs the sweep first, unless `out` has it."""
    os.environ["PYTHONPATH"] = str(ROOT)
    if not (out / SWEEP).exists():
        orch("sweep", "search_spaces/arrp.yaml", "--profile", "embedded", out=out)
    for name in (name for name in wanted if name in TERMINALS):
        arguments, columns = TERMINALS[name]
        text = screen([*_ORCH, *arguments, "--out", out.name], columns, out.parent)
        (FOLDER / name).write_text(drawing(text, f"orch {' '.join(arguments)}", columns))
        print(name, flush=True)
    if not set(wanted) & set(PAGES):
        return
    orch("sync", SWEEP, out=out)
    report = out / "report.html"
    orch("report", SWEEP, "-o", report, out=out)
    with (
        mlflow(out) as server,
        tempfile.TemporaryDirectory() as profile,
        started(Path(profile)) as browser,
    ):
        browser.before_pages(_NO_ASSISTANT)
        places = Places(out, server, report)
        for name in (name for name in wanted if name in PAGES):
            page = PAGES[name]
            browser.open("about:blank", page.width)  # an address that differs in #... is no page
            browser.open(page.address(places), page.width, height=page.height)
            browser.wait_for(f"return {page.ready}", 90)
            if page.then:
                browser.run(page.then)
            browser.small_picture(FOLDER / name)
            print(name, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    known = [*TERMINALS, *PAGES]
    parser.add_argument("names", nargs="*", metavar="PICTURE", help=f"of {', '.join(known)}")
    parser.add_argument("--out", type=Path, help="a folder of sweeps to use")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(known):
        parser.error(f"no picture {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    with tempfile.TemporaryDirectory() as folder:
        make(chosen.names or known, (chosen.out or Path(folder, "sweeps")).resolve())


if __name__ == "__main__":
    main()
