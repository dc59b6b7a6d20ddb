"""What KubeRay (ray.io/v1) takes in a RayJob, as a JSON Schema.

`RAY_JOB` is written after the reference of the API of KubeRay 1.6.  The pods in a RayJob are
Kubernetes's own (`kubernetes_validate`).  They make up nearly all of the megabyte of KubeRay's own
definition (CRD), so that a clone of the project does not have it.  `crd_schema` reads it where it
is present.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

#: KubeRay's definition of a RayJob, in the folder that KUBERAY_CRDS names.
_CRD = "rayjobs-v1.7.0.yaml"

_TEXT, _WHOLE, _FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_ANY: dict[str, Any] = {"type": "object"}


def _object(required: str = "", **fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


_AUTOSCALER = _object(
    version={"enum": ["v1", "v2"]},
    idleTimeoutSeconds=_WHOLE,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    image=_TEXT,
    imagePullPolicy=_TEXT,
    resources=_ANY,
    securityContext=_ANY,
    env={"type": "array"},
    envFrom={"type": "array"},
    volumeMounts={"type": "array"},
)
_HEAD = _object(
    "rayStartParams template",
    rayStartParams=_TEXTS,
    template=_ANY,
    serviceType=_TEXT,
    headService=_ANY,
    enableIngress=_FLAG,
    resources=_TEXTS,
    labels=_TEXTS,
)
_WORKERS = _object(
    "groupName rayStartParams template minReplicas maxReplicas",
    groupName=_TEXT,
    replicas=_WHOLE,
    minReplicas=_WHOLE,
    maxReplicas=_WHOLE,
    numOfHosts=_WHOLE,
    idleTimeoutSeconds=_WHOLE,
    suspend=_FLAG,
    rayStartParams=_TEXTS,
    template=_ANY,
    scaleStrategy=_ANY,
    resources=_TEXTS,
    labels=_TEXTS,
)
_CLUSTER = _object(
    "headGroupSpec",
    rayVersion=_TEXT,
    authOptions=_object(mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling=_FLAG,
    autoscalerOptions=_AUTOSCALER,
    headServiceAnnotations=_TEXTS,
    gcsFaultToleranceOptions=_ANY,
    managedBy=_TEXT,
    suspend=_FLAG,
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)
RAY_JOB = _object(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=_ANY,
    spec=_object(
        entrypoint=_TEXT,
        entrypointNumCpus={"type": "number"},
        entrypointNumGpus={"type": "number"},
        entrypointResources=_TEXT,
        runtimeEnvYAML=_TEXT,
        jobId=_TEXT,
        metadata=_TEXTS,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        submitterPodTemplate=_ANY,
        submitterConfig=_object(backoffLimit=_WHOLE),
        clusterSelector=_TEXTS,
        managedBy=_TEXT,
        deletionStrategy=_ANY,
        suspend=_FLAG,
        activeDeadlineSeconds={"type": "integer", "minimum": 1},
        backoffLimit=_WHOLE,
        shutdownAfterJobFinishes=_FLAG,
        ttlSecondsAfterFinished=_WHOLE,
        preRunningDeadlineSeconds={"type": "integer", "minimum": 1},
        rayClusterSpec=_CLUSTER,
    ),
)


def crd_schema() -> dict[str, Any]:
    """The schema in KubeRay's own CRD.  It refuses unknown fields, as `kubectl apply
    --validate=strict` does."""
    folder = Path(os.environ.get("KUBERAY_CRDS") or ROOT.parent / "shared" / "k8s")
    if not (folder / _CRD).is_file():
        pytest.skip(f"{_CRD} is not in {folder}; KUBERAY_CRDS names the folder that has it")
    # PyYAML's own loader takes ten times as long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load((folder / _CRD).read_text(encoding="utf-8"), loader)
    versions = {version["name"]: version for version in definition["spec"]["versions"]}
    schema: dict[str, Any] = versions["v1"]["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = _ANY
    return _closed(schema)


def _closed(schema: Any) -> Any:
    """The same schema, with a field that it does not name as an error."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    if closed.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in closed and not closed.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed
