"""The image and the compose file: by their schemas, and against each other.

The real stack is brought up by `tests/cluster/run` (docs/guide/cluster.md).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.spec import load_spec
from tests.support.paths import ROOT

DOCKER = ROOT / "docker"


def programs(name: str) -> str:
    """A program that a package of the extra `test` brings."""
    found = shutil.which(
        name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    assert found, f"{name} is not installed; pip install -c constraints.txt -e '.[test]'"
    return found


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text()))


SERVICES = sorted(compose()["services"])


def test_the_dockerfile_is_clean() -> None:
    answer = subprocess.run(
        [programs("hadolint"), DOCKER / "Dockerfile"], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_a_compose_file_obeys_the_specification(name: str) -> None:
    answer = subprocess.run(
        [programs("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DOCKER / name],
        capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_only_loopback_is_published() -> None:
    ports = [port for about in compose()["services"].values() for port in about.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_confined(service: str) -> None:
    about = compose()["services"][service]
    assert about["read_only"] is True
    assert about["cap_drop"] == ["ALL"]
    assert "cap_add" not in about and "privileged" not in about
    assert about["security_opt"] == ["no-new-privileges:true"]
    limits = about["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)
    assert "test" in about["healthcheck"]
    user = about.get("user", "image's")
    assert user == "image's" or not user.startswith(("0", "root"))


def test_secrets_are_files_and_stand_nowhere_else() -> None:
    made = compose()
    assert all(set(about) == {"file"} for about in made["secrets"].values())
    names = {secret["target"] for about in made["services"].values() for secret in about["secrets"]}
    for about in made["services"].values():
        assert not names & set(about.get("environment", {}))
        assert not re.search(r"://\w+:\w+@", str(about)), "a password in an address"
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "docker/secrets/ray_token"], cwd=ROOT, check=False
    )
    assert ignored.returncode == 0


def test_a_service_waits_for_what_it_needs() -> None:
    for about in compose()["services"].values():
        for condition in about.get("depends_on", {}).values():
            assert condition == {"condition": "service_healthy"}


def test_the_gpu_file_changes_services_that_are_there() -> None:
    over = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]
    assert set(over) <= set(SERVICES)
    # Every node of a cluster must have the same torch.
    assert over["head"]["image"] == over["worker"]["image"]


def test_a_stop_is_longer_than_a_commit() -> None:
    grace = load_spec(str(ROOT / "search_spaces" / "arrp.yaml"), None, ()).resources.grace_seconds
    for service in ("head", "worker"):
        assert int(compose()["services"][service]["stop_grace_period"].removesuffix("s")) > grace


def run_script(name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DOCKER / "bin" / name, *words], capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], **environment},
    )  # fmt: skip


def test_secrets_become_variables(tmp_path: Path) -> None:
    (tmp_path / "RAY_AUTH_TOKEN").write_text("a b'c\"$d\n")
    (tmp_path / "not a name").write_text("x")
    (tmp_path / "lower").write_text("x")
    shown = "import os; print(os.environ['RAY_AUTH_TOKEN'], 'lower' in os.environ)"
    done = run_script("with-secrets", sys.executable, "-c", shown, SECRETS=str(tmp_path))
    assert done.stdout == "a b'c\"$d False\n", done.stderr
    assert run_script("with-secrets", "true", SECRETS=str(tmp_path / "none")).returncode == 0


def test_secrets_are_made_once_and_in_a_private_folder(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    for _ in range(2):
        subprocess.run([DOCKER / "make-secrets", folder], check=True, capture_output=True)
        made = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(made) == set(compose()["secrets"])
    again = {file.name: file.read_text() for file in folder.iterdir()}
    assert again == made and len(set(made.values())) == len(made)
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in made.values())
    assert folder.stat().st_mode & 0o077 == 0


def test_only_what_the_image_needs_is_sent_to_its_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DOCKER / "Dockerfile").read_text(), re.M)
    assert {name.rstrip("/") for line in copied for name in line.split()} == sent
