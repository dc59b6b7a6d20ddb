"""MLflow as a projection of the ledger.  The only package that imports mlflow.

What stands here can be thrown away and built again: each trial is one child run found by its
`trial_id` tag, an epoch is logged unless the run has that step already, and what the sweep's own
run shows is logged again only if it has changed.
"""

from orchestrator.database_urls import resolve_uri, without_password
from orchestrator.tracking.database import experiment_id
from orchestrator.tracking.mlflow_projection import MlflowProjection
from orchestrator.tracking.sweep_run import SweepArtifacts, SweepDescription
from orchestrator.tracking.trial_run import epoch_metrics

__all__ = [
    "SweepArtifacts",
    "MlflowProjection",
    "SweepDescription",
    "epoch_metrics",
    "experiment_id",
    "resolve_uri",
    "without_password",
]
