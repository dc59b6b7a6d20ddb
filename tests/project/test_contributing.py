"""CONTRIBUTING.md: a copy of the project to which its recipes are applied, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from safetensors import safe_open

from tests.support.paths import ROOT

_RECIPE = re.compile(r"^<!-- (?P<where>.+?) -->\n```python\n(?P<code>.*?)^```$", re.M | re.S)
_NEW_FILE = re.compile(r"new file: (?P<file>\S+)")
_IN_FILE = re.compile(r"in (?P<file>\S+), (?P<how>at the end of|before:|after:) (?P<what>.+)")

SWEEP: dict[str, Any] = {
    "name": "recipes",
    "base": {
        "data": {"source": "synthetic", "size": 40}, "encoder": "tiny", "epochs": 1,
        "head": "gated", "loss_factor": 2.0, "device": "cpu", "threads": 1,
    },
    "search": {
        "algorithm": "list", "num_trials": 2,
        "objectives": {"dev_score": "max", "loss_range": "min"},
    },
    "enqueue": [
        {"sampler": "smallest_first", "combiner": "sum"},
        {"sampler": "round_robin", "combiner": "equal_lengths"},
    ],
    "resources": {"cpu": 1, "max_concurrent": 2},
    "tracking": {"report": False, "registered_model": "none"},
}  # fmt: skip


def apply(recipe: re.Match[str], root: Path) -> None:
    """Make the change that one block of the page describes."""
    if new := _NEW_FILE.fullmatch(recipe["where"]):
        assert not (root / new["file"]).exists()
        (root / new["file"]).write_text(recipe["code"])
        return
    place = _IN_FILE.fullmatch(recipe["where"])
    assert place is not None, recipe["where"]
    text = (root / place["file"]).read_text()
    if place["how"] == "at the end of":
        found = re.search(rf"^{place['what']} = \w+\(\n.*?(?=^\))", text, re.M | re.S)
        assert found, recipe["where"]
        at = found.end()
    else:
        found = re.search(rf"^.*{re.escape(place['what'])}.*\n", text, re.M)
        assert found, recipe["where"]
        at = found.start() if place["how"] == "before:" else found.end()
    gap = "\n\n" if recipe["code"].startswith("class ") else ""
    (root / place["file"]).write_text(text[:at] + recipe["code"] + gap + text[at:])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with every recipe of the page applied."""
    root = tmp_path_factory.mktemp("recipes")
    for package in ("trainer", "orchestrator"):
        shutil.copytree(
            ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    recipes = list(_RECIPE.finditer((ROOT / "CONTRIBUTING.md").read_text()))
    assert len(recipes) == 10
    for recipe in recipes:
        apply(recipe, root)
    return root


def orch(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def swept(project: Path, cache: Path) -> Path:
    """The folder of a sweep that uses everything that was added."""
    base = SWEEP["base"] | {"data": SWEEP["base"]["data"] | {"cache": str(cache)}}
    (project / "sweep.yaml").write_text(yaml.safe_dump(SWEEP | {"base": base}))
    done = orch(project, "sweep", "sweep.yaml", "--out", "sweeps")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return project / "sweeps" / "recipes"


@pytest.mark.slow(reason="a whole sweep of a copy of the project")
def test_what_was_added_trains(swept: Path) -> None:
    trials = list((swept / "trials").iterdir())
    configs = [json.loads((trial / "config.json").read_text())["canonical"] for trial in trials]
    assert {config["sampler"] for config in configs} == {"smallest_first", "round_robin"}
    assert {config["combiner"] for config in configs} == {"sum", "equal_lengths"}
    assert {config["loss_factor"] for config in configs} == {2.0}
    for trial in trials:
        assert json.loads((trial / "end.json").read_text())["status"] == "complete"
        with safe_open(trial / "checkpoints/001/weights.safetensors", "pt") as weights:
            assert "heads.sst.gate.weight" in weights.keys()  # noqa: SIM118  (no mapping)


def test_what_was_added_is_offered_by_the_schema(project: Path) -> None:
    schema = json.loads(orch(project, "schema").stdout)
    keys = schema["$defs"]["Config"]["properties"]
    assert "smallest_first" in keys["sampler"]["enum"]
    assert "equal_lengths" in keys["combiner"]["enum"]
    assert "gated" in keys["head"]["anyOf"][0]["enum"]
    assert keys["loss_factor"]["maximum"] == 1000
    assert "loss_range" in json.dumps(schema["$defs"]["SearchSpec"])


def test_what_was_added_is_offered_by_error_messages(project: Path) -> None:
    wrong = {
        "sampler": "smallest_frst",
        "combiner": "equal_length",
        "head": "gatde",
        "loss_facto": 1,
    }
    sweep = SWEEP | {"base": SWEEP["base"] | wrong, "enqueue": [{}]}
    sweep["search"] = sweep["search"] | {"objectives": {"loss_rang": "min"}}
    (project / "wrong.yaml").write_text(yaml.safe_dump(sweep))
    refused = orch(project, "validate", "wrong.yaml")
    assert refused.returncode == 2
    for name in ("smallest_first", "equal_lengths", "gated", "loss_factor", "loss_range"):
        assert name in refused.stderr, refused.stderr


@pytest.mark.slow(reason="a whole sweep of a copy of the project")
def test_a_number_that_was_added_is_seen_everywhere(project: Path, swept: Path) -> None:
    client = MlflowClient(f"sqlite:///{swept.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("recipes")
    runs = client.search_runs([experiment.experiment_id])
    trials = [run for run in runs if "trial_id" in run.data.tags]
    assert len(trials) == 2 and all("train/loss_range" in run.data.metrics for run in trials)
    shown = orch(project, "show", "recipes", trials[0].data.tags["trial_id"], "--out", "sweeps")
    assert "loss_range" in shown.stdout
    compared = orch(project, "compare", "recipes", "--out", "sweeps", "--json")
    rows = json.loads(compared.stdout)["rows"]
    assert all("loss_range" in row["numbers"] for row in rows)
