from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tokenised corpus for the whole run."""
    return tmp_path_factory.mktemp("corpus-cache")
