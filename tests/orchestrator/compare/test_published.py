"""A paper's rows beside ours: which trials belong to a row, what was run, what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.compare.configurations import compare
from orchestrator.compare.output.published_table import published_notes, published_table
from orchestrator.compare.published import Pair, SideBySide, side_by_side
from orchestrator.ledger import Ledger
from orchestrator.ledger.evaluations import with_score
from orchestrator.ledger.trial_id import config_id
from tests.support.command import orch
from tests.support.ledgers import BASE, write_trial
from tests.support.sessions import made_up
from trainer.config import FORMAT, TrainConfig

ROUND, ANNEALED, ARRP = {"sampler": "round_robin"}, {"sampler": "annealed", "B": 300}, {
    "sampler": "arrp", "B": 270466,
}  # fmt: skip
ALONE = {task: {"sampler": "single_task", "train_task": task} for task in ("sst", "sts")}
ROWS = {"rows": {task: {"train": {"rows": n}} for task, n in (("sst", 64), ("qqp", 400))}}


def sweep(
    folder: Path, rows: list[dict[str, Any]], written_in: int = FORMAT, **changes: Any
) -> Ledger:
    """A sweep of these rows, whose trials write_trial has written below `folder`/s."""
    entries = [ROUND, ANNEALED, ARRP, *ALONE.values()]
    spec = {
        "name": "s", "format": written_in, "base": BASE,
        "search": {"algorithm": "list", "seeds": [1, 2]},
        "enqueue": entries,
        "published": {"source": "P9", "rows": rows, **changes},
    }  # fmt: skip
    (folder / "s").mkdir(exist_ok=True)
    (folder / "s/sweep.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return Ledger(folder, "s")


def pairs_of(ledger: Ledger) -> list[Pair]:
    trials = ledger.trials()
    return side_by_side(ledger, trials, compare(trials)).pairs


def trial(folder: Path, score: float, seed: int, config: dict[str, Any], **options: Any) -> None:
    write_trial(folder / "s", [0.1, score], seed=seed, identity=ROWS, **config, **options)


def test_a_row_shows_the_trials_of_its_configuration_wherever_it_stands(tmp_path: Path) -> None:
    for seed, score in ((1, 0.5), (2, 0.6)):
        trial(tmp_path, score, seed, ROUND)
        trial(tmp_path, score + 0.2, seed, ANNEALED, minutes=3.0)
    rows = [
        {"method": "A", "config": ANNEALED, "sst": 0.1, "minutes_per_epoch": 9.0},
        {"method": "R", "config": ROUND, "dev_score": 0.2},
        {"method": "missing", "config": ARRP, "sst": 0.3},
        {"method": "elsewhere", "config": {"sampler": "cycle"}, "sst": 0.4},
    ]
    annealed, round_robin, missing, elsewhere = pairs_of(sweep(tmp_path, rows))
    assert annealed.published == {"sst": 0.1, "minutes_per_epoch": 9.0}
    assert annealed.ours["dev_score"].mean == pytest.approx(0.75)
    assert annealed.ours["dev_score"].sd == pytest.approx(0.5**0.5 * 0.1)
    assert annealed.ours["minutes_per_epoch"].mean == 3.0
    assert annealed.seeds == [1, 2]
    assert round_robin.ours["sst"].mean == pytest.approx(0.55)
    assert (missing.absent, missing.ours) == ("no complete trial", {})
    assert elsewhere.absent == "not in this sweep"


def test_a_row_of_several_trials_joins_their_tasks_and_adds_up_their_minutes(
    tmp_path: Path,
) -> None:
    for seed in (1, 2, 3):
        trial(tmp_path, 0.4 + seed / 10, seed, ALONE["sst"], minutes=2.0)
    for seed in (2, 3):
        trial(tmp_path, 0.2 * seed, seed, ALONE["sts"], minutes=3.0)
    rows = [{"method": "alone", "joined": ALONE, "sst": 0.4, "dev_score": 0.6}]
    (pair,) = pairs_of(sweep(tmp_path, rows))
    assert pair.seeds == [2, 3]
    # write_trial gives sst the score, and sts half of it; r enters dev_score as (r + 1) / 2.
    scores = [(0.6 + (0.2 + 1) / 2) / 2, (0.7 + (0.3 + 1) / 2) / 2]
    assert pair.ours["dev_score"].mean == pytest.approx(sum(scores) / 2)
    assert pair.ours["dev_mean"].mean == pytest.approx(((0.6 + 0.2) / 2 + (0.7 + 0.3) / 2) / 2)
    assert pair.ours["sst"].mean == pytest.approx(0.6)  # of its three seeds
    assert pair.ours["minutes_per_epoch"].mean == pytest.approx(5.0)
    assert pair.ran is not None and pair.ran.batch_size == 8
    (tmp_path / "less").mkdir()
    trial(tmp_path / "less", 0.5, 1, ALONE["sst"])
    (pair,) = pairs_of(sweep(tmp_path / "less", rows))
    assert pair.absent == "no complete trial (sts)"


def test_what_was_run_stands_beside_the_row_with_what_differs(tmp_path: Path) -> None:
    trial(tmp_path, 0.5, 1, ARRP)
    path = next((tmp_path / "s/trials").iterdir())
    for number in (1, 2):
        record = json.loads((path / f"epochs/{number:03d}.json").read_text())
        record["phases"] = [
            {"name": "round_robin", "examples": 18120, "updates": 1},
            {"name": "alternating", "examples": 135466, "updates": 1},
        ]
        (path / f"epochs/{number:03d}.json").write_text(json.dumps(record))
    setup = {
        "encoder": "bert-base-uncased", "epochs": 2, "batch_size": {"sst": 8, "qqp": 24},
        "learning_rate": 1e-5, "train": {"sst": 64, "qqp": 283010}, "hardware": "T4", "B": 16000,
    }  # fmt: skip
    rows = [{"method": "all", "config": ARRP, "qqp": 0.762, "note": "F is unknown."}]
    (pair,) = pairs_of(sweep(tmp_path, rows, setup=setup))
    assert pair.ran is not None and pair.ran.B_text == "135,466 of 270,466"
    assert pair.ran.train == {"sst": 64, "qqp": 400}
    assert pair.differs == [
        "encoder bert-base-uncased", "hardware T4", "batch_size sst:8+qqp:24",
        "training examples qqp 283,010", "real sentences", "B 16,000", "B 270,466 in full",
    ]  # fmt: skip
    table = published_table([pair])
    theirs, ours = [[cell.text for cell in row] for row in table.rows]
    assert table.columns == ["method", "seeds", "B", "qqp", "ran"]
    assert theirs == ["all", "", "16,000", "0.762", ""]
    assert ours == ["  ours", "1", "135,466 of 270,466", "-", "[1]"]
    ran, published, note = published_notes(SideBySide("P9", "", [pair]))
    assert ran.startswith("[1] encoder tiny, epochs 2, batch_size 8")
    assert "training examples sst 64 qqp 400" in ran and "cpu: test" in ran
    assert published.strip().startswith("published: encoder bert-base-uncased, hardware T4")
    assert note == "all: F is unknown."


def test_minutes_of_orch_time_come_before_those_of_the_trials(tmp_path: Path) -> None:
    trial(tmp_path, 0.5, 1, ROUND, minutes=9.0, contended=True)
    trial(tmp_path, 0.5, 1, ANNEALED, minutes=9.0, contended=True)
    rows = [
        {"method": "R", "config": ROUND, "minutes_per_epoch": 7.93},
        {"method": "A", "config": ANNEALED, "minutes_per_epoch": 18.1},
    ]
    ledger = sweep(tmp_path, rows)
    name = config_id(TrainConfig.from_dict(BASE | ROUND), "f")
    (tmp_path / "s/timings").mkdir()
    session = made_up({name: [2.0] * 6})  # seconds a step, 60 steps an epoch
    (tmp_path / "s/timings/1.json").write_text(session.model_dump_json())
    timed, own = pairs_of(ledger)
    assert (timed.ours["minutes_per_epoch"].mean, timed.minutes_mark) == (pytest.approx(2.0), "†")
    assert (own.ours["minutes_per_epoch"].mean, own.minutes_mark) == (9.0, "*")
    texts = [[cell.text for cell in row] for row in published_table([timed, own]).rows]
    assert texts[1][3] == "2.00†" and texts[3][3].endswith("*")
    notes = published_notes(SideBySide("P9", "Half of Quora.", [timed, own]))
    assert "Half of Quora." in notes
    assert "† measured by orch time." in notes and any(n.startswith("* ") for n in notes)


def test_both_epochs_and_the_optimism_of_the_best_one_stand_below_the_row(tmp_path: Path) -> None:
    write_trial(tmp_path / "s", [0.7, 0.5], seed=1, identity=ROWS, **ROUND)
    path = next((tmp_path / "s/trials").iterdir()) / "end.json"
    end = json.loads(path.read_text())
    end["summary"]["optimism"] = {"dev_score": 0.02, "tasks": {"sst": 0.03}}
    path.write_text(json.dumps(end))
    rows = [{"method": "R", "config": ROUND, "sst": 0.1, "dev_score": 0.2}]
    (pair,) = pairs_of(sweep(tmp_path, rows))
    assert (pair.score, pair.ours["sst"].mean, pair.other["sst"].mean) == ("last", 0.5, 0.7)
    _, ours, best = [[cell.text for cell in row] for row in published_table([pair]).rows]
    assert ours == ["  ours", "1", "0.500", "0.500", "[1]"]
    assert best == ["  best epoch", "", "0.700 (+0.030)", "0.700 (+0.020)", ""]
    assert any("too high" in note for note in published_notes(SideBySide("P9", "", [pair])))
    assert pair.to_dict()["optimism"]["sst"] == 0.03
    trials = [with_score(trial, "best") for trial in Ledger(tmp_path, "s").trials()]
    (pair,) = side_by_side(Ledger(tmp_path, "s"), trials, compare(trials)).pairs
    _, ours, last = [[cell.text for cell in row] for row in published_table([pair]).rows]
    assert ours[2:4] == ["0.700 (+0.030)", "0.700 (+0.020)"]
    assert last[:4] == ["  last epoch", "", "0.500", "0.500"]


def test_rows_of_a_sweep_of_the_first_format_are_found_by_their_position(tmp_path: Path) -> None:
    # What dropout 0.3 meant in the first format.
    trial(tmp_path, 0.5, 1, ANNEALED, encoder_dropout=0.3)
    rows = [{"method": "R", "sst": 0.1}, {"method": "A", "sst": 0.2}]
    rows += [{"method": str(n), "sst": 0.3} for n in range(4)]
    missing, found, *_, alone = pairs_of(sweep(tmp_path, rows, written_in=1))
    assert (missing.absent, found.ours["sst"].mean) == ("no complete trial", 0.5)
    assert alone.absent == "names no configuration"


def test_the_command_prints_both_lines_and_json_has_means_and_spreads(tmp_path: Path) -> None:
    for seed, score in ((1, 0.5), (2, 0.6)):
        trial(tmp_path, score, seed, ROUND)
    rows = [{"method": "RR", "config": ROUND, "sst": 0.528, "cfimdb": 0.9}]
    sweep(tmp_path, rows)
    shown = orch("compare", "s", "--out", str(tmp_path), "--published")
    assert shown.returncode == 0, shown.stderr
    assert "0.528" in shown.stdout and "0.550 ±0.071" in shown.stdout
    done = orch("compare", "s", "--out", str(tmp_path), "--published", "--json")
    (row,) = json.loads(done.stdout)["rows"]
    assert row["published"] == {"sst": 0.528, "cfimdb": 0.9}
    assert row["ours"]["sst"] == pytest.approx(0.55)
    assert row["spread"]["sst"] == pytest.approx(0.0707, abs=1e-4)
    assert row["ran"]["train"] == {"sst": 64, "qqp": 400} and row["seeds"] == [1, 2]
