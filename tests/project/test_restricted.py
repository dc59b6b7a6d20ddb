"""The check-list of "restricted" (tests/support/restricted.py) finds each fault that it names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.kustomize import Manifest
from tests.support.manifests import PODS
from tests.support.restricted import RULES, violations


def _first(**fields: Any) -> Callable[[Manifest], None]:
    return lambda pod: pod["containers"][0].update(fields)


def _confined(**fields: Any) -> Callable[[Manifest], None]:
    return lambda pod: pod["containers"][0]["securityContext"].update(fields)


def _whole(**fields: Any) -> Callable[[Manifest], None]:
    return lambda pod: pod["securityContext"].update(fields)


BREAKS = [
    ("host namespaces", lambda pod: pod.update(hostPID=True)),
    ("HostProcess", _whole(windowsOptions={"hostProcess": True})),
    ("privileged containers", _confined(privileged=True)),
    ("volume types", lambda pod: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    ("host ports", _first(ports=[{"containerPort": 1, "hostPort": 1}])),
    ("hosts of probes", _first(livenessProbe={"httpGet": {"port": 1, "host": "10.0.0.1"}})),
    ("hosts of probes", _first(lifecycle={"preStop": {"tcpSocket": {"port": 1, "host": "x"}}})),
    ("AppArmor", _confined(appArmorProfile={"type": "Unconfined"})),
    ("SELinux", _whole(seLinuxOptions={"type": "spc_t"})),
    ("SELinux", _whole(seLinuxOptions={"user": "root"})),
    ("/proc mount", _confined(procMount="Unmasked")),
    ("sysctls", _whole(sysctls=[{"name": "kernel.msgmax", "value": "1"}])),
    ("privilege escalation", lambda pod: pod["containers"][0]["securityContext"].pop(
        "allowPrivilegeEscalation")),
    ("running as non-root", lambda pod: pod["securityContext"].pop("runAsNonRoot")),
    ("running as non-root", _confined(runAsNonRoot=False)),
    ("non-root user", _confined(runAsUser=0)),
    ("seccomp", lambda pod: pod["securityContext"].pop("seccompProfile")),
    ("seccomp", _confined(seccompProfile={"type": "Unconfined"})),
    ("capabilities", _confined(capabilities={"drop": ["NET_RAW"]})),
    ("capabilities", _confined(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]})),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "breaks"), BREAKS)
def test_each_line_of_the_check_list_finds_its_fault(
    rule: str, breaks: Callable[[Manifest], None]
) -> None:
    pod = copy.deepcopy(PODS["gpu/gpu"]["spec"])
    assert violations(pod) == []
    breaks(pod)
    assert [found.partition(":")[0] for found in violations(pod)] == [rule]


def test_the_check_list_is_tested_whole() -> None:
    assert {rule for rule, _ in BREAKS} == set(RULES)
