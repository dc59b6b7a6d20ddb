"""optuna-dashboard on one study: `ORCH_STUDY=ADDRESS python -m orchestrator.search.dashboard PORT`.

It prints one line when it listens.  The dashboard's own command takes the address with its password
as an argument, which every user of the machine can read.
"""

from __future__ import annotations

import os
import sys

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.database_urls import JOURNAL_SCHEME


def main() -> None:
    import optuna_dashboard

    uri, port = os.environ.pop("ORCH_STUDY"), int(sys.argv[1])
    storage: BaseStorage
    if uri.startswith(JOURNAL_SCHEME):  # as it is: a sweep may be writing, so nothing is repaired
        storage = JournalStorage(JournalFileBackend(uri.removeprefix(JOURNAL_SCHEME)))
    else:
        storage = RDBStorage(uri)
    print(f"optuna-dashboard listens on port {port}", flush=True)
    optuna_dashboard.run_server(storage, host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
