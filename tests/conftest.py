from __future__ import annotations

import os
from pathlib import Path

# Read by torch when it is imported: test processes run side by side, a core each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tokenised corpus for the whole run."""
    return tmp_path_factory.mktemp("corpus-cache")
