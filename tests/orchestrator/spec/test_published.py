"""Published rows name the configurations that they belong to, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec import load_spec
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.published import by_position
from trainer.config import ConfigError

GOOD = """\
name: rows
base: {data: {source: synthetic}, encoder: tiny}
search: {algorithm: list}
enqueue:
  - &annealed {sampler: annealed, B: 100}
  - {sampler: arrp, B: 50}
  - &alone {sampler: single_task, train_task: sst}
published:
  source: P9
  setup: {epochs: 10, train: {sst: 100, qqp: 200}, B: 16000}
  rows:
    - &row {method: A, config: *annealed, sst: 0.5, cfimdb: 0.25, setup: {B: 56000}}
    - {method: J, joined: {sst: *alone}, dev_score: 0.5}
profiles:
  other:
    enqueue: [{sampler: annealed, B: 7}]
  named:
    enqueue: [{sampler: annealed, B: 7}]
    published: {rows: [{<<: *row, config: {sampler: annealed, B: 7}}]}
  wrong:
    enqueue: [{sampler: annealed, B: 7}]
    published: {rows: [*row]}
"""


def load(folder: Path, text: str = GOOD, *overrides: str, profile: str | None = None) -> SweepSpec:
    (folder / "sweep.yaml").write_text(text)
    return load_spec(str(folder / "sweep.yaml"), profile, overrides)


def refused(folder: Path, text: str, profile: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, profile=profile)
    return str(caught.value)


def test_a_row_has_figures_of_any_task_and_a_set_up_over_that_of_all_rows(tmp_path: Path) -> None:
    published = load(tmp_path).published
    assert published is not None
    row, joined = published.rows
    assert row.tasks == {"sst": 0.5, "cfimdb": 0.25}
    assert [path for path, _ in joined.configs()] == [("joined", "sst")]
    setup = published.setup_of(row)
    assert (setup.B, setup.epochs, setup.train) == (56000, 10, {"sst": 100, "qqp": 200})
    assert published.setup_of(joined).B == 16000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("config: *annealed, ", "", "published.rows[0]: names no configuration"),
        ("config: *annealed, ", "config: *annealed, joined: {sst: *alone}, ", "not both"),
        ("config: *annealed", "config: {sampler: annealed, B: 101}", "no entry of enqueue"),
        ("{sst: *alone}", "{sst: {sampler: single_task, train_task: qqp}}", "rows[1].joined.sst"),
        ("config: *annealed", "config: {sampler: anealed}", "rows[0].config.sampler: unknown"),
        ("cfimdb", "cfmidb", "did you mean 'cfimdb'"),
        ("{sst: *alone}", "{ssst: *alone}", "rows[1].ssst"),
        ("qqp: 200", "qpq: 200", "published.setup.train.qpq"),
        ("setup: {B: 56000}", "setup: {epoch: 1}", "epoch: unknown key (did you mean 'epochs'"),
    ],
)  # fmt: skip
def test_a_row_of_no_configuration_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    assert message in refused(tmp_path, GOOD.replace(old, new))


def test_a_mistake_of_the_base_is_said_once(tmp_path: Path) -> None:
    text = GOOD.replace("encoder: tiny", "encoder: tiny, poolin: mean")
    lines = refused(tmp_path, text).splitlines()
    assert [line for line in lines if "base.poolin" in line] and "published" not in "".join(lines)


def test_moving_an_entry_moves_no_figures(tmp_path: Path) -> None:
    first, second = ("  - &annealed {sampler: annealed, B: 100}\n", "  - {sampler: arrp, B: 50}\n")
    moved = load(tmp_path, GOOD.replace(first + second, second + first))
    assert moved.published == load(tmp_path).published
    assert moved.enqueue[0] == {"sampler": "arrp", "B": 50}


def test_a_profile_with_other_configurations_may_lack_rows_but_not_rename_them(
    tmp_path: Path,
) -> None:
    assert load(tmp_path, profile="other").published == load(tmp_path).published
    named = load(tmp_path, profile="named").published
    assert named is not None and named.rows[0].config == {"sampler": "annealed", "B": 7}
    assert named.rows[0].tasks == {"sst": 0.5, "cfimdb": 0.25}
    assert "no entry of enqueue" in refused(tmp_path, GOOD, profile="wrong")


def test_rows_may_name_points_of_a_grid(tmp_path: Path) -> None:
    grid = """\
name: grid
base: {data: {source: synthetic}, encoder: tiny}
space: {combiner: {choices: [sum, pcgrad]}, dropout: {choices: [0.0, 0.3]}}
search: {algorithm: grid}
published: {source: P9, rows: [{method: A, config: {combiner: sum, dropout: 0.3}, sst: 0.5}]}
"""
    assert len(load(tmp_path, grid).enqueue) == 4
    assert "no entry of enqueue" in refused(tmp_path, grid.replace("dropout: 0.3", "dropout: 0.2"))


def test_the_resolved_spec_keeps_rows_and_set_ups(tmp_path: Path) -> None:
    spec = load(tmp_path)
    (tmp_path / "resolved.yaml").write_text(spec.to_yaml())
    assert load_spec(str(tmp_path / "resolved.yaml")) == spec


def test_a_file_of_the_first_format_may_leave_out_configurations(tmp_path: Path) -> None:
    old = GOOD.replace("config: *annealed, ", "")
    assert "names no configuration" in refused(tmp_path, old)
    published = load(tmp_path, f"format: 1\n{old}").published
    assert published is not None and published.rows[0].config == {"sampler": "annealed", "B": 100}


def test_rows_of_the_first_format_belong_to_the_entry_at_their_position() -> None:
    rows: list[dict[str, Any]] = [{"method": "a"}, {"method": "b", "config": {"B": 1}}]
    rows += [{"method": "c"}, {"method": "alone"}]
    plain = {
        "name": "old",
        "enqueue": [{"sampler": "arrp"}, {"sampler": "cycle"}, {"B": 3}],
        "published": {"source": "P9", "rows": rows},
    }
    read = by_position(plain)["published"]["rows"]
    configs = [row.get("config") for row in read]
    assert configs == [{"sampler": "arrp"}, {"B": 1}, {"B": 3}, None]
    for odd in ({}, {"published": None}, {"published": {"rows": 3}, "enqueue": []}):
        assert by_position(odd) == odd
