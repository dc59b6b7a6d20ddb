"""The epoch that counts, wherever a trial's score is used, and the other one beside it."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from orchestrator.compare.compare_sweep import trials_of
from orchestrator.compare.configurations import compare
from orchestrator.compare.methods import counted_metric
from orchestrator.compare.statistics.dev_predictions import DevSet, read_columns
from orchestrator.errors import SweepError
from orchestrator.evaluate import Examples, Place, evaluate_trials
from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.ledger.archive import pack
from orchestrator.ledger.best_epoch import best_epoch_note, both_epochs
from orchestrator.ledger.evaluations import ALL, counted_record, with_score
from orchestrator.ledger.listing import trial_summary
from orchestrator.ledger.trial_id import config_id, trial_id
from orchestrator.preflight.checks import check_same_sweep
from orchestrator.spec import SweepSpec
from tests.support.command import orch
from tests.support.ledgers import write_trial
from tests.support.small import small_config
from trainer.data.sources import fingerprint
from trainer.train import train

#: Of the trials that are trained: the best of four epochs is the second.
CHANGES = {"epochs": 4, "learning_rate": 3e-3}


def trained_sweep(out: Path, cache: Path, score: str) -> Ledger:
    """A sweep of two samplers, trained as a sweep does it."""
    ledger = Ledger(out, "s")
    for sampler in ("arrp", "round_robin"):
        config = small_config(cache, sampler=sampler, score=score, **CHANGES)
        data = fingerprint(config)
        identity = {"trial_id": trial_id(config, data), "config_id": config_id(config, data)}
        list(train(config, ledger.path(identity["trial_id"]), identity=identity))
    base = f"{{epochs: 4, score: {score}}}"
    Path(ledger.folder.path, RESOLVED).write_text(
        f"name: s\nformat: 2\nquestion: q\nbase: {base}\nenqueue: [{{}}]\n"
    )
    return ledger


@pytest.fixture(scope="module")
def sweeps(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ledger]:
    """By the epoch that counts."""
    place = tmp_path_factory.mktemp("sweeps")
    return {score: trained_sweep(place / score, cache, score) for score in ("last", "best")}


def test_the_trained_trials_have_another_best_epoch(sweeps: dict[str, Ledger]) -> None:
    epochs = [both_epochs(trial)["best_epoch"] for trial in sweeps["last"].trials()]
    assert any(epoch < 4 for epoch in epochs)


def test_one_function_says_which_record_counts(tmp_path: Path) -> None:
    write_trial(tmp_path / "s", [0.4, 0.6, 0.5], epochs=3)
    write_trial(tmp_path / "s", [0.4, 0.6, 0.5], epochs=3, score="best", seed=1)
    last, best = sorted(Ledger(tmp_path, "s").trials(), key=lambda trial: trial.config["seed"])
    assert (last.epoch, best.epoch) == (3, 2)
    assert counted_record(last)["dev_score"] == 0.5 and counted_metric(best, "sts") == 0.3
    assert counted_record(with_score(last, "best")) == last.records[1]
    assert with_score(best, "last").epoch == 3
    assert trial_summary(best)["dev_score"] == 0.6 and trial_summary(last)["dev_score"] == 0.5
    for trial in (last, best):
        shown = trial_summary(trial)
        assert (shown["last_dev_score"], shown["best_dev_score"]) == (0.5, 0.6)
        assert (shown["best_epoch"], shown["optimism"]) == (2, None)


def test_a_row_has_both_and_its_minutes_stay(tmp_path: Path) -> None:
    for seed, scores in ((0, [0.4, 0.6, 0.5]), (1, [0.5, 0.4, 0.7])):
        write_trial(tmp_path / "s", scores, epochs=3, seed=seed, minutes=2.0)
    trials = Ledger(tmp_path, "s").trials()
    (last,) = compare(trials).rows
    (best,) = compare([with_score(trial, "best") for trial in trials]).rows
    assert last.dev_score.mean == pytest.approx(0.6) and best.dev_score.mean == pytest.approx(0.65)
    assert last.both == best.both
    for figure, halves in (("dev_score", 1), ("sts", 2)):
        assert last.both["last"][figure].mean == pytest.approx(0.6 / halves)
        assert last.both["best"][figure].mean == pytest.approx(0.65 / halves)
    assert last.both["optimism"] == {}
    assert last.minutes_per_epoch == best.minutes_per_epoch
    assert best.numbers[("dev_score",)] == best.dev_score
    assert best.to_dict()["both"]["best"]["dev_score"]["mean"] == pytest.approx(0.65)


def test_means_over_epochs_are_over_all_of_them(sweeps: dict[str, Ledger]) -> None:
    for row in compare(sweeps["best"].trials()).rows:
        assert row.numbers[("minutes_per_epoch",)].mean == pytest.approx(row.minutes_per_epoch.mean)


def test_a_trial_that_is_closed_from_outside_says_the_epoch_that_counts(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.6, 0.5], epochs=9, score="best", status=None)
    ledger = Ledger(tmp_path, "s")
    ledger.close(name, "pruned", "stopped")
    summary = (ledger.end(name) or {})["summary"]
    assert (summary["dev_score"], summary["epoch"], summary["score"]) == (0.6, 2, "best")
    assert ledger.trials()[0].value("dev_score") == 0.6  # the search's objective


def test_predictions_are_those_of_the_epoch_that_counts(sweeps: dict[str, Ledger]) -> None:
    """`DevSet` refuses predictions that do not give the recorded metric."""
    for score, other in (("last", "best"), ("best", "last")):
        ledger = sweeps[score]
        trials = ledger.trials()
        DevSet().read(ledger, trials)
        DevSet().read(ledger, [with_score(trial, other) for trial in trials])
        moved = next(trial for trial in trials if both_epochs(trial)["best_epoch"] < 4)
        mine, theirs = (
            read_columns(ledger, each)["sts"]["prediction"].to_pylist()
            for each in (moved, with_score(moved, other))
        )
        assert mine != theirs


def test_orch_compare_shows_the_other_epoch_and_no_answer(
    sweeps: dict[str, Ledger], tmp_path: Path
) -> None:
    ledger = sweeps["last"]
    plain, best = (
        json.loads(orch("compare", ledger.folder.path, "--json", *more, cwd=tmp_path).stdout)
        for more in ((), ("--score", "best"))
    )
    by_id = {trial.trial_id: both_epochs(trial) for trial in ledger.trials()}
    for key, found in (("last_dev_score", plain), ("best_dev_score", best)):
        for row in found["rows"]:
            assert row["dev_score"]["mean"] == by_id[row["trials"][0]][key]
            optimism = row["both"]["optimism"]["dev_score"]["mean"]
            assert optimism == by_id[row["trials"][0]]["optimism"]
    assert "answer" in plain and "answer" not in best
    assert best["other_epoch"].startswith("Scores of the best epoch, which is not the one")
    assert any("The same dev examples chose it" in note for note in best["notes"])
    assert not any("chose it" in note for note in plain["notes"])
    text = orch("compare", ledger.folder.path, "--score", "best", cwd=tmp_path).stdout
    assert text.startswith("Scores of the best epoch") and "last epoch" in text
    assert "epoch optimism" in text
    wrong = orch("compare", ledger.folder.path, "--score", "first", cwd=tmp_path)
    assert wrong.returncode == 2 and "allowed: last, best" in wrong.stderr


def test_a_sweep_whose_best_epoch_counts_answers_with_it(
    sweeps: dict[str, Ledger], tmp_path: Path
) -> None:
    ledger = sweeps["best"]
    chosen = trials_of(ledger)
    assert chosen.other_epoch == "" and {trial.score for trial in chosen.trials} == {"best"}
    text = orch("compare", ledger.folder.path, cwd=tmp_path).stdout
    assert "The same dev examples chose it" in " ".join(text.split())
    scores = []
    for path, more in ((ledger.folder.path, ("--score", "last")), (sweeps["last"].folder.path, ())):
        rows = json.loads(orch("compare", path, "--json", *more, cwd=tmp_path).stdout)["rows"]
        scores.append([row["dev_score"]["mean"] for row in rows])
    assert scores[0] == scores[1]


def test_orch_show_names_the_epoch_that_counts(sweeps: dict[str, Ledger], tmp_path: Path) -> None:
    ledger = sweeps["best"]
    trial = next(t for t in ledger.trials() if both_epochs(t)["best_epoch"] < 4)
    both = both_epochs(trial)
    shown = orch("show", ledger.folder.path, trial.trial_id, cwd=tmp_path).stdout
    assert (
        f"epoch {trial.epoch} counts (score: best); best epoch {trial.epoch}: dev_score "
        f"{both['best_dev_score']:.4f}, optimism {both['optimism']:.4f}"
    ) in shown
    table = orch("show", ledger.folder.path, cwd=tmp_path).stdout
    assert f"{both['best_dev_score']:.4f} ({trial.epoch})" in table


def test_orch_evaluate_scores_the_epoch_that_counts(
    sweeps: dict[str, Ledger], tmp_path: Path
) -> None:
    shutil.copytree(sweeps["best"].folder.path, tmp_path / "s")
    ledger = Ledger(tmp_path, "s")
    done = list(evaluate_trials(ledger, ledger.trials(), Examples(), Place()))
    assert [each.state for each in done] == ["evaluated"] * 2
    again = list(evaluate_trials(ledger, ledger.trials(), Examples(), Place()))
    assert [each.state for each in again] == ["kept"] * 2
    moved = [with_score(trial, "last") for trial in ledger.trials() if trial.epoch < 4]
    of_another = list(evaluate_trials(ledger, moved, Examples(), Place()))
    assert moved and {each.state for each in of_another} == {"evaluated"}
    note = "These are a part of the whole dev sets"
    assert note in best_epoch_note(ledger.trials())
    assert note not in best_epoch_note(sweeps["best"].trials())
    assert best_epoch_note(sweeps["last"].trials()) == ""
    for trial in ledger.trials():
        assert trial.evaluations[ALL]["epoch"] == trial.epoch
        assert counted_record(trial)["dev_score"] == trial.evaluations[ALL]["dev_score"]
        other = with_score(trial, "last")
        if other.epoch != trial.epoch:  # the whole dev sets say nothing about this epoch
            assert counted_record(other) == other.records[-1]


def test_a_pack_has_the_predictions_of_both_epochs(
    sweeps: dict[str, Ledger], tmp_path: Path
) -> None:
    ledger = sweeps["last"]
    (tmp_path / "s.tar.xz").write_bytes(pack(ledger).content)
    with tarfile.open(tmp_path / "s.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = Ledger(tmp_path, "s")
    for trial in unpacked.trials():
        names = unpacked.directory(trial.trial_id).names("predictions")
        best = both_epochs(trial)["best_epoch"]
        assert names == sorted({f"{best:03d}.parquet", "004.parquet"})
    DevSet().read(unpacked, [with_score(trial, "best") for trial in unpacked.trials()])


def test_a_sweep_keeps_its_score_and_may_change_what_it_keeps(tmp_path: Path) -> None:
    def spec(**base: str) -> SweepSpec:
        plain = {"name": "s", "question": "q", "base": base, "enqueue": [{}]}
        return SweepSpec.model_validate(plain | {"search": {"algorithm": "list"}})

    check_same_sweep(tmp_path, spec(keep="both"))
    check_same_sweep(tmp_path, spec(keep="last"))
    with pytest.raises(SweepError, match=r"base.score: \(absent\) -> \"best\""):
        check_same_sweep(tmp_path, spec(keep="both", score="best"))
