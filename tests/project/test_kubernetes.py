"""docker/k8s: what each overlay sends, by the schemas, by "restricted", and against other files.

No cluster takes part.  tests/support/kustomize.py builds the overlays.
"""

from __future__ import annotations

import copy
import json
import math
import re
import shlex
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from orchestrator.job_package import LEAVING_S
from tests.support.kuberay import RAY_JOB, crd_schema
from tests.support.kustomize import Manifest
from tests.support.manifests import (
    EVERYTHING,
    FOLDER,
    OVERLAYS,
    PODS,
    job_of,
    named,
    overlay,
    sweep_of,
)
from tests.support.paths import ROOT
from tests.support.restricted import violations

DOCKER = ROOT / "docker"
KUBERNETES = "1.34"


def test_the_overlays_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "guide" / "cluster.md").read_text()
    assert set(re.findall(r"docker/k8s/overlays/(\w+)", page)) == set(OVERLAYS)


@pytest.mark.parametrize("name", ["smoke", "restricted"])  # which has all of `gpu`
def test_the_overlays_are_built_as_kustomize_builds_them(name: str) -> None:
    program = shutil.which("kustomize") or shutil.which("kubectl")
    if program is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    words = ["build"] if Path(program).name == "kustomize" else ["kustomize"]
    answer = subprocess.run(
        [program, *words, FOLDER / "overlays" / name], capture_output=True, text=True, check=True
    )

    def in_order(made: list[Manifest]) -> list[str]:
        return sorted(json.dumps(each, sort_keys=True) for each in made)

    assert in_order(list(yaml.safe_load_all(answer.stdout))) == in_order(overlay(name))


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_manifest_obeys_its_schema(name: str) -> None:
    made = EVERYTHING[name]
    if made["kind"] == "RayJob":
        jsonschema.validate(made, RAY_JOB)
    else:
        kubernetes_validate.validate(made, KUBERNETES, strict=True)


