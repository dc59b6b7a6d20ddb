"""The stack as it stands: up, confined, and closed to who has no token."""

from __future__ import annotations

from cluster import Cluster
from seen import asked, nodes, scan

#: Which worker multiplies bf16 natively.
KINDS = {"worker1": True, "worker2": False}


def comes_up(cluster: Cluster) -> str:
    """The services come up in their order, healthy"""
    cluster.unlike(KINDS)
    cluster.up()
    seen = nodes(cluster)
    assert len(seen) == 3, seen
    return f"{len(cluster.containers)} containers, {len(seen)} nodes of Ray"


def confined(cluster: Cluster) -> str:
    """No service is root, has a capability or can write to its root"""
    probe = "touch /usr/probe 2>/dev/null && echo writes; id -u; grep CapEff /proc/self/status"
    for container in cluster.containers.values():
        code, text = container.run("sh", "-c", probe)
        user, capabilities = text.splitlines()
        assert user != "0" and int(capabilities.split()[1], 16) == 0, (container.name, text)
    return f"{len(cluster.containers)} looked at"


def published(cluster: Cluster) -> str:
    """All ports scanned: from outside nothing is open, on the machine's loopback two are"""
    with cluster.publishing(f"{cluster.network.MACHINE}:9999:head:8265"):
        wrongly = scan(cluster, "outside", cluster.network.MACHINE, "9998", "9999")
        assert wrongly == [9999], "the scan does not see what is open"
    for address in (cluster.network.MACHINE, cluster.network.GATEWAY):
        assert scan(cluster, "outside", address) == [], address
    head = cluster.network.address("head")
    assert scan(cluster, "outside", head, "6379", "8265") == [], "the bridge is open"
    assert scan(cluster, "worker1", head, "6379", "8265") == [6379, 8265]
    local = scan(cluster, "host", "127.0.0.1")
    assert local == [5000, 8265], local
    return f"127.0.0.1 has {local}, every other address of the machine none"


def tokens(cluster: Cluster) -> str:
    """Who has no token or password, or a wrong one, is refused"""
    wrong = "0" * 64
    jobs, runs = "http://127.0.0.1:8265/api/jobs/", "http://127.0.0.1:5000/api/2.0/mlflow/"
    search = runs + "experiments/search?max_results=1"
    assert asked(cluster, jobs) == 401
    assert asked(cluster, jobs, f"Authorization: Bearer {wrong}") == 403
    token = (cluster.folder / "secrets" / "ray_token").read_text()
    assert asked(cluster, jobs, f"Authorization: Bearer {token}") == 200
    assert asked(cluster, search) == 401
    assert asked(cluster, search, "Host: elsewhere.example") == 403
    code, text = cluster["head"].run("ray", "status", environment={"RAY_AUTH_TOKEN": wrong})
    assert code != 0, text
    stranger = cluster.add("worker", "stranger")
    stranger.secrets["ray_token"] = wrong
    stranger.start()
    assert stranger.process is not None
    stopped = stranger.process.wait(120)
    assert stopped != 0 and len(nodes(cluster)) == 3, stranger.said()
    del cluster.containers[stranger.name]
    return "Ray's jobs and nodes, MLflow, a foreign host name"
