"""The image, the compose file and the Kubernetes files: by their schemas, and against each other.

The real stack is brought up by `tests/cluster/run` (docs/guide/cluster.md).
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from orchestrator.spec import load_spec
from tests.support.kuberay import RAY_JOB, crd_schema
from tests.support.paths import ROOT

DOCKER = ROOT / "docker"
KUBERNETES = "1.34"


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


def manifests() -> list[dict[str, Any]]:
    return [made for file in sorted((DOCKER / "k8s").glob("*.yaml")) for made in documents(file)]


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def pods() -> dict[str, dict[str, Any]]:
    """Every pod template by the name of what makes it."""
    found = {}
    for made in manifests():
        name = f"{made['kind']}/{made['metadata']['name']}"
        if made["kind"] == "RayJob":
            cluster = made["spec"]["rayClusterSpec"]
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                found[f"{name}/{group.get('groupName', 'head')}"] = group["template"]
        elif "template" in made.get("spec", {}):
            found[name] = made["spec"]["template"]
    return found


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


@pytest.mark.parametrize("name", ["compose.yaml", "k8s"])
def test_a_stop_is_longer_than_a_commit(name: str) -> None:
    grace = load_spec(str(ROOT / "search_spaces" / "arrp.yaml"), None, ()).resources.grace_seconds
    if name == "compose.yaml":
        for service in ("head", "worker"):
            said = compose()["services"][service]["stop_grace_period"]
            assert int(said.removesuffix("s")) > grace
    else:
        ours = [pod for about, pod in pods().items() if about.startswith("RayJob/")]
        assert len(ours) == 2
        for pod in ours:
            assert pod["spec"]["terminationGracePeriodSeconds"] > grace


@pytest.mark.parametrize(
    "made", manifests(), ids=lambda made: f"{made['kind']}-{made['metadata']['name']}"
)
def test_a_manifest_obeys_its_schema(made: dict[str, Any]) -> None:
    if made["kind"] == "RayJob":
        jsonschema.validate(made, RAY_JOB)
    else:
        kubernetes_validate.validate(made, KUBERNETES, strict=True)


def test_the_job_obeys_kuberays_own_definition() -> None:
    definition = jsonschema.Draft202012Validator(crd_schema())
    (job,) = documents(DOCKER / "k8s" / "rayjob.yaml")
    definition.validate(job)
    (container,) = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    container["imagePullPolice"] = "Always"
    with pytest.raises(jsonschema.ValidationError, match="imagePullPolice"):
        definition.validate(job)


@pytest.mark.parametrize("name", pods())
def test_a_pod_obeys_its_schema_and_is_confined(name: str) -> None:
    template = copy.deepcopy(pods()[name])
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
    kubernetes_validate.validate({**whole, "template": template}, KUBERNETES, strict=True)
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= set(container["resources"])


def test_the_job_has_a_token_and_an_end() -> None:
    (job,) = documents(DOCKER / "k8s" / "rayjob.yaml")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == metadata.version("ray")
    assert spec["backoffLimit"] > 0 and spec["activeDeadlineSeconds"] > 0
    assert spec["shutdownAfterJobFinishes"] and spec["ttlSecondsAfterFinished"] > 0
    file = ROOT / spec["entrypoint"].split()[1]
    wanted = load_spec(str(file), None, ()).resources.gpu
    for group in cluster["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert limits["nvidia.com/gpu"] >= wanted


def test_nothing_is_reached_that_no_policy_names() -> None:
    policies = {made["metadata"]["name"]: made["spec"] for made in documents(
        DOCKER / "k8s" / "network-policy.yaml")}  # fmt: skip
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    components = {template["metadata"]["labels"]["app.kubernetes.io/component"]
                  for template in pods().values()}  # fmt: skip
    assert components <= set(policies)


def test_kubernetes_has_the_files_of_compose() -> None:
    (config,) = (made["data"] for made in manifests() if made["kind"] == "ConfigMap")
    assert config["mlflow-auth.ini"] == (DOCKER / "mlflow-auth.ini").read_text()
    assert config["databases.sql"] == (DOCKER / "postgres" / "databases.sql").read_text()


def test_the_services_of_kubernetes_are_those_of_compose() -> None:
    (container,) = pods()["Deployment/mlflow"]["spec"]["containers"]
    assert container["args"] == compose()["services"]["mlflow"]["command"]


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
