"""A dry run says where B asks for more examples than there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from orchestrator.preflight.budgets import Budget, budgets
from tests.support.command import orch
from tests.support.small import small_config
from trainer.data.corpus import prepare
from trainer.data.sources import train_sizes
from trainer.loop.run import Run


def test_the_sizes_are_those_of_the_corpus(cache: Path, tmp_path: Path) -> None:
    config = small_config(cache, data={"size": 24, "limit": {"qqp": 50}})
    assert train_sizes(config) == prepare(config).sizes()
    header = "\tid\tsentence1\tsentence2\tis_duplicate\n"
    rows = "".join(f"{n}\t{n}\ta\tb\t{n % 2}.0\n" for n in range(7))
    (tmp_path / "quora-train.csv").write_text(header + rows)
    data = {"source": "cs224n", "root": str(tmp_path), "dev_limit": {}}
    assert train_sizes(small_config(cache, data=data, tasks=["qqp"])) == {"qqp": 7}


@pytest.mark.parametrize(
    ("changes", "drawn"),
    [
        ({"sampler": "arrp", "B": 100_000}, "what is left"),
        ({"sampler": "arrp", "B": 30}, 30),
        ({"sampler": "arrp", "B": {"qqp": 20, "sst": 100_000}}, "what is left"),
        ({"sampler": "annealed", "B": 100_000}, 100_000),  # it starts over
        ({"sampler": "proportional", "B": 70}, 70),
    ],
    ids=str,
)
def test_the_drawn_examples_are_those_of_the_trials_plan(
    cache: Path, changes: dict, drawn: int | str
) -> None:
    config = small_config(cache, data={"size": 24}, **changes)
    (found,) = budgets([config])
    assert found is not None
    phases = [p for p in Run(config).plan(1) if p.name != "round_robin"]
    assert found.drawn == sum(phase.examples for phase in phases)
    if drawn == "what is left":
        assert found.drawn < found.asked
        assert found.text == (
            f"B is cut: {found.asked:,} examples are asked for, {found.drawn:,} are left"
        )
    else:
        assert (found.drawn, found.text) == (drawn, "")


def test_what_has_no_B_has_no_budget_and_missing_data_are_said(cache: Path, tmp_path: Path) -> None:
    gone = {"source": "cs224n", "root": str(tmp_path / "gone")}
    found = budgets(
        [
            small_config(cache, sampler="round_robin"),
            small_config(cache, sampler="arrp", B=9, data=gone),
        ]
    )
    assert found[0] is None
    assert isinstance(found[1], Budget) and found[1].drawn is None
    assert "ids-sst-train.csv: task sst needs this file" in found[1].text


def test_the_dry_run_prints_it_below_the_configuration(tmp_path: Path) -> None:
    sweep = {
        "name": "cut", "base": {"data": {"source": "synthetic", "size": 20}, "encoder": "tiny"},
        "search": {"algorithm": "list"},
        "enqueue": [{"sampler": "arrp", "B": 5}, {"sampler": "arrp", "B": 7000}],
    }  # fmt: skip
    (tmp_path / "cut.yaml").write_text(yaml.safe_dump(sweep))
    shown = orch("sweep", "cut.yaml", "--dry-run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "\nconfiguration 2: B is cut: 7,000 examples are asked for, " in shown.stdout
    assert shown.stdout.count("is cut") == 1
    described = orch("sweep", "cut.yaml", "--dry-run", "--json", cwd=tmp_path).stdout
    drawn = [each["drawn"] for each in json.loads(described)["B"]]
    assert drawn[0] == 5 and 0 < drawn[1] < 7000
