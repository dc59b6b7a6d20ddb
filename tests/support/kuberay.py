"""What KubeRay (ray.io/v1, 1.5) takes in a RayJob, as a JSON Schema: its fields by name and type.

Written after the reference of its API; the pods within are Kubernetes's own
(`kubernetes_validate`), and make up nearly all of the megabyte of KubeRay's own schema.
"""

from __future__ import annotations

from typing import Any

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
