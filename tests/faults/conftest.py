"""What the tests of several nodes share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import runner  # noqa: F401  (sets what Ray reads when it is imported)
from tests.support.drivers import SMALL_NODE
from tests.support.paths import ROOT


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A head without room for trials, and two nodes with room for one each; an epoch takes the
    module's `EPOCH_S` seconds."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the workers, which the nodes start
    # Ray reads it once a process, as does the runner where none is set: it stays.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("EPOCH_S", request.module.EPOCH_S)
    head = {**SMALL_NODE, "num_cpus": 0, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            made.add_node(**SMALL_NODE)
        yield made
    finally:
        made.shutdown()
