"""A part of `tests/cluster/run`: one service on a host of its own, and who reaches it.

The whole stack, broken and mended, is that script's (docs/guide/cluster.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(HERE))
    from needs import SERVICES_NEED
MISSING = [need.what for need in SERVICES_NEED if not need.is_there()]
pytestmark = [
    pytest.mark.slow(reason="starts PostgreSQL in a network of its own"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stack with its network and its database; nothing else of it is started."""
    monkeypatch.syspath_prepend(str(HERE))
    from cluster import Cluster

    for folder in (tmp_path, *tmp_path.parents):  # the services are not root
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    made = Cluster(tmp_path)
    try:
        made["postgres"].start()
        made["postgres"].wait(120)
        yield made
    finally:
        made.remove()


def test_the_database_is_confined_and_reached_by_the_services_alone(cluster: Any) -> None:
    from seen import scan

    code, text = cluster["postgres"].run(
        "sh",
        "-c",
        "touch /usr/probe 2>/dev/null && echo writes; id -u; grep CapEff /proc/self/status",
    )
    user, capabilities = text.splitlines()
    assert user != "0" and int(capabilities.split()[1], 16) == 0, text

    address, machine = cluster.network.address("postgres"), cluster.network.MACHINE
    assert scan(cluster, "mlflow", address, "5432", "5433") == [5432]
    assert scan(cluster, "outside", address, "5432") == []
    assert scan(cluster, "outside", machine, "5432") == []
    with cluster.publishing(f"{machine}:5432:postgres:5432"):  # the scan sees what is open
        assert scan(cluster, "outside", machine, "5432") == [5432]
