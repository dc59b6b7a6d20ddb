"""What `tests/cluster/run` needs of a machine: looked at before anything starts, with no package.

The services run as users that are not root, and each has its own /tmp, /srv and /run.  What lies
there on the machine, or in a folder that only its owner enters, they cannot see.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Folders that a service has its own of: of the machine, and of the machine where an image runs.
OWN, OWN_BESIDE_AN_IMAGE = ("/tmp", "/srv", "/run", "/dev/shm"), ("/mnt",)
_INSTALL = f"{sys.executable} -m pip install -c constraints.txt -e '.[cluster]'"


def _module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _namespaces() -> bool:
    """Whether this process may make them; the root user of a confined container may not."""
    command = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "true"]
    if os.geteuid() or not shutil.which("unshare"):
        return True  # said by another line
    return subprocess.run(command, capture_output=True).returncode == 0


@dataclass(frozen=True)
class Need:
    """`remedy` is the command that brings `what`."""

    what: str
    is_there: Callable[[], bool]
    remedy: str


def _program(name: str, package: str) -> Need:
    return Need(name, lambda: shutil.which(name) is not None, f"apt-get install {package}")


def _package(module: str) -> Need:
    return Need(f"module {module} of the extra `cluster`", lambda: _module(module), _INSTALL)


SERVICES_NEED = (
    Need("root", lambda: os.geteuid() == 0, "sudo tests/cluster/run"),
    _program("ip", "iproute2"),
    _program("mount", "mount"),
    *(_program(name, "util-linux") for name in ("unshare", "nsenter", "setpriv")),
    Need(
        "postgresql",
        lambda: any(Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        "apt-get install postgresql",
    ),
    Need(
        "namespaces", _namespaces, "docker run --privileged ..., or a machine without a container"
    ),
)
#: One module of each package that the extra brings, or stands on.
ENVIRONMENT_NEEDS = tuple(
    _package(m) for m in ("yaml", "ray", "aiohttp_cors", "mlflow", "flask_wtf", "psycopg_binary")
)


def lacking(image: Path | None = None) -> list[str]:
    """A line for each thing that is not there: what, and the command that brings it.

    Args:
        image: the root file system of an image that the services shall have; None: the machine's.
    """
    lines = [
        f"{need.what}: not there; {need.remedy}"
        for need in (*SERVICES_NEED, *ENVIRONMENT_NEEDS)
        if not need.is_there()
    ]
    if image is None:
        environment = "python -m venv DIR elsewhere"
        lines += out_of_sight("checkout", ROOT, "git clone it elsewhere")
        lines += out_of_sight("environment", Path(sys.prefix), environment)
        lines += covered("Python", Path(sys.base_prefix), OWN, environment)
    else:
        lines += covered("checkout", ROOT, OWN_BESIDE_AN_IMAGE, "git clone it elsewhere")
        lines += covered("image", image, OWN_BESIDE_AN_IMAGE, "mount it elsewhere")
        if not (image / "opt/orch/bin/orch").exists():
            lines.append(
                f"image {image}: no opt/orch/bin/orch in it; allowed is the root file system of a"
                " target of docker/Dockerfile: podman image mount orch-mtl:cpu"
            )
    return lines


def covered(what: str, place: Path, folders: tuple[str, ...], remedy: str) -> Iterator[str]:
    """A line if a service has its own of a folder that holds the place."""
    for folder in folders:
        if place.resolve().is_relative_to(folder):
            yield f"{what} {place}: below {folder}, which every service has its own of; {remedy}"


def out_of_sight(what: str, place: Path, remedy: str) -> Iterator[str]:
    """A line if a service cannot see the place, or may not enter it."""
    yield from covered(what, place, OWN, remedy)
    for folder in (place.resolve(), *place.resolve().parents):
        if folder.stat().st_mode & 0o005 != 0o005 and folder.is_dir():
            yield f"{what} {place}: other users may not enter {folder}; chmod o+rx {folder}"
