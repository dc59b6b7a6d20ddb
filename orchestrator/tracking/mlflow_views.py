"""How MLflow's page shows an experiment without any set-up: tags that its web page reads.

A view is a state of the page's run table and charts, kept in the experiment under a key; the page
takes it up when its address names the key (that is how its button Share works).  A page that does
not know a view shows its own default.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.tracking.metric_names import EXAMPLES, MINUTES, SCORE
from orchestrator.tracking.sweep_run import SweepDescription

#: The key of our view in the page's address: `...?viewStateShareKey=orch`.
VIEW = "orch"
_VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
#: Entries of a tag's value are limited; parallel coordinates of more axes cannot be read anyway.
_MOST_PARAMS = 8
_SECTION = "orch-section"
_RUN_NAME = "attributes.`Run Name`"
#: Of columns, in pixels.
_WIDTH, _NAME_WIDTH = 120, 300


def experiment_tags(sweep: SweepDescription) -> dict[str, str]:
    """The tags of a sweep's experiment."""
    return {
        # Without it the page guesses whether this is about language models.
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": SCORE,
        "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
        "mlflow.note.content": sweep.question,
        _VIEW_TAG: json.dumps(view(sweep), separators=(",", ":")),
    }


def view(sweep: SweepDescription) -> dict[str, Any]:
    """The page's state: what varies and the scores as columns, and the charts of a comparison."""
    params = [key for key in sweep.varied if key != "seed"][:_MOST_PARAMS]
    columns = [_RUN_NAME, *(f"metrics.`{key}`" for key in (SCORE, MINUTES))]
    columns += ["tags.`contended`", *(f"params.`{key}`" for key in [*params, "seed"])]
    columns += [f"metrics.`{key}`" for key in sweep.task_metrics]
    return {
        "orderByKey": f"metrics.`{SCORE}`",
        "orderByAsc": False,
        "selectedColumns": columns[1:] + ["attributes.`Models`"],
        "columnOrder": columns,
        "columnWidths": {column: _WIDTH for column in columns} | {_RUN_NAME: _NAME_WIDTH},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(sweep, params),
        "compareRunSections": [
            {
                "uuid": _SECTION, "name": "Comparison", "display": True, "columns": 2,
                "cardHeight": 420, "isReordered": False, "deleted": False, "isGenerated": False,
            }
        ],
    }  # fmt: skip


def _charts(sweep: SweepDescription, params: list[str]) -> list[dict[str, Any]]:
    """Parallel coordinates, score against minutes, score over epochs.

    A run that lacks one of the axes is not in a chart of parallel coordinates: there is one of what
    all runs have, and one of those in which everything acts.
    """
    score, minutes = ({"key": key, "type": "METRIC"} for key in (SCORE, MINUTES))
    common = [key for key in params if key in sweep.common]
    charts: list[dict[str, Any]] = [
        {
            "type": "PARALLEL", "uuid": "orch-parallel", "showAllRuns": True,
            "displayName": "All trials", "selectedParams": common,
            "selectedMetrics": [EXAMPLES, MINUTES, SCORE],
        },
        {
            "type": "SCATTER", "uuid": "orch-scatter", "xaxis": minutes, "yaxis": score,
            "displayName": "Score against minutes per epoch",
        },
        {
            "type": "PARALLEL", "uuid": "orch-parallel-all", "showAllRuns": True,
            "displayName": "Trials in which all of these act", "selectedParams": params,
            "selectedMetrics": [MINUTES, SCORE],
        },
        {
            "type": "LINE", "uuid": "orch-score", "displayName": "Score by epoch",
            "metricKey": SCORE, "selectedMetricKeys": [SCORE], "lineSmoothness": 0,
            "xAxisKey": "step", "selectedXAxisMetricKey": "", "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True, "yAxisKey": "metric", "yAxisExpressions": [],
            "scaleType": "linear", "xAxisScaleType": "linear", "range": {},
        },
    ]  # fmt: skip
    if common == params:
        del charts[2]
    told = {"metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
    return [chart | told | {"runsCountToCompare": 100} for chart in charts]


def address(server: str, experiment: str) -> str:
    """The page of an experiment with our view of it."""
    page = f"{server.rstrip('/')}/#/experiments/{experiment}/runs"
    return f"{page}?viewStateShareKey={VIEW}&workflowType=machine_learning"
