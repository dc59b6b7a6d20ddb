"""A sweep on the stack that is broken meanwhile, and the same sweep afterwards."""

from __future__ import annotations

from cluster import Cluster
from seen import SWEEP, commits, submit, wait_for, whole

NAME, TRIALS, EPOCHS = "arrp-embedded", 12, 4
_MORE = (
    "--set", "base.epochs=4", "--set", "decide=null", "--set", "resources.max_concurrent=4",
    "--set", "tracking.report=false",
)  # fmt: skip


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
    """`orch submit` of the same sweep from the machine; a wrong token is refused"""
    code, text = submit(cluster, *SWEEP, *_MORE)
    assert code == 0 and f"kept {TRIALS} ended trials" in text, text
    code, text = submit(cluster, *SWEEP, *_MORE, RAY_AUTH_TOKEN="0" * 64)
    assert code == 2 and len(text.strip().splitlines()) == 1, text
    return "exit 0; with a wrong token exit 2 and one sentence"
