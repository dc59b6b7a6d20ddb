"""What the overlays of docker/k8s send, and the pods that come of it."""

from __future__ import annotations

import copy
import functools
import shlex
from collections.abc import Iterator

from orchestrator.spec import SweepSpec, load_spec
from tests.support.kustomize import Manifest, build, documents
from tests.support.paths import ROOT

FOLDER = ROOT / "docker" / "k8s"
OVERLAYS = sorted(folder.name for folder in (FOLDER / "overlays").iterdir())


@functools.cache
def _overlay(name: str) -> list[Manifest]:
    return build(FOLDER / "overlays" / name)


def overlay(name: str) -> list[Manifest]:
    return copy.deepcopy(_overlay(name))


def everything() -> dict[str, Manifest]:
    """Every manifest once, although most stand in several overlays, by where it is and its name."""
    made = [(name, each) for name in OVERLAYS for each in overlay(name)]
    made += [("metrics", each) for each in documents(FOLDER / "metrics" / "policy.yaml")]
    once: dict[str, Manifest] = {}
    for where, each in made:
        name = f"{where}-{each['kind']}-{each['metadata']['name']}"
        each["metadata"].pop("namespace", None)
        if each not in once.values():
            once[name] = each
    return once


EVERYTHING = everything()


def named(made: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in made if each["kind"] == kind}


def job_of(name: str) -> Manifest:
    (job,) = named(overlay(name), "RayJob").values()
    return job


def templates(made: Manifest) -> Iterator[tuple[str, Manifest]]:
    """The pods that a manifest makes: who, and their template.  The head's has the autoscaler that
    KubeRay puts there."""
    if made["kind"] != "RayJob":
        if "template" in made.get("spec", {}):
            template = copy.deepcopy(made["spec"]["template"])
            for claim in made["spec"].get("volumeClaimTemplates", []):  # a StatefulSet mounts them
                name = claim["metadata"]["name"]
                template["spec"]["volumes"].append(
                    {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-0"}}
                )
            yield made["metadata"]["name"], template
        return
    cluster = made["spec"]["rayClusterSpec"]
    head = copy.deepcopy(cluster["headGroupSpec"]["template"])
    fields = ("securityContext", "resources", "volumeMounts")
    autoscaler = {key: cluster["autoscalerOptions"][key] for key in fields}
    image = head["spec"]["containers"][0]["image"]
    head["spec"]["containers"].append({"name": "autoscaler", "image": image, **autoscaler})
    yield "head", head
    yield "submitter", made["spec"]["submitterPodTemplate"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group["template"]


PODS = {
    f"{name}/{pod}": template
    for name in OVERLAYS
    for made in overlay(name)
    for pod, template in templates(made)
}


def sweep_of(command: str) -> SweepSpec:
    """The sweep that a command of the manifests reads."""
    _, file, *rest = shlex.split(command)
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    overrides = [value for key, value in zip(rest[::2], rest[1::2], strict=True) if key == "--set"]
    return load_spec(str(ROOT / file), options.get("--profile"), overrides)
