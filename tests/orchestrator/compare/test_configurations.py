"""The comparison: what is ranked, how seeds are averaged, what is claimed and what is not."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from orchestrator.cli.fitted_table import table_lines
from orchestrator.compare.configurations import Comparison, compare
from orchestrator.compare.output.configuration_table import configurations_table, footnotes
from orchestrator.ledger import Ledger
from tests.support.ledgers import write_trial
from trainer.metrics import FIRST_CLOCK, FIRST_CLOCK_NOTE


def compared(folder: Path) -> Comparison:
    return compare(Ledger(folder.parent, folder.name).trials())


def rendered(comparison: Comparison) -> str:
    return "\n".join(line.plain for line in table_lines(configurations_table(comparison), None))


def write_pair(folder: Path) -> None:
    """Two seeds each of annealed and ARRP."""
    for seed, score in ((1, 0.70), (2, 0.74)):
        write_trial(folder, [0.1, score], sampler="annealed", B=640, seed=seed, minutes=2.0)
    for seed, score in ((1, 0.71), (2, 0.73)):
        write_trial(folder, [0.9, score], sampler="arrp", B=320, seed=seed, minutes=0.5)


def test_seeds_of_a_configuration_are_averaged_with_their_spread(tmp_path: Path) -> None:
    write_pair(tmp_path)
    rows = {row.sampler: row for row in compared(tmp_path).rows}
    annealed = rows["annealed"]
    assert annealed.seeds == [1, 2]
    assert annealed.dev_score.mean == pytest.approx(0.72)
    assert annealed.dev_score.sd == pytest.approx(statistics.stdev([0.70, 0.74]))
    assert annealed.dev_mean.mean == pytest.approx(0.71)
    assert annealed.tasks["sts"].mean == pytest.approx(0.36)
    assert annealed.minutes_per_epoch.mean == 2.0
    assert annealed.examples_per_epoch == 300


def test_the_last_epoch_counts_and_rows_are_ranked_by_it(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.9, 0.3], sampler="arrp")
    write_trial(tmp_path, [0.1, 0.5], sampler="round_robin")
    assert [row.sampler for row in compared(tmp_path).rows] == ["round_robin", "arrp"]


def test_only_complete_trials_are_ranked_and_the_others_counted(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5, 0.5], sampler="arrp", seed=1)
    write_trial(tmp_path, [0.99], sampler="arrp", seed=2, status="pruned")
    write_trial(tmp_path, [0.98], sampler="round_robin", status="failed", reason="diverged")
    write_trial(tmp_path, [0.97], sampler="annealed", status=None)
    result = compared(tmp_path)
    assert [(row.sampler, row.seeds) for row in result.rows] == [("arrp", [1])]
    assert result.counts == {"complete": 1, "failed": 1, "pruned": 1, "unfinished": 1}
    assert "1 failed, 1 pruned" in footnotes(result)[0]


def test_auto_of_two_kinds_of_hosts_is_not_compared(tmp_path: Path) -> None:
    """One configuration, seed 1 in bf16 and seed 2 in fp32: two rows."""
    write_trial(tmp_path, [0.70], sampler="annealed", precision="auto", computed_in="bf16")
    for seed, precision in ((1, "bf16"), (2, "fp32")):
        write_trial(
            tmp_path, [0.70 + seed / 100], sampler="arrp", precision="auto", seed=seed,
            computed_in=precision,
        )  # fmt: skip
    result = compared(tmp_path)
    rows = [(row.label, row.seeds, row.basis["precision"]) for row in result.rows]
    assert rows[:2] == [("arrp F=none λ=1 B=24000, fp32", [2], "fp32"),
                        ("arrp F=none λ=1 B=24000, bf16", [1], "bf16")]  # fmt: skip
    assert any("computed in different precisions" in note for note in footnotes(result))


def test_a_precision_that_is_named_or_unknown_compares_as_before(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.70], sampler="annealed", precision="bf16", computed_in="bf16")
    write_trial(tmp_path, [0.71], sampler="arrp", precision="fp32")  # as old ledgers have it
    result = compared(tmp_path)
    assert not any("precision" in note for note in footnotes(result))


def test_labels_tell_configurations_apart(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5], sampler="arrp", freeze="encoder", B=320, **{"lambda": 0.5})
    write_trial(tmp_path, [0.4], sampler="annealed", B=640, dropout=0.1)
    write_trial(tmp_path, [0.3], sampler="round_robin", dropout=0.2)
    labels = [row.label for row in compared(tmp_path).rows]
    assert labels == [
        "arrp F=encoder λ=0.5 B=320 dropout=0.3",
        "annealed B=640 dropout=0.1",
        "round_robin dropout=0.2",
    ]


def test_the_table_marks_contended_minutes(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5], sampler="arrp", minutes=1.25, contended=True)
    result = compared(tmp_path)
    assert "1.250*" in rendered(result)
    assert any(note.startswith("* something else was running") for note in footnotes(result))


def test_mappings_by_task_have_labels(tmp_path: Path) -> None:
    many = {"B": {"qqp": 24000, "sst": 2000}, "lambda": {"qqp": 0.1, "sst": 0.5}}
    write_trial(tmp_path / "s", [0.5], sampler="arrp", **many)
    (row,) = compare(Ledger(tmp_path, "s").trials()).rows
    assert row.label == "arrp F=none λ=qqp:0.1+sst:0.5 B=qqp:24000+sst:2000"


def test_an_entry_that_acts_in_some_configurations_alone_is_in_their_labels(tmp_path: Path) -> None:
    options: dict = {"combiner_options": {"c": 0.5}, "sampler": "round_robin"}
    write_trial(tmp_path, [0.5], combiner="torchjd.CAGrad", **options)
    write_trial(tmp_path, [0.4], combiner="pcgrad", **options)
    labels = [row.label for row in compared(tmp_path).rows]
    assert labels == ["round_robin torchjd.CAGrad combiner_options.c=0.5", "round_robin"]


def test_minutes_of_the_first_clock_are_marked(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.6], sampler="arrp", clock=FIRST_CLOCK)
    write_trial(tmp_path, [0.5], sampler="annealed")
    result = compared(tmp_path)
    table = configurations_table(result)
    place = table.columns.index("min/epoch")
    assert [row[place].text for row in table.rows] == ["1.000°", "1.000"]
    assert not any(row[place].grey for row in table.rows)
    assert FIRST_CLOCK_NOTE in footnotes(result)
