"""What must hold, in this order; each check returns what it has seen."""

from __future__ import annotations

from collections.abc import Callable

from cluster import Cluster
from seen import asked, commits, nodes, orch, scan, wait_for, whole

SWEEP = ("search_spaces/arrp.yaml", "--profile", "embedded")
NAME, TRIALS, EPOCHS = "arrp-embedded", 12, 4
_MORE = (
    "--set", "base.epochs=4", "--set", "decide=null", "--set", "resources.max_concurrent=4",
    "--set", "tracking.report=false",
)  # fmt: skip
#: What `cluster-sweep` adds.
_TRACKING = (
    "--set", "tracking.uri=http://mlflow:5000",
    "--set", "tracking.study=postgresql+psycopg://orch@postgres/optuna",
)  # fmt: skip


def comes_up(cluster: Cluster) -> str:
    """The services come up in their order, healthy"""
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


def sweep_survives(cluster: Cluster) -> str:
    """A sweep that loses a worker and MLflow, and is left by a worker, ends with all its trials"""
    output = cluster.folder / "logs" / "sweep.txt"
    sweep = cluster["head"].begin("cluster-sweep", *SWEEP, *_MORE, output=output)

    def more(count: int, what: str) -> None:
        wanted = commits(cluster, NAME) + count
        wait_for(lambda: commits(cluster, NAME) >= wanted, what, sweep)

    more(6, "trials that commit")
    lost, leaving = cluster["worker1"], cluster["worker2"]
    cluster.network.cut(lost.name)
    lost.kill()
    more(4, "trials that go on without a worker")
    cluster["mlflow"].kill()
    more(4, "trials that go on without MLflow")
    cluster["mlflow"].start()
    lost.start()  # as `restart: unless-stopped` does
    lost.wait()
    left = leaving.run("leave", "120", seconds=150)
    assert left[0] == 0 and commits(cluster, NAME) < TRIALS * EPOCHS, left[1]
    leaving.kill()
    leaving.start()
    assert sweep.wait(900) == 0, output.read_text()[-3000:]
    text = output.read_text()
    for said in ("is tried again from its last epoch", "1 node drains", "MLflow at"):
        assert said in text, text[-3000:]
    assert "View run" not in text, "MLflow's client talks on our stdout"
    leaving.wait()
    whole(cluster, NAME, TRIALS, EPOCHS)
    return f"{TRIALS} trials, {commits(cluster, NAME)} epochs"


def survives_down_and_up(cluster: Cluster) -> str:
    """What is there survives down and up, and the same command finds nothing to do"""
    cluster.down()
    cluster.up()
    whole(cluster, NAME, TRIALS, EPOCHS)
    code, text = cluster["head"].run("cluster-sweep", *SWEEP, *_MORE, seconds=300)
    assert code == 0 and f"kept {TRIALS} ended trials" in text, text
    whole(cluster, NAME, TRIALS, EPOCHS)
    return f"{TRIALS} trials kept"


def submitted(cluster: Cluster) -> str:
    """`orch submit` from the machine through its loopback; a wrong token is refused"""
    environment = {"RAY_AUTH_TOKEN": (cluster.folder / "secrets" / "ray_token").read_text()}
    words = ["submit", *SWEEP, *_MORE, "--address", "http://127.0.0.1:8265"]
    words += ["--out", "/srv/orch/sweeps", *_TRACKING]
    code, text = orch(cluster, *words, **environment)
    assert code == 0 and f"kept {TRIALS} ended trials" in text, text
    code, text = orch(cluster, *words, RAY_AUTH_TOKEN="0" * 64)
    assert code == 2 and len(text.strip().splitlines()) == 1, text
    return "exit 0; with a wrong token exit 2 and one sentence"


CHECKS: list[Callable[[Cluster], str]] = [
    comes_up, confined, published, tokens, sweep_survives, survives_down_and_up, submitted,
]  # fmt: skip
