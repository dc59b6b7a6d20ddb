"""A shell's variables do not decide what a sweep does, or the sweep names them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from orchestrator import environment
from orchestrator.environment import RULES, rule_of
from orchestrator.runner import auth_token, local_ray
from tests.support.hostile import HOSTILE
from tests.support.paths import ROOT
from tests.support.scripts import script


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A copy of the environment with all of them."""
    return {**os.environ, **HOSTILE}


def test_every_rule_is_reached_by_its_own_names() -> None:
    for rule in RULES:
        for name in rule.names.split():
            example = name.replace("[a-z]*", "memory").replace("*", "ANY_OTHER")
            found = rule_of(example)
            assert found is rule or (found and found.reader == rule.reader), name
        assert bool(rule.value) == (rule.fate == "ours") or "*" in rule.names, rule


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_variable_acts_unnamed(name: str, hostile: dict[str, str]) -> None:
    """After all doors have done their work, it is gone, has our value, or is said."""
    environment.make_our_own(hostile)
    environment.set_ours("Ray", hostile)
    environment.set_ours("MLflow", hostile)
    with environment.without("Ray", "Ray Tune", environment=hostile):
        rule = rule_of(name)
        assert rule is not None
        acting = name in hostile and hostile[name] == HOSTILE[name]
        own = name == "RAY_AUTH_MODE" or name.endswith(("_NUM_THREADS", "PROXY", "_proxy"))
        assert not acting or own or name in environment.note(hostile)  # own: tested below


def test_a_ray_of_our_own_sees_nothing_of_clusters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    def init(**options: Any) -> None:
        seen.update(options, environment=dict(os.environ))

    monkeypatch.setattr(local_ray.ray, "init", init)
    for name, value in {**HOSTILE, "RAY_memory_usage_threshold": "0.9"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of a cluster")
    before = dict(os.environ)
    try:
        local_ray.start(tmp_path)
        given = {key: value for key, value in seen["environment"].items() if "RAY_" in key}
        allowed = {name for rule in RULES if rule.fate == "ours" for name in rule.names.split()}
        allowed |= {"RAY_memory_usage_threshold", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}
        allowed |= {local_ray.ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, *local_ray._PATIENCE}
        assert given.keys() <= allowed
        assert given["RAY_AUTH_MODE"] == "token" and len(given["RAY_AUTH_TOKEN"]) == 64
        assert seen["address"] == "local" and Path(seen["_temp_dir"]).parent == tmp_path
        after = {**os.environ, "RAY_AUTH_MODE": before["RAY_AUTH_MODE"]}
        assert after == before, "the user's own variables are back"
    finally:
        auth_token.forget()


def test_servers_of_this_machine_are_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import urllib.request

    import requests

    monkeypatch.setenv("HTTP_PROXY", "http://10.255.255.1:9")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    monkeypatch.setenv("no_proxy", "intranet.example")
    environment.reach_this_machine_directly()
    for host in ("127.0.0.1:5000", "localhost:5000"):
        assert urllib.request.proxy_bypass(host)
        assert not requests.utils.get_environ_proxies(f"http://{host}/")
    assert requests.utils.get_environ_proxies("http://elsewhere.example/")
    assert os.environ["NO_PROXY"].startswith("intranet.example,")


def test_models_are_registered_where_the_runs_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: bytes
) -> None:
    from orchestrator.database_urls import resolve_uri
    from orchestrator.tracking.database import connect

    (tmp_path / "mlflow.db").write_bytes(database)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    client = connect(resolve_uri("sqlite:///mlflow.db", tmp_path))
    client.create_registered_model("m")
    assert [path.name for path in tmp_path.glob("*.db")] == ["mlflow.db"]


def test_what_acts_on_trials_is_one_line() -> None:
    assert environment.note({"MKL_CBWR": "AVX2", "HOME": "/", "OMP_NUM_THREADS": "2"}) == (
        "environment: MKL_CBWR may change numbers, minutes or memory of the trials"
    )
    assert environment.note({"PATH": "/bin"}) == ""


def test_warnings_of_libraries_end_no_command() -> None:
    code = (
        "import warnings; from orchestrator.environment import make_our_own; make_our_own(); "
        "warnings.warn('of a library', DeprecationWarning)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_figures_do_not_look_like_the_users_own() -> None:
    import matplotlib

    from orchestrator.report.style import styled

    with matplotlib.rc_context({"text.usetex": True, "axes.titlesize": 40}):
        with styled(), warnings.catch_warnings():
            assert not matplotlib.rcParams["text.usetex"]
            assert matplotlib.rcParams["axes.titlesize"] == "large"
        assert matplotlib.rcParams["text.usetex"]


def test_the_page_lists_the_rules() -> None:
    page = script(ROOT / "docs" / "reference" / "environment.py")
    assert page.PAGE.read_text(encoding="utf-8") == page.written()


def test_what_libraries_set_themselves_is_not_told_to_the_user() -> None:
    assert environment.note({"KMP_DUPLICATE_LIB_OK": "True", "KMP_INIT_AT_FORK": "FALSE"}) == ""
