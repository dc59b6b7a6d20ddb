"""The lists of names: everything in them can be used, and nobody keeps a second list."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec.json_schema import sweep_schema
from tests.support.paths import ROOT
from trainer.combiners.registry import COMBINERS, build
from trainer.config import ConfigError, TrainConfig, fields_of
from trainer.config.choices import (
    FROZEN_SETS,
    HEADS,
    PAIR_FEATURES,
    PAIR_MODES,
    POOLINGS,
    SCHEDULES,
    frozen_set,
)
from trainer.config.task_choices import CLASS_WEIGHTS, LOSSES, METRICS, PAIR_LOSSES
from trainer.registry import CodeEntry, Entry, Registry
from trainer.samplers.registry import SAMPLERS

LISTS: list[Registry[Any]] = [
    SAMPLERS, COMBINERS, PAIR_MODES, POOLINGS, PAIR_FEATURES, HEADS, LOSSES, PAIR_LOSSES,
    CLASS_WEIGHTS, METRICS, FROZEN_SETS, SCHEDULES,
]  # fmt: skip
ENTRIES = [(each.concept, entry) for each in LISTS for entry in each.values()]


def test_a_name_stands_in_its_list_once() -> None:
    entry = Entry(name="a", summary="Pi.")
    with pytest.raises(ValueError, match="number: a name is listed twice"):
        Registry("number", entry, entry)


@pytest.mark.parametrize(
    "entry", [entry for _, entry in ENTRIES], ids=[f"{c}-{e.name}" for c, e in ENTRIES]
)
def test_every_entry_can_be_used_and_says_what_it_does(entry: Entry) -> None:
    assert not isinstance(entry, CodeEntry) or callable(entry.load())
    assert entry.summary.endswith(".")
    assert set(entry.keys) <= set(fields_of())


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("sampler", SAMPLERS),
        ("combiner", COMBINERS),
        ("pair", PAIR_MODES),
        ("head", HEADS),
        ("pair_loss", PAIR_LOSSES),
        ("class_weights", CLASS_WEIGHTS),
        ("pooling", POOLINGS),
        ("pair_features", PAIR_FEATURES),
        ("schedule", SCHEDULES),
    ],
)
def test_schema_and_error_message_offer_the_whole_list(key: str, names: Registry[Any]) -> None:
    schema = sweep_schema()["$defs"]["Config"]["properties"][key]
    shapes = schema.get("anyOf", [schema])
    assert [*names] == [name for name in shapes[0]["enum"] if name in names]
    with pytest.raises(ConfigError, match=f"{key}: unknown value 'x'.*{', '.join(names)}"):
        TrainConfig.from_dict({key: "x"})


@pytest.mark.parametrize(("key", "names"), [("loss", LOSSES), ("metric", METRICS)])
def test_a_task_may_declare_what_stands_in_the_list(key: str, names: Registry[Any]) -> None:
    with pytest.raises(ConfigError, match=f"{key}: unknown value 'x'.*{', '.join(names)}"):
        TrainConfig.from_dict({"task_declarations": {"sst": {key: "x"}}})


@pytest.mark.parametrize("name", FROZEN_SETS)
def test_a_frozen_set_is_found_by_the_name_that_the_list_shows(name: str) -> None:
    named = frozen_set(name)
    assert named is not None and named[0].name == name


#: Names that mean something else too: PCGrad's reductions, parts of the model.
AMBIGUOUS = {"sum", "mean", "none", "encoder", "embeddings", "pooler"}


def several_names(path: Path) -> Iterator[str]:
    """The lists, tuples and sets in a file that hold two registered names or more, and the mappings
    from nothing but such names."""
    names = {name for each in LISTS for name in each} - AMBIGUOUS
    for node in ast.walk(ast.parse(path.read_text())):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = [*node.elts]
        elif isinstance(node, ast.Dict):
            parts = [*node.keys]
        held = {part.value for part in parts if isinstance(part, ast.Constant)}
        if len(held & names) > 1 and (held <= names or not isinstance(node, ast.Dict)):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def test_no_other_list_of_names_stands_in_the_code() -> None:
    """A second list would go stale."""
    files = [*(ROOT / "trainer").rglob("*.py"), *(ROOT / "orchestrator").rglob("*.py")]
    assert len(files) > 200
    found = {path: list(several_names(path)) for path in files}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_a_second_list_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(
        'WEIGHTS = {\n "arrp": 1,\n "annealed": 2,\n}\nOTHER = ["linear", "x", "cosine"]\n'
        'FINE = {"arrp": 1, "annealed": 2, "score": 3}, ["linear"]\n'
    )
    assert [line.split(":")[0] for line in several_names(path)] == ["line 1", "line 5"]


@pytest.mark.parametrize("name", [name for name in COMBINERS if not name.startswith("torchjd.")])
def test_the_list_says_which_combiners_need_the_gramian(name: str) -> None:
    assert COMBINERS[name].needs_gramian == build(TrainConfig(combiner=name)).needs_gramian


def test_every_key_of_a_config_is_read_outside_the_config() -> None:
    """A key that nothing reads would be recorded as if it acted."""
    code = "".join(
        path.read_text()
        for path in sorted((ROOT / "trainer").rglob("*.py"))
        if path.parent.name != "config"
    )
    # `task_list` reads them for everybody.
    assert ".task_list" in code
    for key, field in fields_of().items():
        if key == "task_declarations":
            continue
        name = field.name.rstrip("_")
        ways = rf"\bconfig\.{field.name}\b|\.{name}_of\(|for_task\(\"{name}\""
        reads = re.search(ways, code)
        assert reads, f"nothing outside trainer/config reads {key}"


def test_the_page_of_methods_holds_the_lists() -> None:
    place = ROOT / "docs" / "reference" / "tables.py"
    spec = importlib.util.spec_from_file_location("tables", place)
    assert spec is not None and spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    page = tables.PAGE.read_text()
    assert page.count("<!-- generated: methods tables |") == len(LISTS)
    assert tables.filled(page) == page, "run python docs/reference/tables.py"
