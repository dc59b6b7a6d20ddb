"""Nodes that are about to go (a spot notice, a scale-down): trials leave them after an epoch.

Whatever takes a node away (`ray drain-node`, KubeRay, Ray's autoscaler) announces it to Ray.  Ray
then places nothing new there.  The node goes when nothing runs on it, or at its deadline.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from ray._private import state, worker

logger = logging.getLogger(__name__)

#: Seconds between two requests; an epoch takes longer.
_EVERY_S = 1.0
#: Seconds that we wait for Ray's answer, and before the next request if there was none.
_PATIENCE_S = 2.0
_RETRY_S = 30.0


def draining_nodes() -> dict[str, int]:
    """Id of each draining node -> its deadline in ms since 1970 (0: none).

    Raises what Ray raises.  Ray 2.60 has no public function for it.
    """
    deadlines: dict[str, int] = worker.global_worker.gcs_client.get_draining_nodes(
        timeout=_PATIENCE_S
    )
    return deadlines


def node_of(actor: Any) -> str | None:
    """Id of the node that an actor runs on; None if Ray does not know."""
    try:
        return str(state.actors(actor._actor_id.hex())["Address"]["NodeID"])
    except Exception as error:  # Ray offers it for debugging only
        logger.warning("Ray does not say where an actor lives: %s", error)
        return None


class Draining:
    """Which attempts are on nodes that drain or have drained.

    Args:
        say: shows a message to the user for every new draining node.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._seen: set[str] = set()
        self._where: dict[str, str | None] = {}
        self._next = 0.0

    @property
    def any(self) -> bool:
        """Whether any node has drained so far."""
        return bool(self._seen)

    def placed(self, attempt: str, node: str | None) -> None:
        """An attempt's worker is on this node."""
        self._where[attempt] = node

    def leaves(self, attempt: str) -> bool:
        """Whether an attempt must leave its node."""
        self.look()
        return self._where.get(attempt) in self._seen

    def ended(self, attempt: str) -> None:
        self._where.pop(attempt, None)

    def look(self) -> None:
        """Ask Ray, once a second: a node may be gone before a trial's epoch is over."""
        now = time.monotonic()
        if now < self._next:
            return
        try:
            new = draining_nodes().keys() - self._seen
            self._next = now + _EVERY_S
        except Exception as error:  # without it trials of a lost node are simply tried again
            logger.warning("Ray does not say which nodes drain: %s", error)
            self._next = now + _RETRY_S
            return
        if new:
            self._seen |= new
            nodes = "1 node drains" if len(new) == 1 else f"{len(new)} nodes drain"
            self._say(f"{nodes}: trials there leave after their next epoch and resume elsewhere")
