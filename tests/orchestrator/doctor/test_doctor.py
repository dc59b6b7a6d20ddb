"""`orch doctor`: every finding, on machines and nodes made up for it, and the command itself."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from typer.testing import CliRunner

from orchestrator import doctor
from orchestrator.cli import app
from orchestrator.doctor import Finding, databases, examine, local, machine
from orchestrator.doctor import cluster as nodes
from orchestrator.doctor.inputs import encoder_finding, input_findings
from orchestrator.doctor.precision import precision_findings
from orchestrator.runner import auth_token
from orchestrator.spec import SweepSpec, load_spec
from tests.support.hosts import multiplying_bf16
from tests.support.paths import ROOT
from trainer.loop.device import Hardware

EMBEDDED = str(ROOT / "search_spaces" / "arrp.yaml")
BIG = 10**12


def spec_of(**parts: Any) -> SweepSpec:
    base = {"data": {"source": "synthetic"}, "encoder": "tiny"} | parts.pop("base", {})
    return SweepSpec.model_validate({"name": "s", "base": base, **parts})


def healthy() -> dict[str, Any]:
    described = machine.describe("~/.cache/orch-mtl")
    return described | {"memory_free": BIG, "cache_free": BIG, "shm_free": BIG}


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.level for finding in findings}


def orch(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_the_command_says_a_line_each_and_exits_by_the_worst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path))
    common = [EMBEDDED, "--profile", "embedded", "--out", str(tmp_path / "out")]
    answer = orch(*common, "--json")
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["ok"]
    looked_at = {finding["what"] for finding in found["findings"]}
    assert looked_at >= {
        "packages", "cpu", "memory", "gpu", "cache", "out", "resources", "token", "listening",
        "data", "encoder", "mlflow", "optuna", "precision",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing else is made"

    missing = ["--set", "base.data.source=cs224n", "--set", "base.data.root=nowhere"]
    wrong = orch(*common, *missing)
    assert wrong.exit_code == 1 and wrong.stderr == ""
    assert "\x1b" not in wrong.stdout
    bad = [line for line in wrong.stdout.splitlines() if line.startswith("error")]
    assert len(bad) == 1 and bad[0].split()[1] == "data" and "nowhere" in bad[0]


def test_a_warning_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("ok", "a", "fine"), Finding("warning", "b", "odd", "mend it", "n1")]
    monkeypatch.setattr(doctor, "examine", lambda *asked: found)
    answer = orch()
    assert answer.exit_code == 0
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert lines == [["ok", "a", "fine"], ["warning", "b", "on", "n1", "odd;", "mend", "it"]]
    found.append(Finding("error", "c", "broken", "mend it"))
    assert orch().exit_code == 1 and json.loads(orch("--json").stdout)["ok"] is False


def test_a_cluster_is_not_looked_at_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_token, "is_set", lambda: False)
    found = list(nodes.cluster_findings(None, ".", "127.0.0.1:1", False))
    assert [finding.level for finding in found] == ["error"]
    assert "no token is set for the cluster at 127.0.0.1:1" in found[0].found


def test_a_healthy_machine_has_no_error() -> None:
    found = list(machine.machine_findings(healthy()))
    assert {"error"} & set(levels(found).values()) == set()


@pytest.mark.parametrize(
    ("what", "key", "value"),
    [("memory", "memory_free", 10**8), ("cache", "cache_free", 10**8), ("shm", "shm_free", 10**6)],
)
def test_what_is_short_is_a_warning_with_a_remedy(what: str, key: str, value: int) -> None:
    found = [f for f in machine.machine_findings(healthy() | {key: value}) if f.what == what]
    assert [f.level for f in found] == ["warning"] and found[0].remedy


def test_a_package_below_its_floor_is_an_error_and_one_not_tested_a_warning() -> None:
    packages = healthy()["packages"]
    told = healthy() | {"packages": packages | {"torch": "2.4.0", "ray": "2.99.0", "optuna": ""}}
    found = [f for f in machine.machine_findings(told, "n1") if f.what == "packages"]
    assert [f.level for f in found] == ["error", "warning"]
    assert "torch 2.4.0 (needs >=2.10)" in found[0].found and "optuna missing" in found[0].found
    assert "ray 2.99.0 (tested with" in found[1].found and found[1].node == "n1"


def test_a_folder_that_cannot_be_written_and_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spec = spec_of(resources={"gpu": 64})
    found = list(local.local_findings(spec, str(tmp_path / "file" / "out"), None))
    assert levels(found)["out"] == levels(found)["resources"] == "error"


@pytest.mark.parametrize(("host", "level"), [("127.0.0.1", "ok"), ("0.0.0.0", "warning")])
def test_what_listens_beyond_loopback_is_named(
    monkeypatch: pytest.MonkeyPatch, host: str, level: str
) -> None:
    monkeypatch.setattr(local, "_PROGRAMS", ("",))
    with socket.create_server((host, 0)) as server:
        finding = local.listening_finding([psutil.Process()])
        port = server.getsockname()[1]
    others = {c.laddr.port for c in psutil.Process().net_connections("inet") if c.laddr}
    assert finding.level == level or others
    assert (f"on port {port}" in finding.found) == (level == "warning")


def test_encoders_are_looked_for_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encoder_finding("tiny").level == "ok"
    assert encoder_finding(str(tmp_path)).level == "error"
    assert encoder_finding(str(tmp_path / "none")).level == "error"
    hub = encoder_finding("nobody/has-such-a-model")
    assert hub.level == "warning" and "not in the Hub's cache" in hub.found


@pytest.mark.parametrize(
    ("precision", "native", "level", "text"),
    [
        ("auto", True, "ok", "bf16 (auto; this CPU multiplies bf16 natively)"),
        ("auto", False, "ok", "fp32 (auto; this CPU does not multiply bf16 natively)"),
        ("bf16", False, "error", "bf16: this CPU does not multiply bf16 natively"),
    ],
)
def test_the_precision_is_named_with_its_reason(
    precision: str, native: bool, level: str, text: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    multiplying_bf16(monkeypatch, native)
    spec = spec_of(base={"precision": precision, "device": "cpu"})
    found = [f for f in local.local_findings(spec, str(tmp_path), None) if f.what == "precision"]
    assert [finding.level for finding in found] == [level]
    assert found[0].found.startswith(text)
    assert "device: cpu" in found[0].found or "precision: auto" in found[0].remedy


def test_a_kept_precision_that_a_host_lacks_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiplying_bf16(monkeypatch, False)
    spec = spec_of(base={"precision": "auto"}, resolved={"precision": "bf16"})
    (found,) = precision_findings(
        spec, str(tmp_path), [Hardware("cpu", frozenset({"fp32"}), "node n1")]
    )
    assert found.level == "error" and "the CPU of node n1" in found.found
    assert "--fresh" in found.remedy


def test_every_missing_file_is_one_error(tmp_path: Path) -> None:
    spec = spec_of(base={"data": {"source": "cs224n", "root": str(tmp_path)}})
    found = [f for f in input_findings(spec) if f.what == "data"]
    assert [f.level for f in found] == ["error"]
    assert "quora-train.csv" in found[0].found and "ids-sst-train.csv" in found[0].found


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = list(databases.database_findings(spec_of(), str(tmp_path)))
    assert levels(found) == {"mlflow": "ok", "optuna": "ok"}
    assert "which the first sweep creates" in found[0].found
    assert list(tmp_path.iterdir()) == []


def test_a_relative_study_lies_in_the_folder_of_all_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    optuna.create_study(storage=f"sqlite:///{tmp_path}/optuna.db")
    spec = spec_of(tracking={"study": "sqlite:///optuna.db"})
    (found,) = (f for f in databases.database_findings(spec, str(tmp_path)) if f.what == "optuna")
    assert found.level == "ok" and f"{tmp_path}/optuna.db answers" in found.found


def test_a_database_of_another_version_is_an_error(tmp_path: Path, database: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(database)
    study = f"sqlite:///{tmp_path}/optuna.db"
    optuna.create_study(storage=study)
    spec = spec_of(tracking={"study": study})
    assert levels(list(databases.database_findings(spec, str(tmp_path)))) == {
        "mlflow": "ok", "optuna": "ok",
    }  # fmt: skip
    for name in ("mlflow.db", "optuna.db"):
        with sqlite3.connect(tmp_path / name) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'older'")
    found = list(databases.database_findings(spec, str(tmp_path)))
    assert levels(found) == {"mlflow": "error", "optuna": "error"}
    assert "mlflow db upgrade" in found[0].remedy and "older" in found[0].found
    assert "optuna storage upgrade" in found[1].remedy


def test_a_server_that_is_away_is_an_error_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(
        tracking={
            "uri": "http://127.0.0.1:1",
            "study": "postgresql+psycopg://me:${ORCH_SECRET}@127.0.0.1:1/optuna",
        }
    )
    monkeypatch.delenv("ORCH_SECRET", raising=False)
    unset = list(databases.database_findings(spec, str(tmp_path)))
    assert "the environment variable ORCH_SECRET is not set" in unset[1].found
    monkeypatch.setenv("ORCH_SECRET", "tr0ub4dor")
    found = list(databases.database_findings(spec, str(tmp_path)))
    assert levels(found) == {"mlflow": "error", "optuna": "error"}
    assert all("does not answer" in finding.found for finding in found)
    assert "tr0ub4dor" not in str(found)


class Made:
    """A node that is a folder of this machine, with a clock of its own."""

    def __init__(self, out: str, folder: Path, *, late: float = 0, takes: float = 0):
        self._out, self._folder = out, folder
        self._late, self._takes = late, takes

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if function is time.time:
            time.sleep(self._takes)
            return time.time() + self._late
        mine = [str(self._folder) if argument == self._out else argument for argument in arguments]
        try:
            return function(*mine)
        except Exception as error:
            return error


def test_a_clock_that_is_off_by_more_than_a_second_is_an_error(tmp_path: Path) -> None:
    def clock(late: float, takes: float = 0) -> str:
        return nodes.clock_finding(Made("", tmp_path, late=late, takes=takes), "n1").level

    assert clock(0) == clock(0.9) == clock(-0.9) == "ok"
    assert clock(1.2) == clock(-1.2) == clock(40) == "error"
    assert clock(0.95, takes=0.2) == "ok", "nobody knows when within the answer's time it was read"
    lost = nodes.clock_finding(lambda function: OSError("gone"), "n1")
    assert lost.level == "error" and "gone" in lost.found


def test_a_folder_that_all_nodes_share_is_found_so(tmp_path: Path) -> None:
    out = str(tmp_path)
    places = {"n1": Made(out, tmp_path), "n2": Made(out, tmp_path)}
    assert levels(list(nodes.shared_findings(places, out))) == {"shared out": "ok"}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_node_has_for_itself_is_an_error(tmp_path: Path) -> None:
    for name in ("shared", "own"):
        (tmp_path / name).mkdir()
    out = str(tmp_path / "shared")
    places = {
        "n1": Made(out, tmp_path / "shared"),
        "n2": Made(out, tmp_path / "own"),
        "n3": Made(out, tmp_path / "missing"),
    }
    found = {finding.node: finding for finding in nodes.shared_findings(places, out)}
    assert {finding.level for finding in found.values()} == {"error"}
    assert "does not see what n2 wrote" in found["n1"].found
    assert "does not see what this machine, n1 wrote" in found["n2"].found
    assert "cannot write there" in found["n3"].found
    assert not (tmp_path / "missing").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_node_with_other_data_is_an_error(tmp_path: Path) -> None:
    spec = load_spec(EMBEDDED, None, ["base.data.root=" + str(tmp_path / "none")])

    def tell(function: Callable[..., Any], *arguments: Any) -> Any:
        return "0123" if function is nodes.data_of else Made("", tmp_path)(function, *arguments)

    found = [f for f in nodes.node_findings({"n1": tell}, spec) if f.what == "data"]
    assert [f.level for f in found] == ["error"] and found[0].node == "n1"


def test_a_node_that_does_not_answer_is_an_error() -> None:
    found = list(nodes.node_findings({"n1": lambda *asked: OSError("no worker")}, None))
    assert [(f.level, f.what) for f in found] == [("error", "node")]


def test_every_finding_that_is_not_ok_has_a_remedy(tmp_path: Path) -> None:
    spec = load_spec(EMBEDDED, None, ["base.data.root=" + str(tmp_path / "none")])
    found = list(examine(spec, str(tmp_path), None))
    assert all(finding.remedy for finding in found if finding.level != "ok")
