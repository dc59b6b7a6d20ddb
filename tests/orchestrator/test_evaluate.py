"""`orch evaluate`: kept checkpoints scored on more examples, and what cannot be scored."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import orchestrator.evaluate
from orchestrator.errors import UserError
from orchestrator.evaluate import (
    Evaluated,
    Examples,
    Place,
    evaluate_trials,
    skipped_line,
    why_skipped,
)
from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.ledger.archive import pack
from orchestrator.ledger.evaluations import ALL
from orchestrator.ledger.trial_id import config_id, trial_id
from tests.support.command import orch
from tests.support.ledgers import write_trial
from tests.support.small import small_config
from trainer.data.corpus import whole_dev
from trainer.data.sources import fingerprint
from trainer.storage.evaluations import predictions_of
from trainer.train import train

LIMIT = {"dev_limit": {"sst": 20, "qqp": 20, "sts": 20}}


def train_into(ledger: Ledger, cache: Path, **changes: Any) -> str:
    """Train a trial as a sweep does; return its id."""
    config = small_config(cache, epochs=1, data=LIMIT, **changes)
    data = fingerprint(config)
    identity = {"trial_id": trial_id(config, data), "config_id": config_id(config, data)}
    for _ in train(config, ledger.path(identity["trial_id"]), identity=identity):
        pass
    return identity["trial_id"]


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A sweep of two trained trials; the first was evaluated at its end."""
    ledger = Ledger(tmp_path_factory.mktemp("out"), "s")
    train_into(ledger, cache, sampler="arrp", evaluate_at_end="all")
    train_into(ledger, cache, sampler="round_robin")
    Path(ledger.folder.path, RESOLVED).write_text("name: s\nquestion: q\nbase: {epochs: 1}\n")
    return ledger


@pytest.fixture
def sweep(trained: Ledger, tmp_path: Path) -> Ledger:
    """A copy without evaluations."""
    shutil.copytree(trained.folder.path, tmp_path / "s")
    for path in (tmp_path / "s").rglob("evaluations"):
        shutil.rmtree(path)
    return Ledger(tmp_path, "s")


def evaluate(ledger: Ledger, examples: Examples | None = None) -> list[Evaluated]:
    examples = examples or Examples()
    return list(evaluate_trials(ledger, ledger.trials(), examples, Place()))


def test_the_record_is_that_of_an_evaluation_at_the_end_of_training(
    trained: Ledger, sweep: Ledger
) -> None:
    (before,) = [trial for trial in trained.trials() if ALL in trial.evaluations]
    assert [each.state for each in evaluate(sweep)] == ["evaluated"] * 2
    (after,) = [trial for trial in sweep.trials() if trial.trial_id == before.trial_id]
    one, other = before.evaluations[ALL], after.evaluations[ALL]
    differing = {key for key in one if one[key] != other[key]}
    assert differing <= {"evaluation_minutes", "finished_at", "threads"}
    sizes = {name: len(split) for name, split in whole_dev(before.train_config).items()}
    for trial in sweep.trials():
        assert {n: of["examples"] for n, of in trial.evaluations[ALL]["tasks"].items()} == sizes


def test_what_is_done_is_kept_and_an_interrupted_evaluation_continues(
    sweep: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt):
        for each in evaluate_trials(sweep, sweep.trials(), Examples(), Place()):
            done.append(each)
            raise KeyboardInterrupt
    path = f"evaluations/{ALL}.json"
    before = sweep.directory(done[0].trial_id).read(path)
    assert before is not None
    assert sorted(each.state for each in evaluate(sweep)) == ["evaluated", "kept"]
    assert sweep.directory(done[0].trial_id).read(path) == before
    monkeypatch.setattr(orchestrator.evaluate, "load_trained", None)  # nothing is computed again
    assert [each.state for each in evaluate(sweep)] == ["kept"] * 2


