"""Nodes that are about to go (a spot notice, a scale-down): their trials leave them in order.

Whoever takes a node away tells Ray (`ray drain-node`, KubeRay, Ray's autoscaler).  Ray then places
nothing new on it and lets run what runs; the node leaves when nothing does, or is cut off.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from ray._private import state, worker

logger = logging.getLogger(__name__)

#: Seconds between two looks; an epoch takes longer.
_EVERY_S = 1.0
#: Seconds that Ray may take to answer, and after which it is asked again if it did not.
_PATIENCE_S = 2.0
_RETRY_S = 30.0


def draining_nodes() -> dict[str, int]:
    """Id of each node that is about to go -> when it is cut off, in ms since 1970 (0: not said).

    Raises what Ray raises.  Ray 2.60 has no public way to ask.
    """
    found: dict[str, int] = worker.global_worker.gcs_client.get_draining_nodes(timeout=_PATIENCE_S)
    return found


def node_of(actor: Any) -> str | None:
    """Id of the node that an actor lives on; None if Ray does not say."""
    try:
        found: str = state.actors(actor._actor_id.hex())["Address"]["NodeID"]
    except Exception as error:  # it is asked for debugging only, says Ray
        logger.warning("Ray does not say where an actor lives: %s", error)
        return None
    return found


class Draining:
    """Which attempts stand on nodes that were seen draining, also if those are gone since.

    Args:
        say: is told how many, once each time that it are more.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._seen: set[str] = set()
        self._where: dict[str, str | None] = {}
        self._next = 0.0

    @property
    def any(self) -> bool:
        """Whether a node was ever seen draining."""
        return bool(self._seen)

    def placed(self, attempt: str, node: str | None) -> None:
        """An attempt's worker stands on this node."""
        self._where[attempt] = node

    def leaves(self, attempt: str) -> bool:
        """Whether an attempt is to leave its node."""
        self.look()
        return self._where.get(attempt) in self._seen

    def ended(self, attempt: str) -> None:
        self._where.pop(attempt, None)

    def look(self) -> None:
        """See what drains, once a second: a node may be gone before a trial's epoch is over."""
        now = time.monotonic()
        if now < self._next:
            return
        try:
            new = draining_nodes().keys() - self._seen
            self._next = now + _EVERY_S
        except Exception as error:  # trials of a node that goes unannounced are tried again
            logger.warning("Ray does not say which nodes drain: %s", error)
            self._next = now + _RETRY_S
            return
        if new:
            self._seen |= new
            nodes = "1 node drains" if len(new) == 1 else f"{len(new)} nodes drain"
            self._say(f"{nodes}: trials there leave with their next epoch and go on elsewhere")
