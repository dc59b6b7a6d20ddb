"""What to try next, and Optuna's view of what was tried.  The only package that imports optuna.

The study that proposes is in memory and rebuilt from the ledger at every start.  The study that
optuna-dashboard reads is a projection of the ledger.
"""

from __future__ import annotations

import warnings

import optuna

from orchestrator.search.importance import importances, uncertain_importances
from orchestrator.search.persistent_study import JOURNAL, PersistentStudy
from orchestrator.search.suggestions import Ended, Outcome, Suggestion, Suggestions, order

__all__ = [
    "JOURNAL", "Ended", "Outcome", "PersistentStudy", "Suggestion", "Suggestions", "importances",
    "order", "uncertain_importances",
]  # fmt: skip

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
