"""Kubernetes's Pod Security Standard "restricted", written down as a check-list by hand.

Each line of `RULES` is a control of the standard (policy v1.34), with a function that finds what in
a pod breaks it.  The standard's own check runs in Kubernetes only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Pod = dict[str, Any]
Broken = Callable[[Pod], Iterator[str]]

_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip
_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
_SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def violations(pod: Pod) -> list[str]:
    """What in a pod's spec breaks the standard: the control, and where."""
    return [f"{rule}: {where}" for rule, broken in RULES.items() for where in broken(pod)]


def containers(pod: Pod) -> Iterator[dict[str, Any]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(kind, [])


def _contexts(pod: Pod) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "pod", pod.get("securityContext", {})
    for container in containers(pod):
        yield container["name"], container.get("securityContext", {})


def _host(pod: Pod) -> Iterator[str]:
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))


def _windows(pod: Pod) -> Iterator[str]:
    for name, context in _contexts(pod):
        if context.get("windowsOptions", {}).get("hostProcess"):
            yield name


def _privileged(pod: Pod) -> Iterator[str]:
    yield from (name for name, context in _contexts(pod) if context.get("privileged"))


def _volumes(pod: Pod) -> Iterator[str]:
    for volume in pod.get("volumes", []):
        if not (set(volume) - {"name"}) <= _VOLUMES:
            yield volume["name"]


def _ports(pod: Pod) -> Iterator[str]:
    for container in containers(pod):
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield container["name"]


def _probes(pod: Pod) -> Iterator[str]:
    for container in containers(pod):
        actions = [container.get(probe, {}) for probe in _PROBES]
        actions += container.get("lifecycle", {}).values()
        kinds = [action.get(kind, {}) for action in actions for kind in ("httpGet", "tcpSocket")]
        if any(kind.get("host") for kind in kinds):
            yield container["name"]


def _apparmor(pod: Pod) -> Iterator[str]:
    for name, context in _contexts(pod):
        if context.get("appArmorProfile", {}).get("type") == "Unconfined":
            yield name


def _selinux(pod: Pod) -> Iterator[str]:
    for name, context in _contexts(pod):
        options = context.get("seLinuxOptions", {})
        if options.get("type", "") not in _SELINUX or options.get("user") or options.get("role"):
            yield name


def _proc(pod: Pod) -> Iterator[str]:
    for name, context in _contexts(pod):
        if context.get("procMount", "Default") != "Default":
            yield name


def _sysctls(pod: Pod) -> Iterator[str]:
    for sysctl in pod.get("securityContext", {}).get("sysctls", []):
        if sysctl["name"] not in _SYSCTLS:
            yield sysctl["name"]


def _escalation(pod: Pod) -> Iterator[str]:
    for container in containers(pod):
        if container.get("securityContext", {}).get("allowPrivilegeEscalation") is not False:
            yield container["name"]


def _root(pod: Pod) -> Iterator[str]:
    whole = pod.get("securityContext", {}).get("runAsNonRoot")
    for container in containers(pod):
        if container.get("securityContext", {}).get("runAsNonRoot", whole) is not True:
            yield container["name"]


def _user(pod: Pod) -> Iterator[str]:
    yield from (name for name, context in _contexts(pod) if context.get("runAsUser") == 0)


def _seccomp(pod: Pod) -> Iterator[str]:
    whole = pod.get("securityContext", {}).get("seccompProfile", {})
    if whole.get("type") == "Unconfined":
        yield "pod"
    for container in containers(pod):
        profile = container.get("securityContext", {}).get("seccompProfile", whole)
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield container["name"]


def _capabilities(pod: Pod) -> Iterator[str]:
    for container in containers(pod):
        found = container.get("securityContext", {}).get("capabilities", {})
        if "ALL" not in found.get("drop", []) or set(found.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield container["name"]


RULES: dict[str, Broken] = {
    "host namespaces": _host,
    "HostProcess": _windows,
    "privileged containers": _privileged,
    "volume types": _volumes,
    "host ports": _ports,
    "hosts of probes": _probes,
    "AppArmor": _apparmor,
    "SELinux": _selinux,
    "/proc mount": _proc,
    "sysctls": _sysctls,
    "privilege escalation": _escalation,
    "running as non-root": _root,
    "non-root user": _user,
    "seccomp": _seccomp,
    "capabilities": _capabilities,
}
