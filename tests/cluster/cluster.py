"""The whole stack: up in the order of `depends_on`, down, and what the machine publishes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from network import Network
from postgres import Postgres
from stack import ROOT, Container, services

from tests.support.device_kinds import write_kind

_HERE = Path(__file__).parent


class Cluster:
    """Args:
    folder: of logs, volumes and secrets; not below /tmp, which every container has its own of.
    image: the root file system of an image that the containers have; None: the machine's.
    """

    def __init__(self, folder: Path, image: Path | None = None):
        self.folder, self.image, self.network = folder, image, Network()
        secrets = folder / "secrets"
        subprocess.run(
            [ROOT / "docker" / "make-secrets", secrets], check=True, stdout=subprocess.DEVNULL
        )
        self.containers: dict[str, Container] = {}
        for service, about in services().items():
            count = about.get("deploy", {}).get("replicas", 1)
            for number in range(1, count + 1):
                self.add(service, service if count == 1 else f"{service}{number}")
        self._published = contextlib.ExitStack()

    def __getitem__(self, name: str) -> Container:
        return self.containers[name]

    def add(self, service: str, name: str) -> Container:
        """One container more of a service; not started."""
        kind = Postgres if service == "postgres" else Container
        self.network.add(name)
        self.containers[name] = kind(self.network, self.folder, service, name, self.image)
        return self.containers[name]

    def unlike(self, kinds: dict[str, bool]) -> None:
        """Workers of unlike kinds from their next start on: which of them multiply bf16 natively.

        What a process's devices answer is faked, by a file on the volume `data`.
        """
        for name, native in kinds.items():
            write_kind(self[name].volume("data") / "kinds" / name, native)
            own = self[name].environment["PYTHONPATH"]
            self[name].environment["PYTHONPATH"] = f"/srv/orch/data/kinds/{name}:{own}"

    def up(self) -> None:
        """All containers, each when those that it depends on are healthy."""
        healthy: set[str] = set()
        for container in self.containers.values():  # compose.yaml names them in their order
            for needed in container.about.get("depends_on", {}):
                if needed not in healthy:
                    self[needed].wait()
                    healthy.add(needed)
            container.start()
        for container in self.containers.values():
            container.wait()
        self._published.enter_context(self.publishing(*self.published()))

    def down(self) -> None:
        for container in reversed(self.containers.values()):
            container.stop()
        self._published.close()

    def remove(self) -> None:
        for container in self.containers.values():
            container.kill()
        self._published.close()
        self.network.remove()

    def on(self, host: str, *words: str, seconds: float = 120) -> str:
        """A script of this folder, or any command, on a host of the network; its output."""
        done = subprocess.run(
            [*self.network.inside(host), *words], timeout=seconds, check=True, text=True,
            stdout=subprocess.PIPE, cwd=_HERE,
        )  # fmt: skip
        return done.stdout

    def published(self) -> list[str]:
        """`address:port:service:port` for each port that compose.yaml publishes."""
        found = []
        for name, about in services().items():
            for port in about.get("ports", []):
                address, outer, inner = ("0.0.0.0:" + port).rsplit(":", 3)[-3:]
                found.append(f"{address}:{outer}:{name}:{inner}")
        return found

    @contextlib.contextmanager
    def publishing(self, *ports: str) -> Iterator[None]:
        """`address:port:service:port` published by the machine for a while."""
        relay = subprocess.Popen(
            [*self.network.inside("host"), sys.executable, _HERE / "relay.py", *ports]
        )
        try:
            time.sleep(2)  # it starts
            yield
        finally:
            relay.kill()
            relay.wait()
