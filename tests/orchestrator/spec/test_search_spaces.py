"""Every search space of the project runs on the embedded profile and quotes its paper."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.spec import load_spec
from tests.support.command import orch, orch_process
from tests.support.drivers import train_all
from tests.support.paths import SEARCH_SPACES
from trainer.combiners.registry import COMBINERS
from trainer.config import TrainConfig
from trainer.config.choices import (
    FROZEN_SETS,
    HEADS,
    JOINED_BY,
    PAIR_FEATURES,
    PAIR_MODES,
    POOLINGS,
    SCHEDULES,
    frozen_set,
)
from trainer.config.task_choices import CLASS_WEIGHTS, LOSSES, METRICS, PAIR_LOSSES
from trainer.config.tasks import TASKS
from trainer.registry import Registry
from trainer.samplers.registry import SAMPLERS

FILES = sorted(SEARCH_SPACES.glob("*.yaml"))
#: The one that Ray runs here; the others' trials are trained in this process.
SWEPT = "p4_smart_relational"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_space_opens_with_its_question_command_minutes_and_best_score(file: Path) -> None:
    head = file.read_text().partition("\nname:")[0]
    for word in ("# Question ", "# Command ", "# Minutes ", "# Best "):
        assert word in head
    assert f"orch sweep search_spaces/{file.name} --profile embedded" in head
    assert load_spec(str(file)).question


@pytest.mark.parametrize("file", [f for f in FILES if f.stem != "arrp"], ids=lambda f: f.stem)
@pytest.mark.slow(reason="trains every search space")
def test_the_embedded_profile_trains_every_row(file: Path, tmp_path: Path, cache: Path) -> None:
    # One epoch of each row: that a profile orders the rows is measured, and not tested.
    quick = [
        "search.seeds=[1]", "base.epochs=1", "tracking={report: false, registered_model: none}",
    ]  # fmt: skip
    options = [word for text in (*quick, f"base.data.cache={cache}") for word in ("--set", text)]
    spec = load_spec(str(file), "embedded", options[1::2])
    if file.stem == SWEPT:
        place = ("--profile", "embedded", "--out", str(tmp_path))
        done = orch_process("sweep", str(file), *place, *options, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert spec.published and all(row.method in done.stdout for row in spec.published.rows)
    else:
        train_all(spec, Ledger(tmp_path, spec.name))
    trials = Ledger(tmp_path, spec.name).trials()
    assert len(trials) == len(spec.enqueue) * len(spec.search.seeds)
    assert {trial.status for trial in trials} == {"complete"}
    if spec.published is None:
        return
    shown = orch("compare", spec.name, "--out", str(tmp_path), "--published", "--json")
    rows = json.loads(shown.stdout)["rows"]
    assert len(rows) == len(spec.published.rows)
    scores = {t.identity["config_id"]: t.summary["dev_score"] for t in trials}
    configs = {t.identity["config_id"]: t.train_config for t in trials}
    for published, row in zip(spec.published.rows, rows, strict=True):
        assert row["method"] == published.method and not row["absent"], row
        assert row["ran"]["train"] and row["seeds"] == [1]
        assert row["published"].keys() <= row["ours"].keys()
        if published.config is None:
            continue
        wanted = spec.config_for(published.config, 1).canonical()
        (mine,) = [key for key, config in configs.items() if config.canonical() == wanted]
        assert row["ours"]["dev_score"] == pytest.approx(scores[mine]), row["method"]


#: The names of the lists that public projects use beyond the papers, which extras.yaml has.
LISTS: list[Registry] = [
    SAMPLERS, PAIR_MODES, POOLINGS, PAIR_FEATURES, HEADS, LOSSES, PAIR_LOSSES,
    CLASS_WEIGHTS, METRICS, SCHEDULES,
]  # fmt: skip
#: Keys that are a method of a paper or of the projects by themselves.
KEYS = (
    "shared_layer", "relational_layer", "smart_weight", "bregman_weight", "surgery_groups",
    "optimizer_state", "lambda", "draws_per_step", "steps_per_epoch", "pretrain_epochs", "dropout",
    "annealing", "clip_norm", "accumulate", "layer_decay", "adam_epsilon", "score", "warmup_steps",
    "task_weights",
)  # fmt: skip


def configs() -> Iterator[TrainConfig]:
    """The configurations of all search spaces, with both ends or all choices of dimensions."""
    for spec in (load_spec(str(file)) for file in FILES):
        for entry in spec.enqueue:
            yield spec.config_for(entry, 1)
        open_keys = {key: d.choices or [d.low, d.high] for key, d in spec.space.items()}
        for values in itertools.product(*open_keys.values()):
            yield spec.config_for(dict(zip(open_keys, values, strict=True)), 1)


@pytest.fixture(scope="module")
def trained() -> list[TrainConfig]:
    return list(configs())


def test_no_method_lacks_a_search_space(trained: list[TrainConfig]) -> None:
    """Every name of the lists, the combiners and frozen sets of the papers, and every task."""
    used: set[tuple[str, str]] = set()
    for config in trained:
        used |= {("sampler", config.sampler), ("combiner", config.combiner)}
        used.add(("schedule", config.schedule))
        used |= {
            ("frozen set", found[0].name)
            for name in config.freeze.split(JOINED_BY)
            if (found := frozen_set(name))
        }
        for task in config.task_list:
            used |= {("task", task.name), ("loss", task.loss), ("metric", task.metric)}
            used.add(("pooling", config.for_task("pooling", task.name)))
            used.add(("class weights", config.for_task("class_weights", task.name)))
            used.add(("pair loss", config.for_task("pair_loss", task.name)))
            used.add(("head", config.head_of(task.name)))
            if task.is_pair:
                used.add(("pair mode", config.pair_of(task.name)))
                used.add(("pair features", config.for_task("pair_features", task.name)))
    wanted = {(each.concept, name) for each in LISTS for name in each}
    for each in (COMBINERS, FROZEN_SETS):
        papers = {entry.name: re.search(r"\bP[0-4]\b", entry.paper) for entry in each.values()}
        wanted |= {(each.concept, name) for name, paper in papers.items() if paper}
    wanted |= {("task", name) for name in TASKS}
    assert sorted(wanted - used) == []


@pytest.mark.parametrize("key", KEYS)
def test_a_search_space_gives_the_key_another_value_than_its_default(
    trained: list[TrainConfig], key: str
) -> None:
    default = TrainConfig().to_dict()[key]
    assert any(config.to_dict()[key] != default for config in trained)


def test_every_published_table_is_quoted_with_all_its_rows() -> None:
    """Rows by table, as METHODS lists them; a joined row counts once, every reading of P2 once."""
    quoted = {
        file.stem: published.rows
        for file in FILES
        if (published := load_spec(str(file)).published) is not None
    }
    counts = {name: len(rows) for name, rows in quoted.items()}
    assert counts == {
        "table2": 8, "table3": 5, "table4": 8, "study": 8, "p1_mix_surgery": 8,
        "p2_gradient_descent": 8, "baselines": 6, "p4_smart_relational": 9,
    }  # fmt: skip
    (single,) = [row for row in quoted["table2"] if row.joined]
    assert (single.method, list(single.joined or ())) == (
        "full model finetuning", ["sst", "qqp", "sts"],
    )  # fmt: skip
    assert quoted["table2"][-1].config == {"sampler": "untrained", "epochs": 1}
    assert all(row.minutes_per_epoch is not None for row in quoted["table3"])


def test_published_figures_are_asked_for_in_vain_where_none_are_quoted(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "bare"
    (folder / "trials").mkdir(parents=True)
    (folder / "sweep.yaml").write_text("name: bare\n")
    done = orch("compare", "bare", "--out", str(tmp_path), "--published")
    assert done.returncode == 2
    assert "quotes no published figures" in done.stderr and "Traceback" not in done.stderr
