"""Evaluations in the ledger: which count, which scores are compared, and what a pack keeps."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.compare.compare_sweep import compare_sweep, trials_of
from orchestrator.compare.methods import counted_metric
from orchestrator.compare.options import ComparisonOptions
from orchestrator.compare.statistics.dev_predictions import PredictionsError, read_columns
from orchestrator.decision.plan.uncertainty import measured
from orchestrator.fair_timing import choose
from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.ledger.archive import pack
from orchestrator.ledger.evaluations import ALL, counted_record, on_equal_examples, whole_dev_note
from orchestrator.spec.decide import DecideSpec
from orchestrator.spec.tracking import TrackingSpec
from orchestrator.tracking.sweep_artifacts import artifacts_of
from tests.support.command import orch
from tests.support.evaluations import write_all
from tests.support.simulated import World, write_predicted

SMALL, WHOLE = (
    World.of(np.random.default_rng(0), sst=60, qqp=60, sts=60),
    World.of(np.random.default_rng(1), sst=300, qqp=300, sts=300),
)


@pytest.fixture
def sweep(tmp_path: Path) -> Ledger:
    """Two methods with three seeds; ARRP is better on the whole dev sets alone."""
    rng, folder = np.random.default_rng(2), tmp_path / "s"
    for seed in (1, 2, 3):
        for sampler, skill in (("annealed", 0.75), ("arrp", 0.65)):
            write_predicted(
                folder, SMALL, SMALL.predictions(rng, skill), sampler=sampler, seed=seed
            )
    (folder / RESOLVED).write_text("name: s\nquestion: Which?\nbase: {epochs: 1}\n")
    return Ledger(tmp_path, "s")


def evaluate(ledger: Ledger, count: int = 6) -> None:
    rng = np.random.default_rng(3)
    for trial in ledger.trials()[:count]:
        skill = 0.6 if trial.config["sampler"] == "annealed" else 0.8
        write_all(ledger.directory(trial.trial_id), WHOLE, WHOLE.predictions(rng, skill))


def test_scores_and_predictions_are_those_of_the_whole_dev_sets(sweep: Ledger) -> None:
    on_epochs = compare_sweep(sweep, trials_of(sweep), ComparisonOptions(replicates=200))
    evaluate(sweep)
    compared = compare_sweep(sweep, trials_of(sweep), ComparisonOptions(replicates=200))
    assert [row.sampler for row in on_epochs.rows.rows] == ["annealed", "arrp"]
    assert [row.sampler for row in compared.rows.rows] == ["arrp", "annealed"]
    assert compared.notes[0] == "Scores on the whole dev sets (900 examples)."
    assert compared.methods is not None
    assert not any(standing.problem for standing in compared.methods.standings)
    (contrast,) = compared.methods.contrasts
    assert contrast.differences["dev_score"].value > 0.05
    (trial, *_) = trials_of(sweep).trials
    whole = trial.evaluations[ALL]
    assert counted_metric(trial, "dev_score") == whole["dev_score"]
    assert counted_metric(trial, "sst") == whole["tasks"]["sst"]["dev_metric"]
    assert len(read_columns(sweep, trial)["sst"]["id"]) == 300
    row = next(row for row in compared.rows.rows if trial.trial_id in row.trials)
    assert whole["dev_score"] in [each[-1]["dev_score"] for each in row.records]
    assert row.numbers[("dev_score",)].mean == pytest.approx(row.dev_score.mean)


def test_scores_of_parts_and_of_whole_dev_sets_are_never_mixed(sweep: Ledger) -> None:
    before = compare_sweep(sweep, trials_of(sweep), ComparisonOptions(replicates=200))
    evaluate(sweep, count=5)
    after = compare_sweep(sweep, trials_of(sweep), ComparisonOptions(replicates=200))
    assert [row.dev_score for row in after.rows.rows] == [r.dev_score for r in before.rows.rows]
    assert after.notes[0].startswith(
        "Scores on the dev sets of the epochs: 5 of 6 complete trials were evaluated"
    )
    assert "orch evaluate" in after.notes[0]
    assert not any(ALL in trial.evaluations for trial in trials_of(sweep).trials)
    assert after.methods and after.methods.contrasts == before.methods.contrasts  # type: ignore


def test_the_note_speaks_of_the_search_alone(sweep: Ledger) -> None:
    evaluate(sweep)
    marks = {"stage": "confirm", "decision": 1, "pair": 1, "method": "arrp"}
    predictions = SMALL.predictions(np.random.default_rng(4), 0.7)
    write_predicted(Path(sweep.folder.path), SMALL, predictions, sampler="arrp", seed=9,
                    identity=marks)  # fmt: skip
    chosen = trials_of(sweep)
    assert len(chosen.confirming) == 1
    assert chosen.scored_on == "Scores on the whole dev sets (900 examples)."


def test_a_plan_takes_its_variance_from_equal_examples(sweep: Ledger) -> None:
    decide = DecideSpec(compare=["arrp", "annealed"])
    before = measured(sweep, sweep.trials(), decide)
    evaluate(sweep, count=5)
    after = measured(sweep, sweep.trials(), decide)
    assert before is not None and after is not None
    assert after.variances == before.variances


def test_timing_and_the_best_trial_go_by_the_same_scores_as_the_comparison(sweep: Ledger) -> None:
    def best() -> list[str]:
        artifacts = artifacts_of(sweep, TrackingSpec(report=False), lambda: None)
        samplers = {t.trial_id: t.config["sampler"] for t in sweep.trials()}
        return [choose(sweep.trials())[0][0].config["sampler"], samplers[artifacts.best]]

    assert best() == ["annealed", "annealed"]
    evaluate(sweep)
    assert best() == ["arrp", "arrp"]


def test_trials_that_did_not_end_need_no_evaluation(sweep: Ledger) -> None:
    rng, folder = np.random.default_rng(4), Path(sweep.folder.path)
    predictions = SMALL.predictions(rng, 0.7)
    write_predicted(folder, SMALL, predictions, sampler="cycle", seed=1, status="failed")
    evaluate(sweep, count=0)
    complete = [trial for trial in sweep.trials() if trial.status == "complete"]
    for trial in complete:
        write_all(sweep.directory(trial.trial_id), WHOLE, WHOLE.predictions(rng, 0.7))
    trials = sweep.trials()
    assert on_equal_examples(trials) == trials
    assert whole_dev_note(trials, trials).startswith("Scores on the whole dev sets")


def test_a_search_never_sees_an_evaluation(sweep: Ledger) -> None:
    values = {trial.trial_id: trial.value("dev_score") for trial in sweep.trials()}
    last = {trial.trial_id: trial.records[-1]["dev_score"] for trial in sweep.trials()}
    evaluate(sweep)
    for trial in sweep.trials():
        assert trial.value("dev_score") == values[trial.trial_id]
        assert trial.records[-1]["dev_score"] == last[trial.trial_id]
        assert counted_record(trial)["dev_score"] == trial.evaluations[ALL]["dev_score"]


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, True),
        ({"epoch": 2}, False),
        ({"tasks": {}}, False),
        ({"tasks": {"sst": {"dev_metric": "high", "examples": 3, "metric": "accuracy"}}}, False),
        ({"dev_score": "high"}, False),
        ({"dev_score": None}, True),  # of one task
        ({"files": None}, False),
    ],
)
def test_what_is_not_an_evaluation_of_the_last_epoch_does_not_count(
    sweep: Ledger, change: dict[str, Any], counts: bool
) -> None:
    name = sweep.trial_ids()[0]
    directory = sweep.directory(name)
    record = write_all(directory, WHOLE, WHOLE.predictions(np.random.default_rng(0), 0.7))
    directory.write("evaluations/all.json", json.dumps({**record, **change}).encode())
    trial = sweep.trial(name)
    assert trial is not None and (ALL in trial.evaluations) == counts
    directory.write("evaluations/all.json", b"\xff{")
    trial = sweep.trial(name)
    assert trial is not None and trial.evaluations == {}


def test_an_evaluation_of_another_checkpoint_does_not_count(sweep: Ledger) -> None:
    name = sweep.trial_ids()[0]
    directory = sweep.directory(name)
    write_all(directory, WHOLE, WHOLE.predictions(np.random.default_rng(0), 0.7))
    record = directory.records()[-1]
    record["files"]["checkpoints/001/weights.safetensors"] = "another"
    directory.write("epochs/001.json", json.dumps(record).encode())
    trial = sweep.trial(name)
    assert trial is not None and trial.evaluations == {}


def test_damaged_predictions_are_refused(sweep: Ledger) -> None:
    evaluate(sweep)
    trial = sweep.trials()[0]
    sweep.directory(trial.trial_id).write("evaluations/all.parquet", b"PAR1")
    with pytest.raises(PredictionsError, match=r"evaluations/all.parquet does not match its sha"):
        read_columns(sweep, trial)


def test_a_pack_keeps_evaluations_and_compares_the_same(sweep: Ledger, tmp_path: Path) -> None:
    evaluate(sweep)
    (tmp_path / "s.tar.xz").write_bytes(pack(sweep).content)
    with tarfile.open(tmp_path / "s.tar.xz") as archive:
        assert sum("evaluations/" in name for name in archive.getnames()) == 12
        archive.extractall(tmp_path / "unpacked", filter="data")
    unpacked = Ledger(tmp_path / "unpacked", "s")
    one, other = (
        compare_sweep(each, trials_of(each), ComparisonOptions(replicates=200))
        for each in (sweep, unpacked)
    )
    assert one.notes == other.notes
    assert [row.dev_score for row in one.rows.rows] == [row.dev_score for row in other.rows.rows]


def test_show_has_a_line_for_each_evaluation(sweep: Ledger, tmp_path: Path) -> None:
    evaluate(sweep, count=1)
    trial = sweep.trials()[0]
    shown = orch("show", sweep.folder.path, trial.trial_id, cwd=tmp_path).stdout
    whole = trial.evaluations[ALL]
    assert f"evaluation all (epoch 1): dev_score {whole['dev_score']:.4f}" in shown
    assert "(300 examples)" in shown
    told = json.loads(
        orch("show", sweep.folder.path, trial.trial_id, "--json", cwd=tmp_path).stdout
    )
    assert told["evaluations"][ALL] == whole
