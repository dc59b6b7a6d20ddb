"""The services of docker/compose.yaml as processes of this machine, each on a host of its own.

What compose.yaml says of a service holds here: its command, environment, secrets, volumes, tmpfs,
read-only root, user, health check, and which ports the machine publishes.  Each service has
namespaces of its own for its network, mounts, processes and name; it runs this checkout in this
virtual environment, or what an image has.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from network import Network

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
USER = 10001
#: A container engine mounts every tmpfs so.
_TMPFS = "noexec,nosuid,nodev"
SYSTEM = "/usr/bin:/bin:/usr/sbin:/sbin"


def defaults(value: Any) -> Any:
    """`${NAME:-default}` as Compose reads it where NAME is not set."""
    if isinstance(value, dict):
        return {key: defaults(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [defaults(inner) for inner in value]
    if isinstance(value, str) and value.startswith("${") and value.count("${") == 1:
        return value[2:-1].partition(":-")[2]
    if isinstance(value, str) and "${" in value:
        head, _, rest = value.partition("${")
        inner, _, tail = rest.partition("}")
        return defaults(head + inner.partition(":-")[2] + tail)
    return value


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = defaults(yaml.safe_load(COMPOSE.read_text()))["services"]
    return found


class Container:
    """One container of a service; `kill` is SIGKILL to everything in it.

    Args:
        image: the root file system of an image; None: the machine's, with this checkout.
    """

    def __init__(
        self, network: Network, folder: Path, service: str, name: str, image: Path | None = None
    ):
        self.network, self.folder, self.name = network, folder, name
        self.image, self._root = image, "/mnt" if image else ""
        self.about = services()[service]
        self.log = folder / "logs" / f"{name}.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.secrets = {file.name: file.read_text() for file in (folder / "secrets").iterdir()}
        ours = "/opt/orch/bin:/usr/local/bin"
        if image is None:
            ours = f"{Path(sys.executable).parent}:{ROOT}/docker/bin"
        self.environment = {
            "PATH": f"{ours}:{SYSTEM}",
            "PYTHONPATH": "" if image else str(ROOT),
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "ORCH_CACHE": "/tmp/orch-mtl",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            # A container has its memory to itself.  Here Ray would end trials because of programs
            # that the machine runs beside the stack.
            "RAY_memory_monitor_refresh_ms": "0",
            **self.about.get("environment", {}),
        }

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.network.mend(self.name)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._isolated(*self._command()), env=self.environment, cwd="/",
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def run(
        self, *words: str, seconds: float = 60, environment: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """A command in the container, as `docker compose exec`: its exit code and output."""
        began = self.begin(*words, environment=environment)
        try:
            output = began.communicate(timeout=seconds)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            began.kill()
            return 124, (began.communicate()[0] or b"").decode(errors="replace")
        return began.returncode, output

    def begin(
        self,
        *words: str,
        output: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """The same without waiting; what it says goes to `output`, or to a pipe."""
        enter = ["nsenter", f"--target={self._first()}", "--all", "--root", "--wd", *self._user()]
        with contextlib.ExitStack() as stack:
            return subprocess.Popen(
                [*enter, "sh", "-c", 'cd /srv/orch && exec "$@"', "sh", *words],
                env=self.environment | (environment or {}),
                stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                stdout=stack.enter_context(output.open("ab")) if output else subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip

    def is_healthy(self) -> bool:
        test = self.about["healthcheck"]["test"][1:]
        try:
            return self.run(*test, seconds=30)[0] == 0
        except IndexError:  # its first process is not there yet, or no more
            return False

    def wait(self, seconds: float = 300) -> None:
        """Until the health check of compose.yaml holds; one that ends is started again, twice."""
        end, again = time.monotonic() + seconds, 2
        while not self.is_healthy():
            if self.process is None or self.process.poll() is not None:
                assert again, f"{self.name} has ended: {self.said()}"
                again -= 1
                self.start()
            assert time.monotonic() < end, f"{self.name} is not healthy: {self.said()}"
            time.sleep(1)

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # the rest goes with its first process
            self.process.wait(30)
        self.process = None

    def stop(self, seconds: float = 60) -> None:
        """SIGTERM to the service, as `docker compose down`."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(self._first(), signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.kill()

    def said(self) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def _command(self) -> list[str]:
        return [*self.about.get("entrypoint", []), *self.about["command"]]

    def _first(self) -> int:
        """The process that is 1 in the container: `ip` has become `unshare`, and this its child."""
        assert self.process is not None
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def _user(self) -> list[str]:
        user, group = self._owner()
        return [
            "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs",
            "--bounding-set=-all", "--inh-caps=-all",
        ]  # fmt: skip

    def _isolated(self, *words: str) -> list[str]:
        enter = f'exec chroot {self._root} "$@"' if self._root else 'exec "$@"'
        script = "\n".join(["set -e", *self._mounts(), enter])
        unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
                   "--mount-proc", "sh", "-c", script, self.name]  # fmt: skip
        return [*self.network.inside(self.name), *unshare, *self._user(), *words]

    def _mounts(self) -> list[str]:
        """The shell lines that make what the service sees of the file system."""
        root, spaces = self._root, (self.image or Path("/")) / "srv/orch/search_spaces"
        lines = [f"hostname {self.name}"]
        if self.image:
            # A layer of its own above the image, as an engine makes one: the image stays as it is.
            lines += [f"mount -t tmpfs tmpfs {root}", f"mkdir {root}/own {root}/work"]
            layers = f"lowerdir={self.image},upperdir={root}/own,workdir={root}/work"
            lines += [f"mount -t overlay -o {layers} overlay {root}"]
            lines += [f"mount -t proc proc {root}/proc"]
            lines += [f"mount --rbind /{name} {root}/{name}" for name in ("dev", "sys")]
            for file in ("hosts", "resolv.conf"):  # those of this host
                lines += [f"touch {root}/etc/{file}"]
                lines += [f"mount --bind /etc/{file} {root}/etc/{file}"]
        else:
            lines += _uncovered(Path(sys.base_prefix))
            spaces = ROOT / "search_spaces"
        for name in ("srv", "run"):
            lines += [f"mount -t tmpfs -o mode=755 tmpfs {root}/{name}"]
        lines += [
            f"mkdir -p {root}/srv/orch {root}/run/secrets",
            f"cp -r {spaces} {root}/srv/orch/",
        ]
        for volume in self.about.get("volumes", []):
            source, target, *_ = volume.split(":")
            place = self.volume(source)
            if not target.startswith("/srv/"):  # a place to make the mount point in
                lines += [f"mount -t tmpfs -o mode=755 tmpfs {root}{Path(target).parent}"]
            make = "touch" if place.is_file() else "mkdir -p"
            lines += [f"{make} {root}{target}"]
            lines += [f"mount --bind {shlex.quote(str(place))} {root}{target}"]
        for secret in self.about.get("secrets", []):
            given = self.folder / "given"
            given.mkdir(mode=0o700, exist_ok=True)
            file = given / self.name / secret["target"]
            file.parent.mkdir(exist_ok=True)
            file.write_text(self.secrets[secret["source"]])
            lines += [f"install -m 0444 {file} {root}/run/secrets/"]
        for tmpfs in self.about["tmpfs"]:
            target, _, options = tmpfs.partition(":")
            lines += [f"mkdir -p {root}{target}"]
            lines += [f"mount -t tmpfs -o {_TMPFS},{options} tmpfs {root}{target}"]
        lines += [f"mount -t tmpfs -o {_TMPFS},mode=1777,size=256m tmpfs {root}/dev/shm"]
        if self.about["read_only"]:
            lines += [f"mount -o remount,bind,ro {root}{p}" for p in ("/srv", "/run", "/")]
        return lines

    def volume(self, source: str) -> Path:
        """Where a volume of compose.yaml lies on this machine."""
        if source.startswith("."):
            return (COMPOSE.parent / source).resolve()
        place = self.folder / "volumes" / source
        if not place.exists():
            place.mkdir(parents=True)
            os.chown(place, *self._owner())
        return place

    def _owner(self) -> tuple[int, int]:
        return USER, USER


def _uncovered(prefix: Path) -> list[str]:
    """Lines that let any user reach an interpreter that lies below somebody's private folder."""
    private = [p for p in (prefix, *prefix.parents) if not p.stat().st_mode & 0o001]
    if not private:
        return []
    top = private[-1]
    return [
        f"mount --bind {prefix} /mnt",
        f"mount -t tmpfs -o mode=755 tmpfs {top}",
        f"mkdir -p {prefix}",
        f"mount --move /mnt {prefix}",
    ]
