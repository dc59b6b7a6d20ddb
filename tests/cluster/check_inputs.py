"""What a sweep is before it is broken: checked, small, wrong, or on unlike nodes."""

from __future__ import annotations

import time

from check_stack import KINDS
from cluster import Cluster
from seen import SWEEP, job_ends, orch_on_head, submit, sweep_folder, whole

#: A wrong input must have ended after this many seconds, on a busy machine too.
_AT_ONCE_S = 90
_NO_DATA = ("--set", "base.data.source=cs224n", "--set", "base.data.root=/srv/orch/data")
_ONE_EPOCH = ("--set", "base.epochs=1", "--set", "decide=null", "--set", "tracking.report=false")
_ONE_TRIAL = (*_ONE_EPOCH, "--set", "search.num_trials=1", "--set", "search.seeds=[1]")


def doctor_agrees(cluster: Cluster) -> str:
    """`orch doctor` on the head finds no error on any node"""
    code, text = orch_on_head(
        cluster, "doctor", *SWEEP, "--address", "auto", "--out", "/srv/orch/sweeps"
    )
    assert code == 0, text
    return f"{sum(line.startswith('ok') for line in text.splitlines())} findings are ok"


def smoke(cluster: Cluster) -> str:
    """The rehearsal without data or GPU through `orch submit`, one epoch a trial"""
    code, text = submit(cluster, *SWEEP, *_ONE_EPOCH, "--set", "name=smoke",
                        "--set", "search.num_trials=2")  # fmt: skip
    assert code == 0, text
    whole(cluster, "smoke", 4, 1)
    assert (ends := job_ends(cluster))[-1:] == [0], ends
    return "exit 0, 4 trials"


def wrong_inputs_end(cluster: Cluster) -> str:
    """A wrong input ends at once with exit 2: no trial is started, nothing is tried again"""
    cases = (("wrong-key", "base.epocs: unknown key", "--set", "base.epocs=1"),
             ("no-data", "/srv/orch/data/ids-sst-dev.csv: task sst needs", *_NO_DATA))  # fmt: skip
    before = job_ends(cluster)
    for name, said, *words in cases:
        for how, run in (("submit", submit), ("cluster-sweep", _cluster_sweep)):
            began = time.monotonic()
            code, text = run(cluster, *SWEEP, *_ONE_EPOCH, *words, "--set", f"name={name}")
            took = time.monotonic() - began
            about = f"{how} with {name}: exit {code} after {took:.0f} s:\n{text}"
            assert code == 2 and took < _AT_ONCE_S, about
            assert text.count(said) == 1 and "Traceback" not in text, about
            assert not list(sweep_folder(cluster, name).glob("trials/*")), about
    # A wrong key is seen before anything is submitted; missing data where the job runs.
    assert (after := job_ends(cluster)) == [*before, 2], after
    return "a wrong key and missing data, by `orch submit` and by `cluster-sweep`"


def kinds_differ(cluster: Cluster) -> str:
    """On workers of two kinds a sweep has a precision that both multiply, or ends with exit 2"""
    words = (*SWEEP, *_ONE_TRIAL)
    code, text = _cluster_sweep(
        cluster, *words, "--set", "name=kinds", "--set", "base.precision=auto"
    )
    (name,) = (name for name, native in KINDS.items() if not native)
    odd = cluster.network.address(name)
    assert code == 0 and f"precision: fp32 (auto; the CPU of node {odd} " in text, text
    whole(cluster, "kinds", 1, 1)
    code, text = _cluster_sweep(
        cluster, *words, "--set", "name=kinds-bf16", "--set", "base.precision=bf16"
    )
    assert code == 2 and f"precision: bf16: the CPU of node {odd} " in text, text
    assert not list(sweep_folder(cluster, "kinds-bf16").glob("trials/*")), text
    return f"auto became fp32 because of {name}, and bf16 by name was refused"


def _cluster_sweep(cluster: Cluster, *words: str) -> tuple[int, str]:
    return cluster["head"].run("cluster-sweep", *words, seconds=300)