def test_lost_or_damaged_predictions_are_made_again(sweep: Ledger) -> None:
    names = [each.trial_id for each in evaluate(sweep) if each.state == "evaluated"]
    lost, damaged, *_ = (Path(sweep.path(name)) / "evaluations" / "all.parquet" for name in names)
    whole = lost.read_bytes(), damaged.read_bytes()
    lost.unlink()
    damaged.write_bytes(b"PAR1")
    again = {each.trial_id: each.state for each in evaluate(sweep)}
    assert [again[name] for name in names[:2]] == ["evaluated", "evaluated"]
    assert (lost.read_bytes(), damaged.read_bytes()) == whole


def test_only_complete_trials_are_evaluated(sweep: Ledger) -> None:
    folder = Path(sweep.folder.path)
    for seed, (status, reason) in enumerate(
        [("failed", "diverged"), ("failed", "killed"), ("pruned", ""), (None, "")]
    ):
        write_trial(folder, [0.5], status=status, reason=reason, seed=seed, sampler="cycle")
    done = evaluate(sweep)
    skipped = [each for each in done if each.state == "skipped"]
    assert skipped_line(skipped) == (
        "skipped 4 trials: 1 diverged, 1 failed, 1 pruned, 1 unfinished"
    )
    assert sum(each.state == "evaluated" for each in done) == 2
    assert all((ALL in trial.evaluations) == (not why_skipped(trial)) for trial in sweep.trials())


def test_a_damaged_checkpoint_fails_one_trial_alone(sweep: Ledger) -> None:
    weights = sorted(Path(sweep.folder.path).rglob("weights.safetensors"))
    weights[0].write_bytes(weights[0].read_bytes()[:-1] + b"?")
    weights[1].parent.rename(weights[1].parent.with_name("000"))
    by_reason = {each.reason.rpartition(": ")[2]: each.state for each in evaluate(sweep)}
    assert by_reason == {
        "checkpoints/001/weights.safetensors does not match its sha256": "failed",
        "no checkpoints/001/weights.safetensors": "failed",
    }