def test_the_jobs_obey_kuberays_own_definition() -> None:
    definition = jsonschema.Draft202012Validator(crd_schema())
    jobs = [made for made in EVERYTHING.values() if made["kind"] == "RayJob"]
    assert len(jobs) == 2, "that of smoke, and one of the two others"
    for job in jobs:
        definition.validate(job)
    job = copy.deepcopy(jobs[0])
    job["spec"]["submitterPodTemplate"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(jsonschema.ValidationError, match="imagePullPolice"):
        definition.validate(job)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_obeys_its_schema_and_is_confined(name: str) -> None:
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
    kubernetes_validate.validate({**whole, "template": PODS[name]}, KUBERNETES, strict=True)
    pod = PODS[name]["spec"]
    assert violations(pod) == []
    assert pod["securityContext"]["runAsUser"] > 0
    # Only the autoscaler asks Kubernetes for anything.
    assert name.endswith("/head") or pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"requests", "limits"} <= set(container["resources"])
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted <= {volume["name"] for volume in pod["volumes"]}
    if "orch-mtl" in str(pod):
        assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_the_namespace_of_restricted_refuses_other_pods_and_has_all_of_the_rest() -> None:
    made = overlay("restricted")
    (space,) = named(made, "Namespace").values()
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [each for each in made if each["kind"] != "Namespace"]
    assert {each["metadata"]["namespace"] for each in others} == {space["metadata"]["name"]}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_job_has_a_token_an_end_and_no_new_clusters(name: str) -> None:
    spec = job_of(name)["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == metadata.version("ray")
    assert spec["activeDeadlineSeconds"] > 0 and spec["preRunningDeadlineSeconds"] > 0
    assert spec["shutdownAfterJobFinishes"] and spec["ttlSecondsAfterFinished"] > 0
    # KubeRay would also repeat a wrong input, on new nodes.
    assert spec["backoffLimit"] == 0 and spec["submitterConfig"]["backoffLimit"] > 0


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_worker_is_paid_for_before_trials_wait_and_then_one_fits(name: str) -> None:
    spec = job_of(name)["spec"]
    cluster, wanted = spec["rayClusterSpec"], sweep_of(spec["entrypoint"]).resources
    start = cluster["headGroupSpec"]["rayStartParams"]
    assert start["num-cpus"] == "0" and start["num-gpus"] == "0"
    assert cluster["enableInTreeAutoscaling"] is True
    # orch sweep waits for nodes only where this version says what it can never offer.
    assert cluster["autoscalerOptions"]["version"] == "v2"
    (group,) = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"]) == (0, 0)
    assert group["maxReplicas"] > 0
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    places = wanted.places(float(limits["cpu"]), float(limits.get("nvidia.com/gpu", 0)))
    assert places * group["maxReplicas"] >= wanted.max_concurrent


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_stop_is_longer_than_a_commit(name: str) -> None:
    spec = job_of(name)["spec"]
    grace = sweep_of(spec["entrypoint"]).resources.grace_seconds
    cluster = spec["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > grace
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    wait = {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": str(math.ceil(grace) + LEAVING_S)}
    assert wait in head["env"]


def test_smoke_needs_no_gpu_no_inputs_and_the_cpu_image() -> None:
    made = overlay("smoke")
    assert sweep_of(job_of("smoke")["spec"]["entrypoint"]).name == "arrp-embedded"
    assert not named(made, "Job") and "nvidia.com/gpu" not in str(made)
    assert "orch-mtl:cpu" in str(made) and "orch-mtl:cuda" not in str(made)


@pytest.mark.parametrize("name", ["gpu", "restricted"])
def test_the_input_job_reads_what_the_sweep_reads_and_the_nodes_see_it(name: str) -> None:
    made, ray_job = overlay(name), job_of(name)["spec"]
    (job,) = named(made, "Job").values()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command = shlex.join(container["command"])
    read, trained = sweep_of(command), sweep_of(ray_job["entrypoint"])
    assert (read.base, read.space, read.enqueue) == (trained.base, trained.space, trained.enqueue)
    (place,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == "inputs")
    assert place == f"/srv/orch/{trained.base_value('data.root')}"
    hub = {"name": "HF_HOME", "value": f"{place}/hub"}
    assert hub in container["env"]
    cluster = ray_job["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mount = {"name": "inputs", "mountPath": place, "readOnly": True}
        assert mount in pod["containers"][0]["volumeMounts"]
        assert {hub["name"]: hub["value"], "HF_HUB_OFFLINE": "1"}.items() <= {
            each["name"]: each.get("value") for each in pod["containers"][0]["env"]
        }.items()


def test_a_wrong_input_ends_the_input_job_and_a_lost_node_does_not_count() -> None:
    (job,) = named(overlay("gpu"), "Job").values()
    wrong, lost = job["spec"]["podFailurePolicy"]["rules"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert wrong["action"] == "FailJob"
    assert wrong["onExitCodes"] == {
        "containerName": container["name"], "operator": "In", "values": [2],
    }  # fmt: skip
    assert lost == {
        "action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }  # fmt: skip
    # Kubernetes takes a policy only with this.
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_is_reached_that_no_policy_names(name: str) -> None:
    policies = {key: made["spec"] for key, made in named(overlay(name), "NetworkPolicy").items()}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    components = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]
        for pod, template in PODS.items()
        if pod.startswith(f"{name}/")
    }
    assert components <= set(policies)


def test_the_internet_is_open_to_the_input_job_alone() -> None:
    policies = named(overlay("gpu"), "NetworkPolicy")
    open_ = {
        name: rule["ports"]
        for name, made in policies.items()
        for rule in made["spec"].get("egress", [])
        if "to" not in rule or "ipBlock" in str(rule)
    }
    # The address of Kubernetes itself, which the autoscaler asks, is another one in each cluster.
    assert open_.keys() == {"inputs", "ray-head"}
    assert [port["port"] for port in open_["ray-head"]] == [443, 6443]
    spec = policies["inputs"]["spec"]
    assert "ingress" not in spec
    wanted = spec["podSelector"]["matchLabels"].items()
    chosen = {
        name
        for name, template in PODS.items()
        if name.startswith("gpu/") and wanted <= template["metadata"]["labels"].items()
    }
    assert chosen == {"gpu/inputs"}


def test_the_operator_is_let_in_from_any_namespace_and_nobody_else_from_another() -> None:
    policies = named(overlay("smoke"), "NetworkPolicy")
    sources = [
        source
        for made in policies.values()
        for rule in made["spec"].get("ingress", [])
        for source in rule.get("from", [])
    ]
    operator = {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}}
    assert [each for each in sources if "namespaceSelector" in each] == [
        {"namespaceSelector": {}, "podSelector": operator}
    ]


def test_kubernetes_has_the_files_of_compose() -> None:
    (config,) = (made["data"] for made in named(overlay("smoke"), "ConfigMap").values())
    assert config["mlflow-auth.ini"] == (DOCKER / "mlflow-auth.ini").read_text()
    assert config["databases.sql"] == (DOCKER / "postgres" / "databases.sql").read_text()


def test_the_services_of_kubernetes_are_those_of_compose() -> None:
    (container,) = PODS["smoke/mlflow"]["spec"]["containers"]
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert container["args"] == compose["services"]["mlflow"]["command"]


def test_kubernetes_and_the_image_have_the_same_user() -> None:
    (stage,) = re.findall(r" AS runtime\n(.*?)\nFROM ", (DOCKER / "Dockerfile").read_text(), re.S)
    (user,) = re.findall(r"^USER (\d+):", stage, re.M)
    ours = [pod["spec"] for pod in PODS.values() if "orch-mtl" in str(pod)]
    assert ours and {pod["securityContext"]["runAsUser"] for pod in ours} == {int(user)}
