"""Sweeps over ways of training one model on several tasks: propose, schedule, record, compare.

In Python, `load` opens a sweep and `run` starts one (orchestrator.api).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import (
        Answer,
        Best,
        Comparison,
        Model,
        Sweep,
        UserError,
        load,
        run,
    )

__version__ = "0.1.0"
__all__ = ["Answer", "Best", "Comparison", "Model", "Sweep", "UserError", "load", "run"]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is asked for: every command imports this package."""
    if name in __all__:
        from orchestrator import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