def test_other_data_than_those_of_the_training_are_refused(sweep: Ledger) -> None:
    for path in Path(sweep.folder.path).rglob("config.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"fingerprint": "another"}))
    assert all("have changed" in each.reason for each in evaluate(sweep))
    assert not any(trial.evaluations for trial in sweep.trials())


# -- a file ----------------------------------------------------------------------------------------


def write_file(path: Path, ledger: Ledger, columns: tuple[str, str]) -> Examples:
    """The whole dev set of sst as a file with these columns."""
    split = whole_dev(ledger.trials()[0].train_config)["sst"]
    rows = zip(split.column("id"), split.column("text1"), split.labels, strict=True)
    lines = ["\t".join(["id", *columns]), *(f"{i}\t{text}\t{label:g}" for i, text, label in rows)]
    path.write_text("\n".join(lines) + "\n")
    return Examples.of(str(path))


def test_a_file_of_a_task_has_its_own_evaluation(sweep: Ledger, tmp_path: Path) -> None:
    task = sweep.trials()[0].train_config.task_list[0]
    assert task.name == "sst"
    examples = write_file(tmp_path / "more sst.tsv", sweep, (task.columns[0], task.label))
    assert examples.name == "more-sst"
    evaluate(sweep)
    assert {each.state for each in evaluate(sweep, examples)} == {"evaluated"}
    for trial in sweep.trials():
        own, whole = trial.evaluations["more-sst"], trial.evaluations[ALL]
        assert own["tasks"] == {"sst": whole["tasks"]["sst"]}
        assert own["dev_score"] is None
        assert own["data"]["file"] == "more sst.tsv"
        assert predictions_of(sweep.directory(trial.trial_id), "more-sst", own)
    (tmp_path / "more sst.tsv").write_text((tmp_path / "more sst.tsv").read_text()[:-20])
    with pytest.raises(UserError, match="of another file or task"):
        evaluate(sweep, Examples.of(str(tmp_path / "more sst.tsv")))


def test_the_task_of_a_file_is_named_or_found_by_its_columns(sweep: Ledger, tmp_path: Path) -> None:
    config = sweep.trials()[0].train_config
    other = write_file(tmp_path / "other.tsv", sweep, ("words", "mood"))
    with pytest.raises(UserError, match="has the columns of no task; a task needs: sst: "):
        evaluate(sweep, other)
    task = config.task_list[0]
    write_file(tmp_path / "named.tsv", sweep, (task.columns[0], task.label))
    named = Examples.of(str(tmp_path / "named.tsv"), "sst")
    assert named.name == "sst-named" and named.task_of(config) == task
    with pytest.raises(UserError, match="--task qnli: no such task; allowed: sst, qqp, sts"):
        evaluate(sweep, Examples.of(str(tmp_path / "named.tsv"), "qnli"))
    alike = replace(config, tasks=("sst", "cfimdb"))
    with pytest.raises(UserError, match="fit several tasks; choose one: --task sst, cfimdb"):
        Examples.of(str(tmp_path / "named.tsv")).task_of(alike)
    with pytest.raises(UserError, match="there is no such file"):
        Examples.of(str(tmp_path / "nowhere.tsv"))
    with pytest.raises(UserError, match="--task: names the task of a file"):
        Examples.of("all", "sst")
    shutil.copy(tmp_path / "named.tsv", tmp_path / "all.tsv")
    with pytest.raises(UserError, match="rename the file"):
        Examples.of(str(tmp_path / "all.tsv"))


# -- the command -----------------------------------------------------------------------------------


def test_the_command_says_what_it_did_and_compare_uses_it(sweep: Ledger, tmp_path: Path) -> None:
    first = sweep.trials()[0].trial_id
    done = orch("evaluate", sweep.folder.path, "--trials", first, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "s: evaluation all: 1 evaluated in " in done.stdout
    assert f"{first}  dev_score 0." in done.stdout
    done = orch("evaluate", sweep.folder.path, "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told["counts"] == {"evaluated": 1, "kept": 1, "skipped": 0, "failed": 0}
    assert {each["trial_id"] for each in told["trials"]} == set(sweep.trial_ids())
    assert all(0 < each["dev_score"] < 1 for each in told["trials"])
    assert "kept 1 evaluations" in done.stderr and " min" in done.stderr
    compared = orch("compare", sweep.folder.path, cwd=tmp_path)
    assert "Scores on the whole dev sets (" in compared.stdout


def test_a_pack_says_in_one_line_that_it_holds_no_weights(sweep: Ledger, tmp_path: Path) -> None:
    (tmp_path / "p.tar.xz").write_bytes(pack(sweep).content)
    shutil.unpack_archive(tmp_path / "p.tar.xz", tmp_path / "unpacked", filter="data")
    done = orch("evaluate", str(tmp_path / "unpacked" / "s"), cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "holds no checkpoints" in line


def test_a_trial_that_failed_makes_the_exit_code_1(sweep: Ledger, tmp_path: Path) -> None:
    weights = sorted(Path(sweep.folder.path).rglob("weights.safetensors"))[0]
    weights.write_bytes(b"")
    done = orch("evaluate", sweep.folder.path, cwd=tmp_path)
    assert done.returncode == 1
    assert "1 evaluated" in done.stdout and "1 failed" in done.stdout
    assert "does not match its sha256" in done.stdout


@pytest.mark.slow(reason="an S3 server")
def test_a_sweep_on_s3_is_evaluated_like_one_on_a_disk(sweep: Ledger, remote: str) -> None:
    far = Ledger(remote, "s")
    for path in Path(sweep.folder.path).rglob("*"):
        if path.is_file():
            far.folder.write(path.relative_to(sweep.folder.path).as_posix(), path.read_bytes())
    assert {each.state for each in evaluate(far)} == {"evaluated"}
    assert {each.state for each in evaluate(far)} == {"kept"}
    evaluate(sweep)
    for one, other in zip(sweep.trials(), far.trials(), strict=True):
        assert one.evaluations[ALL]["tasks"] == other.evaluations[ALL]["tasks"]
        assert one.evaluations[ALL]["files"] == other.evaluations[ALL]["files"]
