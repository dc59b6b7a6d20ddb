"""The course's sentences, where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL = Path(os.environ.get("CS224N_DATA", Path(__file__).parents[2] / "shared/data/cs224n"))
needs_real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason="the course's files are not here (set CS224N_DATA to their folder)"
)
