"""A network of one machine: hosts with addresses of their own, as a container engine makes them.

    outside 192.0.2.2 ---- 192.0.2.1 host 10.77.0.1 ---- 10.77.0.x a service's host, ...

`host` is the machine that the stack runs on: the services hang on its bridge, and it publishes
ports on its loopback.  `outside` is another machine of its network, which knows a way to the
bridge, too.  All of it is in namespaces of this run; the machine's own network is not touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_NETNS = Path("/etc/netns")


def command(*words: str, check: bool = True) -> str:
    """Run a command; its output."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Network:
    """The bridge, the two ends of the machine's own link, and a namespace for every host."""

    OUTSIDE, MACHINE, GATEWAY = "192.0.2.2", "192.0.2.1", "10.77.0.1"

    def __init__(self) -> None:
        self._name = f"orch{os.getpid() % 100000}"
        self._addresses: dict[str, str] = {}
        for host in ("host", "outside"):
            self._add(host)
        self._link("host", "up0", "outside", "eth0")
        for host, device, address in (
            ("host", "up0", self.MACHINE),
            ("outside", "eth0", self.OUTSIDE),
        ):
            self._ip(host, "addr", "add", f"{address}/24", "dev", device)
            self._ip(host, "link", "set", device, "up")
        self._ip("host", "link", "add", "br0", "type", "bridge")
        self._ip("host", "addr", "add", f"{self.GATEWAY}/24", "dev", "br0")
        self._ip("host", "link", "set", "br0", "up")
        self._ip("outside", "route", "add", "10.77.0.0/24", "via", self.MACHINE)
        # As a container engine's firewall: nobody from outside is passed on to a container.
        command(*self.inside("host"), "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")

    def add(self, host: str) -> str:
        """A host on the bridge; returns its address.  Every host knows every other by name."""
        address = f"10.77.0.{len(self._addresses) + 10}"
        self._add(host)
        port = f"p{len(self._addresses)}"
        self._link(host, "eth0", "host", port)
        self._ip(host, "addr", "add", f"{address}/24", "dev", "eth0")
        self._ip(host, "link", "set", "eth0", "up")
        self._ip(host, "route", "add", "default", "via", self.GATEWAY)
        self._ip("host", "link", "set", port, "master", "br0", "up")
        self._addresses[host] = address
        names = "127.0.0.1 localhost\n" + "".join(f"{a} {h}\n" for h, a in self._addresses.items())
        for known in ("host", *self._addresses):
            (_NETNS / self.namespace(known) / "hosts").write_text(names)
        return address

    def address(self, host: str) -> str:
        return self._addresses[host]

    def cut(self, host: str) -> None:
        """Pull the cable: nobody is told that the host is gone."""
        self._ip(host, "link", "set", "eth0", "down")

    def mend(self, host: str) -> None:
        self._ip(host, "link", "set", "eth0", "up")
        self._ip(host, "route", "replace", "default", "via", self.GATEWAY)

    def namespace(self, host: str) -> str:
        return f"{self._name}-{host}"

    def hosts_file(self, host: str) -> Path:
        return _NETNS / self.namespace(host) / "hosts"

    def inside(self, host: str) -> list[str]:
        """What runs a command on a host."""
        return ["ip", "netns", "exec", self.namespace(host)]

    def remove(self) -> None:
        """All namespaces, and with them their devices."""
        for host in (*self._addresses, "host", "outside"):
            command("ip", "netns", "delete", self.namespace(host), check=False)
            shutil.rmtree(_NETNS / self.namespace(host), ignore_errors=True)

    def _add(self, host: str) -> None:
        command("ip", "netns", "add", self.namespace(host))
        (_NETNS / self.namespace(host)).mkdir(parents=True, exist_ok=True)
        (_NETNS / self.namespace(host) / "hosts").write_text("127.0.0.1 localhost\n")
        # Names are in `hosts`; other questions are refused at once, and not waited for.
        (_NETNS / self.namespace(host) / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        self._ip(host, "link", "set", "lo", "up")

    def _link(self, one: str, device: str, other: str, port: str) -> None:
        self._ip(one, "link", "add", device, "type", "veth", "peer", "name", port,
                 "netns", self.namespace(other))  # fmt: skip

    def _ip(self, host: str, *words: str) -> None:
        command("ip", "-n", self.namespace(host), *words)
