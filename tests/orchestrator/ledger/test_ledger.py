"""The ledger reads trial directories back, whatever state a crash left them in."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from tests.support.command import orch
from tests.support.ledgers import epoch, write_trial
from trainer.storage.trial_directory import StoreError, TrialDirectory


@pytest.mark.parametrize("status", ["complete", "pruned", "failed", None])
def test_a_trial_reads_back_as_it_was_written(tmp_path: Path, status: str | None) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.5], status=status, reason="why", seed=7)
    (trial,) = Ledger(tmp_path, "s").trials()
    assert trial.trial_id == name
    assert trial.status == (status or "unfinished")
    assert trial.reason == ("why" if status else "")
    assert [record["epoch"] for record in trial.records] == [1, 2]
    assert trial.train_config.seed == 7
    assert trial.identity["fingerprint"] == "f"
    assert trial.summary["dev_score"] == 0.5


def test_a_sweep_that_was_never_begun_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path, "s").trials() == []
    assert Ledger(tmp_path, "s").trial("arrp-000000000000") is None


def test_a_directory_without_a_config_is_no_trial(tmp_path: Path) -> None:
    (tmp_path / "s" / "trials" / "arrp-000000000000").mkdir(parents=True)
    assert Ledger(tmp_path, "s").trials() == []


def test_an_epoch_after_a_gap_does_not_count(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4], status=None)
    ledger = Ledger(tmp_path, "s")
    late = epoch(3, 0.9, 1.0, False)
    ledger.directory(name).write("epochs/003.json", json.dumps(late).encode())
    trial = ledger.trial(name)
    assert trial is not None and [record["epoch"] for record in trial.records] == [1]


def test_a_complete_trial_without_all_its_epochs_cannot_be_read(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.6])
    ledger = Ledger(tmp_path, "s")
    ledger.directory(name).folder.delete("epochs/001.json")
    assert ledger.read().unreadable == {name: "epochs/001.json: is missing"}


def test_the_first_end_of_a_trial_stays(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.6], status=None)
    ledger = Ledger(tmp_path, "s")
    ledger.close(name, "pruned", "stopped")
    ledger.close(name, "failed", "too late")
    trial = ledger.trial(name)
    assert trial is not None
    assert (trial.status, trial.reason) == ("pruned", "stopped")
    assert trial.summary["epochs"] == 2 and trial.summary["dev_score"] == 0.6


def test_a_trial_that_fails_before_its_first_epoch_can_be_closed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "s")
    ledger.close("arrp-000000000000", "failed", "its process died")
    assert TrialDirectory(ledger.path("arrp-000000000000")).end() == {
        "status": "failed",
        "reason": "its process died",
        "summary": {},
    }


def test_a_metric_outside_the_summary_is_its_mean_over_the_epochs(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.6])
    trial = Ledger(tmp_path, "s").trial(name)
    assert trial is not None
    assert trial.value("dev_score") == 0.6
    assert trial.value("examples_per_second") == 50.0
    assert math.isnan(trial.value("unheard_of"))


#: A file of a trial that somebody damaged or made up, and why the trial cannot be read then.
HOSTILE: dict[str, tuple[str, str, str]] = {
    "a list": ("config.json", "[1, 2]", "config.json: is not a JSON object"),
    "torn": ("config.json", '{"config": {', "config.json: is not JSON"),
    "deep": ("config.json", "[" * 100_000, "config.json: has more than 50 lists"),
    "no config": ("config.json", '{"trial_id": "x"}', "config.json: config: not a mapping"),
    "wrong types": ("config.json", '{"config": {"seed": "one"}}', "seed: 'one' is not a whole"),
    "unknown key": ("config.json", '{"config": {"sede": 1}}', "config.json: sede: unknown key"),
    "no numbers": ("epochs/002.json", '{"epoch": 2}', "epochs/002.json: dev_score is not a number"),
    "a word": ("epochs/001.json", '{"epoch": 1, "dev_score": "high"}', "dev_score is not a number"),
    "a summary of words": (
        "end.json",
        '{"status": "complete", "summary": {"minutes_per_epoch": "many"}}',
        "end.json: summary.minutes_per_epoch is not a number",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_trial_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, case: str) -> None:
    name, content, reason = HOSTILE[case]
    sound = write_trial(tmp_path / "s", [0.4, 0.5], seed=1)
    broken = write_trial(tmp_path / "s", [0.4, 0.5], seed=2)
    (tmp_path / "s" / "trials" / broken / name).write_text(content)
    ledger = Ledger(tmp_path, "s")
    reading = ledger.read()
    assert [trial.trial_id for trial in reading.trials] == [sound]
    assert list(reading.unreadable) == [broken] and reason in reading.unreadable[broken]
    assert ledger.trial(broken) is None
    assert ledger.why_unreadable(broken) == reading.unreadable[broken]
    assert ledger.why_unreadable(sound) == ledger.why_unreadable("arrp-0") == ""


def test_a_folder_in_a_files_place_is_named(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4])
    path = tmp_path / "s" / "trials" / name / "end.json"
    path.unlink()
    path.mkdir()
    assert "is a folder, not a regular file" in Ledger(tmp_path, "s").read().unreadable[name]


def test_a_torn_end_leaves_a_trial_unfinished(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.5])
    (tmp_path / "s" / "trials" / name / "end.json").write_text('{"status": "comp')
    (trial,) = Ledger(tmp_path, "s").trials()
    assert (trial.status, len(trial.records)) == ("unfinished", 2)


@pytest.mark.parametrize("status", ["failed", "pruned", None])
def test_a_torn_record_of_an_incomplete_trial_ends_its_history(
    tmp_path: Path, status: str | None
) -> None:
    name = write_trial(tmp_path / "s", [0.4, 0.5], status=status)
    (tmp_path / "s" / "trials" / name / "epochs/002.json").write_text("{")
    (trial,) = Ledger(tmp_path, "s").trials()
    assert [record["epoch"] for record in trial.records] == [1]
    assert trial.status == (status or "unfinished")


def test_what_is_no_trial_is_left_out(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4])
    for other in (".hidden", "[red]", "a b", "\x1b[2J", "new\nline"):
        shutil.copytree(tmp_path / "s" / "trials" / name, tmp_path / "s" / "trials" / other)
    (tmp_path / "s" / "trials" / "file").write_text("")
    assert Ledger(tmp_path, "s").trial_ids() == [name]
    with pytest.raises(StoreError, match="leads out of this folder"):
        Ledger(tmp_path, "s").trial("../../x")


def test_what_a_terminal_would_obey_is_not_in_a_reason(tmp_path: Path) -> None:
    write_trial(tmp_path / "s", [], status="failed", reason="a\x1b[2Jb\ud800c\nd")
    (trial,) = Ledger(tmp_path, "s").trials()
    assert trial.reason == "a\\x1b[2Jb\ufffdc\nd"


def test_a_trial_that_was_trained_by_hand_is_a_configuration_of_its_own(tmp_path: Path) -> None:
    name = write_trial(tmp_path / "s", [0.4])
    path = tmp_path / "s" / "trials" / name / "config.json"
    path.write_text(json.dumps({"config": {"sampler": "arrp"}}))
    (trial,) = Ledger(tmp_path, "s").trials()
    assert trial.identity["config_id"] == name
    assert (trial.config["seed"], trial.config["data"]["seed"]) == (0, 0)
    assert trial.config == trial.train_config.to_dict()


def test_the_reading_commands_survive_hostile_trials(tmp_path: Path) -> None:
    """Every case at once, names and numbers that no JSON knows among them."""
    sweep = tmp_path / "sweeps" / "s"
    sound = write_trial(sweep, [0.4, 0.5], sampler="arrp", seed=1)
    for seed, (name, content, _) in enumerate(HOSTILE.values(), 2):
        broken = write_trial(sweep, [0.4, 0.5], sampler="arrp", seed=seed)
        (sweep / "trials" / broken / name).write_text(content)
    record = sweep / "trials" / sound / "epochs/002.json"
    more = {"peak_memory_mb": 1e999, "phases": [{"name": "\ud800"}], "conflict_share": None}
    record.write_text(json.dumps(json.loads(record.read_text()) | more))
    (sweep / "sweep.yaml").write_text(
        'question: "[/bold]"\ntracking: none\nx: .inf\nseed: 2026-01-01\n'
    )
    for arguments in (
        "ls", "ls --json", "show s", "show s --json", f"show s {sound}", f"show s {sound} --json",
        "compare s", "compare s --json",
    ):  # fmt: skip
        answer = orch(*arguments.split(), cwd=tmp_path)
        assert answer.returncode == 0, (arguments, answer.stderr)
        assert "Traceback" not in answer.stderr
        if "compare" in arguments:
            assert answer.stderr.count("cannot be read") == len(HOSTILE)
        if "--json" in arguments:
            json.loads(answer.stdout, parse_constant=pytest.fail)
    for arguments, message in {
        f"show s {broken}": "cannot be read: ",
        "show ../../x": "no sweep '../../x'",
        "show s ../../x": "no trial '../../x'",
        "compare s --published": "its sweep.yaml cannot be read",
        "ls --out sweeps/s/sweep.yaml": "Not a directory",
    }.items():
        answer = orch(*arguments.split(), cwd=tmp_path)
        assert answer.returncode == 2 and message in answer.stderr, answer.stderr
        assert "Traceback" not in answer.stderr
