"""A request to stop a sweep: `stop.json`, which the driver looks for, also on another host."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.ledger.driver_status import DriverStatus
from trainer.storage.folder import Folder, Refused
from trainer.storage.json_reader import JsonError, parse_object

STOP = "stop.json"


def request_stop(folder: Folder, driver: DriverStatus, *, now: bool) -> None:
    """Ask this driver to stop; `now`: it commits nothing more."""
    content = {"pid": driver.pid, "started": driver.started, "now": now}
    folder.write(STOP, json.dumps(content).encode())


def requested(folder: Folder, holder: dict[str, Any]) -> int:
    """How many signals the request stands for: 0 without one, 1, or 2 for `now`.

    Args:
        holder: of the sweep's lock; requests to an earlier driver do not count.
    """
    try:
        content = folder.read(STOP)
        if content is None:
            return 0
        request = parse_object(content)
        theirs = (request["pid"], request["started"]) == (holder["pid"], holder["started"])
        return (2 if request["now"] else 1) if theirs else 0
    except (Refused, JsonError, KeyError):
        return 0
