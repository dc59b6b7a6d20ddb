"""A cluster whose nodes differ in what they multiply natively: a sweep has one precision there."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import runner  # noqa: F401  (sets what Ray reads when it is imported)
from tests.support.device_kinds import write_kind
from tests.support.drivers import SMALL_NODE, SWEEP, Driver, trials
from tests.support.paths import ROOT

pytestmark = pytest.mark.exhaustive(reason="a cluster of nodes of two kinds, and a sweep on it")
Start = Callable[..., Driver]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without room for trials, and a node with native bf16; `odd` adds one without."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        head = {**SMALL_NODE, "num_cpus": 0, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)

        def add(native: bool) -> Any:
            folder = tmp_path_factory.mktemp("kind")
            write_kind(folder, native)
            patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
            return made.add_node(**SMALL_NODE)

        made.add_kind = add
        try:
            add(True)
            yield made
        finally:
            made.shutdown()


def sweep(precision: str, **search: Any) -> dict[str, Any]:
    base = SWEEP["base"] | {"precision": precision, "device": "cpu", "epochs": 2}
    return SWEEP | {
        "base": base, "search": SWEEP["search"] | {"num_trials": 1, "seeds": [1, 2]} | search,
    }  # fmt: skip


def precisions(out: Path) -> list[Any]:
    return [trial.identity.get("precision") for trial in trials(out).values()]


def resolved(out: Path) -> Any:
    return yaml.safe_load((out / "s" / "sweep.yaml").read_text()).get("resolved")


def test_a_sweep_has_one_precision_on_nodes_of_two_kinds(
    start: Start, cluster: Any, tmp_path: Path
) -> None:
    at = ("--address", cluster.address)
    native = start(sweep("auto"), *at, name="native")
    assert native.wait() == 0, native.text
    assert "precision: bf16 (auto; the CPU of node " in native.text
    assert precisions(native.out) == ["bf16", "bf16"]
    assert resolved(native.out) == {"precision": "bf16"}

    cluster.add_kind(False)
    mixed = start(sweep("auto"), *at, name="mixed")
    assert mixed.wait() == 0, mixed.text
    assert "precision: fp32 (auto; the CPU of node " in mixed.text
    assert precisions(mixed.out) == ["fp32", "fp32"]
    assert resolved(mixed.out) == {"precision": "fp32"}

    later = start(sweep("auto", seeds=[1, 2, 3]), *at, name="native")
    assert later.wait() == 2, later.text
    assert "auto became bf16 at the first start, and the CPU of node " in later.text
    assert precisions(later.out) == ["bf16", "bf16"] and "Traceback" not in later.text

    explicit = start(sweep("bf16"), *at, name="explicit")
    assert explicit.wait() == 2, explicit.text
    assert "precision: bf16: the CPU of node " in explicit.text
    assert "bf16-emulated" in explicit.text and not list(explicit.out.glob("s/trials/*"))

    assert not (explicit.out / "s" / "sweep.yaml").exists(), "its name stays free for the remedy"

    code = "from orchestrator.cli import main; main()"
    file = str(explicit.out.parent / "sweep.yaml")
    answer = subprocess.run(
        [sys.executable, "-c", code, "doctor", file, *at, "--out", str(explicit.out)],
        capture_output=True, text=True, cwd=ROOT, timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = [line for line in answer.stdout.splitlines() if "precision" in line.split()[:2]]
    assert answer.returncode == 1 and len(lines) == 1, answer.stdout + answer.stderr
    assert lines[0].startswith("error") and "does not multiply bf16 natively" in lines[0]
    (kinds,) = [line for line in answer.stdout.splitlines() if "devices" in line.split()[:2]]
    assert kinds.startswith("warning") and "(bf16, fp32) on " in kinds and "(fp32) on " in kinds
    assert kinds.count(" on ") == 2, "the head has no room for trials"
