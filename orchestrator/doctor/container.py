"""Checks a container of a cluster: KubeRay's operator, its login shell, and Ray's shared memory."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.doctor.finding import Finding, ok, warning
from trainer.storage.folder import in_words

#: The oldest KubeRay whose probes of a node need no program that the image lacks (wget).
KUBERAY_FLOOR = (1, 6)
#: What a login shell must find: KubeRay's ENABLE_LOGIN_SHELL and ssh start their commands by one.
PROGRAMS = ("ray", "orch", "python")
_MARKS = ("/.dockerenv", "/run/.containerenv")
#: Seconds that a login shell may take.
_SHELL_S = 20


def read_container() -> dict[str, Any]:
    """The container that this process runs in, in plain values.

    `kuberay` is the version that the operator leaves in the head's environment, or empty.
    `lost` are the `PROGRAMS` that a login shell does not find; None outside a container.
    """
    tags = os.environ.get("RAY_USAGE_STATS_EXTRA_TAGS", "")
    found = re.search(r"(?:^|;)kuberay_version=([^;]+)", tags)
    pod = "KUBERNETES_SERVICE_HOST" in os.environ
    return {
        "kuberay": found.group(1) if found else "",
        "by_kuberay": os.environ.get("RAY_USAGE_STATS_KUBERAY_IN_USE") == "1",
        "lost": lost_programs() if pod or any(Path(mark).exists() for mark in _MARKS) else None,
    }


def lost_programs() -> list[str] | None:
    """The `PROGRAMS` that a login shell does not find; None if it does not answer."""
    script = f'for name in {" ".join(PROGRAMS)}; do command -v "$name" || echo "- $name"; done'
    try:
        answer = subprocess.run(
            ["sh", "-lc", script], capture_output=True, text=True, timeout=_SHELL_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return [line[2:] for line in answer.stdout.splitlines() if line.startswith("- ")]


def container_findings(found: dict[str, Any], node: str = "") -> Iterator[Finding]:
    """Check the login shell of a node's container; nothing outside one."""
    lost = found["lost"]
    if lost is None:
        return
    if lost:
        text = f"a login shell does not find {', '.join(lost)}"
        remedy = "link them into /usr/local/bin, as docker/Dockerfile does"
        yield warning("shell", text, remedy, node=node)
    else:
        yield ok("shell", f"a login shell finds {', '.join(PROGRAMS)}", node=node)


def operator_findings(containers: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    """Check the version of KubeRay's operator; nothing on a cluster that it did not start.

    Args:
        containers: node -> what `read_container` found there.
    """
    if not any(each["by_kuberay"] or each["kuberay"] for each in containers.values()):
        return
    floor = ".".join(map(str, KUBERAY_FLOOR))
    known = [(node, each["kuberay"]) for node, each in containers.items() if each["kuberay"]]
    if not known:
        yield ok("kuberay", f"not known; it must be {floor} or newer")
    for node, version in known:
        numbers = re.match(r"v?(\d+)\.(\d+)", version)
        if numbers and tuple(map(int, numbers.groups())) < KUBERAY_FLOOR:
            remedy = f"update the operator to {floor} or newer"
            yield warning("kuberay", f"the operator is {version}", remedy, node=node)
        else:
            yield ok("kuberay", f"the operator is {version}", node=node)


def store_findings(store: float, shm: int | None, node: str = "") -> Iterator[Finding]:
    """Whether Ray's object store fits into /dev/shm.

    Args:
        store: bytes that Ray's node may hold in its store.
        shm: size of /dev/shm in bytes; None without one.
    """
    if shm is not None and store > shm:
        text = f"Ray's object store may take {in_words(int(store))}, /dev/shm has {in_words(shm)}"
        remedy = "start the node with --object-store-memory=83886080, or with a larger --shm-size"
        yield warning("shm", text, remedy, node=node)
