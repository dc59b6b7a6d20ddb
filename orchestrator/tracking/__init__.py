"""MLflow as a projection of the ledger.  The only package that imports mlflow.

The projection can be deleted and built again.  Each trial is one child run, found by its tag
`trial_id`.  An epoch is logged unless the run has that step.  The artifacts of the sweep's own run
are logged again only if they have changed.
"""

from orchestrator.tracking.mlflow_projection import MlflowProjection
from orchestrator.tracking.own_runs import experiment_id
from orchestrator.tracking.sweep_run import SweepArtifacts, SweepDescription
from orchestrator.tracking.trial_run import epoch_metrics

__all__ = [
    "MlflowProjection", "SweepArtifacts", "SweepDescription", "epoch_metrics", "experiment_id",
]  # fmt: skip
