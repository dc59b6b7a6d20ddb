"""Sweeps in Python: `import orchestrator as orch; orch.load("arrp").answer`.

Everything heavy is imported when it is needed.
"""

from __future__ import annotations

import os

from orchestrator.api.answer import Answer
from orchestrator.api.best import Best
from orchestrator.api.comparison import Comparison
from orchestrator.api.model import Model
from orchestrator.api.start import run
from orchestrator.api.sweep import Sweep
from orchestrator.errors import UserError

__all__ = ["Answer", "Best", "Comparison", "Model", "Sweep", "UserError", "load", "run"]


def load(name: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Sweep:
    """A sweep by its name, its folder or its URI.

    Args:
        out: the folder of all sweeps; by default ORCH_OUT of the environment, else `sweeps`.

    Raises:
        UserError: there is no such sweep.
    """
    from orchestrator.api.start import folder_of_sweeps
    from orchestrator.ledger.listing import find_sweep

    return Sweep(find_sweep(os.fspath(name), folder_of_sweeps(out)))
