"""The same answer wherever a sweep's answer is shown: terminal, JSON, report.html and MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from orchestrator.cli.sweep import _print_end
from orchestrator.database_urls import resolve_uri
from orchestrator.decision.answer.block import WIDTH
from orchestrator.ledger.sweep_id import sweep_id
from orchestrator.sweep import SweepOutcome
from orchestrator.tracking import MlflowProjection, SweepArtifacts, SweepDescription
from orchestrator.tracking.projections import sync
from tests.orchestrator.report.test_report import Page
from tests.support.command import orch
from tests.support.decided import SimulatedSweep, sweep_spec
from tests.support.simulated import World

URI = "sqlite:///mlflow.db"


def simulated(out: Path, skill: dict[str, float], **changes: Any) -> SimulatedSweep:
    changes = {"tracking": {"registered_model": "none", "study": "none"}} | changes
    world = World.of(np.random.default_rng(0), 0.02, sst=400, qqp=400, sts=200)
    sweep = SimulatedSweep(
        out, sweep_spec(**changes), world, lambda config: skill[config.sampler] + config.seed / 5000
    )
    sweep.search()
    return sweep


def yes(out: Path) -> SimulatedSweep:
    sweep = simulated(out, {"arrp": 0.7, "annealed": 0.7})
    sweep.time(0.8)
    sweep.confirm()
    return sweep


def no(out: Path) -> SimulatedSweep:
    sweep = simulated(out, {"arrp": 0.5, "annealed": 0.7})
    sweep.confirm()
    return sweep


def unconfirmed(out: Path) -> SimulatedSweep:
    return simulated(out, {"arrp": 0.7, "annealed": 0.7}, question="Is `it` *so*?")


def same(out: Path) -> SimulatedSweep:
    decide = {"ask": "score", "margin": 0.02, "looks": [3, 8], "budget": {"share": 100.0}}
    sweep = simulated(out, {"arrp": 0.7, "annealed": 0.7}, decide=decide)
    sweep.confirm()
    return sweep


def old(out: Path) -> SimulatedSweep:
    return simulated(out, {"arrp": 0.5, "annealed": 0.7}, decide=None)


def words(text: str) -> str:
    """The text with single spaces."""
    return " ".join(text.split())


def note_of(out: Path) -> tuple[Any, dict[str, str]]:
    """The sweep's own run, and the tags of its experiment."""
    client = MlflowClient(resolve_uri(URI, out))
    experiment = client.get_experiment_by_name("s")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.kind = 'sweep'")
    return parent, experiment.tags


