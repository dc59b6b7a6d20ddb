"""optuna-dashboard on one study: `ORCH_STUDY=ADDRESS python -m orchestrator.search.dashboard PORT`.

The dashboard's own command takes a database's password as an argument, which every user of the
machine can read.
"""

from __future__ import annotations

import os
import sys

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend


def main() -> None:
    import optuna_dashboard

    storage, port = _storage(os.environ.pop("ORCH_STUDY")), int(sys.argv[1])
    print(f"optuna-dashboard listens on port {port}", flush=True)
    optuna_dashboard.run_server(storage, host="127.0.0.1", port=port)


def _storage(uri: str) -> BaseStorage:
    """The study's place as it is: a sweep may be at work on it, so nothing is mended."""
    if uri.startswith("journal:"):
        return JournalStorage(JournalFileBackend(uri.removeprefix("journal:")))
    return RDBStorage(uri)


if __name__ == "__main__":
    main()
