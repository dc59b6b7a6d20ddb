"""Why methods differ: plain rows, and tables where they are asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from orchestrator.compare.output import formats, tables
from orchestrator.ledger import Ledger
from tests.support.compared import RNG, compared, write_pair
from tests.support.ledgers import write_trial
from tests.support.simulated import write_predicted


def test_why_has_conflicts_by_phase_utilisation_single_tasks_and_progress(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2), annealed={"epochs": 1})
    made = world.predictions(RNG(1), 0.70)
    for seed in (1, 2):
        write_predicted(
            tmp_path, world, made, sampler="single_task", train_task="sst", seed=seed
        )  # fmt: skip
    trial = Ledger(tmp_path.parent, tmp_path.name).trials()[0]
    record = Path(trial.path) / "epochs" / "001.json"
    changed = json.loads(record.read_text())
    changed["phases"] = [{"name": "one", "conflict_share": 0.5, "cosines": {"qqp|sst": -0.1}}]
    changed["phases"][0]["conflicts"] = {"qqp|sst": 0.75}
    record.write_text(json.dumps(changed))
    why = compared(tmp_path).diagnostics()
    conflicts = {(r["method"], r["phase"]): r for r in why["conflicts"]}
    assert conflicts["annealed+pcgrad", ""]["conflict_share"] == 0.25
    assert conflicts["annealed+pcgrad", "one"]["cosines"] == {"qqp|sst": -0.1}
    assert conflicts["annealed+pcgrad", "one"]["conflicts"] == {"qqp|sst": 0.75}
    assert {r["task"] for r in why["utilisation"]} == {"sst", "qqp", "sts"}
    rows = {row["method"]: row for row in why["against_single_task"]}
    assert set(rows) == {"annealed+pcgrad", "arrp+pcgrad"}
    assert rows["arrp+pcgrad"]["task"] == "sst"
    assert rows["arrp+pcgrad"]["difference"] == pytest.approx(0.11, abs=0.04)
    progress = [r for r in why["progress"] if r["method"] == "arrp+pcgrad"]
    assert {r["seed"] for r in progress} == {1, 2} and progress[0]["updates"] == 10


def test_the_reasons_are_tables_where_they_are_asked_for(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2))
    for seed in (1, 2):
        made = world.predictions(RNG(1), 0.70)
        write_predicted(
            tmp_path, world, made, sampler="single_task", train_task="sst", seed=seed
        )  # fmt: skip
    for trial in Ledger(tmp_path.parent, tmp_path.name).trials():
        if trial.config["sampler"] == "arrp":
            path = Path(trial.path) / "epochs" / "001.json"
            record = json.loads(path.read_text())
            share = {1: 0.25, 2: 0.75}[trial.config["seed"]]
            record |= {"conflict_share": share, "conflicts": {"qqp|sst": share}}
            path.write_text(json.dumps(record | {"cosines": {"qqp|sst": -share / 10}}))
    comparison = compared(tmp_path)
    plain, asked = tables.all_tables(comparison), tables.all_tables(comparison, why=True)
    sheets = {sheet.columns[0]: sheet for sheet in asked}
    assert [s.columns[0] for s in asked][: len(plain)] == [s.columns[0] for s in plain]
    assert "conflicts (mean cosine)" not in {sheet.columns[0] for sheet in plain}
    conflicts = sheets["conflicts (mean cosine)"]
    assert conflicts.columns[2:] == ["of all pairs", "qqp|sst"]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in conflicts.rows}
    assert rows["arrp+pcgrad"] == ["1", "50.0%", "50.0% (-0.050)"]
    (alone,) = [
        [cell.text for cell in row]
        for row in sheets["against the task alone"].rows
        if row[0].text == "arrp+pcgrad"
    ]
    assert float(alone[1].split()[0]) == pytest.approx(0.82, abs=0.04) and "(+0." in alone[1]
    assert set(sheets["share of the training set in an epoch"].columns[1:]) == {"sst", "qqp", "sts"}
    assert "importance of" not in sheets  # three configurations say nothing
    assert "50.0% (-0.050)" in formats.markdown("", comparison, why=True)
    assert "50.0%" not in formats.markdown("", comparison)

    # Who reads the Markdown sees the cells and the notes: no bar divides, no star emphasises.
    comparison = replace(comparison, notes=["* minutes: not comparable", *comparison.notes])
    blocks = MarkdownIt().enable("table").parse(formats.markdown("", comparison, why=True))
    seen = [
        "".join(child.content for child in block.children or [] if child.type == "text")
        for block in blocks
        if block.type == "inline"
    ]
    cells = [c for s in asked for row in (s.columns, *(_texts(r) for r in s.rows)) for c in row]
    assert seen == [*cells, *comparison.notes]
    assert "qqp|sst" in cells


def _texts(row: list[tables.Cell]) -> list[str]:
    return [cell.text for cell in row]


def test_progress_adds_up_over_epochs(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.4, 0.5, 0.6], sampler="arrp", minutes=2.0, epochs=3)
    rows = compared(tmp_path).diagnostics()["progress"]
    assert [row["minutes"] for row in rows] == [2.0, 4.0, 6.0]
    assert [row["examples"] for row in rows] == [300, 600, 900]
    assert [row["dev_score"] for row in rows] == [0.4, 0.5, 0.6]