@pytest.mark.parametrize(
    ("make", "verdict"),
    [
        (yes, "YES"), (no, "NO"), (unconfirmed, "NOT DECIDED"),
        (same, "NO DIFFERENCE THAT MATTERS"), (old, "NO"),
    ],
)  # fmt: skip
def test_one_ledger_has_one_answer_everywhere(
    make: Callable[[Path], SimulatedSweep], verdict: str, tmp_path: Path, database: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "sweeps"
    sweep = make(out)
    _print_end(SweepOutcome(0), sweep.ledger, sweep.spec, as_json=False)
    printed = capsys.readouterr().out
    _print_end(SweepOutcome(0), sweep.ledger, sweep.spec, as_json=True)
    of_sweep = json.loads(capsys.readouterr().out)
    text = of_sweep["answer"]
    assert text.startswith(f"{verdict}. ") and of_sweep["verdict"] == verdict

    # The terminal: at the end of a sweep, and on top of `orch compare`.
    shown = orch("compare", "s", cwd=tmp_path).stdout
    the_block = shown[: shown.index("\n\n", shown.index("Next:"))]
    assert printed.rstrip().endswith(the_block)
    assert text in words(the_block) and max(map(len, the_block.splitlines())) <= WIDTH
    as_markdown = orch("compare", "s", "--format", "md", cwd=tmp_path).stdout
    assert as_markdown.startswith(f"**{text}**\n\n```")
    latex = orch("compare", "s", "--format", "latex", cwd=tmp_path).stdout
    assert latex.startswith("% ") and text in words(latex.replace("%", ""))

    # JSON.
    for command in ("compare", "report"):
        fields = json.loads(orch(command, "s", "--json", cwd=tmp_path).stdout)
        for key in ("verdict", "answer", "decision"):
            assert fields[key] == of_sweep[key], (command, key)
    assert fields["decision"]["verdict"] == verdict

    # The page.
    page = Page((tmp_path / "s.html").read_text())
    assert verdict in page.text("strong") and text.removeprefix(f"{verdict}. ") in page.text("p")
    assert page.text("h1") == of_sweep["decision"]["question"]
    for line in (of_sweep["decision"]["how"], *of_sweep["decision"]["notes"]):
        assert line in page.text("p")
    first = of_sweep["decision"]["contests"][0]["difference"]["value"]
    assert f"{first:+.3f}" in page.text("td") or f"{first:+.4f}" in page.text("td")
    assert "orch compare s" in page.text("code")

    # MLflow: the sweep's run and its experiment.
    (out / "mlflow.db").write_bytes(database)
    sync(sweep.ledger, sweep.spec.to_dict(), print)
    parent, experiment = note_of(out)
    tags, metrics = parent.data.tags, parent.data.metrics
    assert tags["verdict"] == verdict
    assert tags["mlflow.note.content"] == experiment["mlflow.note.content"]
    note = tags["mlflow.note.content"].partition("\n\nBest trial: ")[0]
    # Its first line is plain, because the list of experiments shows it as it is.
    assert note.startswith(f"{text}\n\n")
    assert as_markdown.replace(f"**{text}**", text, 1).startswith(note)
    assert metrics["decision/difference"] == pytest.approx(first)
    ratio = of_sweep["decision"]["contests"][0]["minutes_ratio"]
    assert metrics.get("decision/minutes_ratio") == (ratio and pytest.approx(ratio["value"]))
    assert metrics.get("decision/minutes_ratio_high") == (ratio and pytest.approx(ratio["high"]))


def test_mlflow_notices_fresh_seeds_a_timing_and_a_dropped_decision(
    tmp_path: Path, database: bytes
) -> None:
    (tmp_path / "mlflow.db").write_bytes(database)
    sweep = simulated(tmp_path, {"arrp": 0.7, "annealed": 0.7})
    made: list[str] = []

    def artifacts(progress: Callable[[], None]) -> SweepArtifacts:
        made.append(sweep.answer().verdict)
        return SweepArtifacts(sweep.answer())

    def shown() -> str:
        """The verdict that MLflow has after another run of the sweep."""
        description = SweepDescription("s")
        projection = MlflowProjection(URI, description, sweep.ledger, artifacts=artifacts)
        projection.finish("FINISHED", sweep.ledger.trial_ids())
        return str(note_of(tmp_path)[0].data.tags["verdict"])

    assert [shown(), shown()] == ["NOT DECIDED"] * 2 and len(made) == 1
    sweep.time(0.8)
    assert shown() == "NOT DECIDED" and len(made) == 2
    sweep.confirm()
    assert [shown(), shown()] == ["YES"] * 2 and len(made) == 3
    path = tmp_path / "s" / "sweep.yaml"
    path.write_text(sweep.spec.to_yaml())  # as `--reopen` leaves it
    assert shown() == "NOT DECIDED" and len(made) == 4


def test_an_experiment_keeps_its_answer_while_the_sweep_runs_again(
    tmp_path: Path, database: bytes
) -> None:
    (tmp_path / "mlflow.db").write_bytes(database)
    sweep = no(tmp_path)
    sync(sweep.ledger, sweep.spec.to_dict(), print)
    before = note_of(tmp_path)[1]["mlflow.note.content"]
    assert before.startswith("NO. ")
    description = SweepDescription("s", "Is it so?", sweep_id(sweep.ledger.folder))
    MlflowProjection(URI, description, sweep.ledger).begin()
    assert note_of(tmp_path)[1]["mlflow.note.content"] == before
