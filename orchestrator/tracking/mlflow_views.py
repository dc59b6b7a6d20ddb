"""Tags that configure how MLflow's web page shows an experiment.

A view is a state of the page's run table and charts, stored in the experiment under a key.  The
page uses it if its address names the key, as the page's button Share does.  A page of another
version that does not know the view shows its default.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.tracking import limits
from orchestrator.tracking.metric_names import EXAMPLES, MINUTES, SCORE
from orchestrator.tracking.sweep_run import SweepDescription

#: The key of our view in the page's address: `...?viewStateShareKey=orch`.
VIEW = "orch"
_VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
#: The size of a tag is limited, and parallel coordinates with more axes are hard to read.
_MOST_PARAMS = 8
_SECTION = "orch-section"
#: MLflow has pages for language models, too, and opens on those.
_TRAINING = "workflowType=machine_learning"
_RUN_NAME = "attributes.`Run Name`"
#: Of columns, in pixels.
_NARROWEST, _LETTER, _NAME_WIDTH = 110, 8, 300


def experiment_tags(sweep: SweepDescription) -> dict[str, str]:
    """The tags of a sweep's experiment."""
    page = json.dumps(view(sweep), separators=(",", ":"))
    return {
        # Without it the page may take this for an experiment on language models.
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": SCORE,
        "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
        **({_VIEW_TAG: page} if len(page) <= limits.EXPERIMENT_TAG else {}),
    }


def view(sweep: SweepDescription) -> dict[str, Any]:
    """The page's state: columns for scores and what varies, and charts for a comparison."""
    params = [key for key in sweep.varied if key != "seed"][:_MOST_PARAMS]
    columns = [_RUN_NAME, *(f"metrics.`{key}`" for key in (SCORE, MINUTES))]
    columns += ["tags.`contended`", *(f"params.`{key}`" for key in [*params, "seed"])]
    columns += [f"metrics.`{key}`" for key in sweep.task_metrics]
    return {
        "orderByKey": f"metrics.`{SCORE}`",
        "orderByAsc": False,
        "selectedColumns": columns[1:] + ["attributes.`Models`"],
        "columnOrder": columns,
        "columnWidths": {column: _width(column) for column in columns},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(sweep, params),
        "compareRunSections": [
            {
                "uuid": _SECTION, "name": "Comparison", "display": True, "columns": 2,
                "cardHeight": 420, "isReordered": False, "deleted": False, "isGenerated": False,
            }
        ],
    }  # fmt: skip


def _width(column: str) -> int:
    """A column's width, so that its heading fits; MLflow's values are long and cut anyway."""
    heading = column.partition(".")[2].strip("`")
    return _NAME_WIDTH if column == _RUN_NAME else _NARROWEST + max(0, len(heading) - 10) * _LETTER


def _charts(sweep: SweepDescription, params: list[str]) -> list[dict[str, Any]]:
    """Score against minutes, what varies, score over epochs.

    Parallel coordinates omit a run that lacks one of the axes.  So there are two charts: one with
    the axes that all runs have, and one of the runs in which everything acts.
    """
    score, minutes = ({"key": key, "type": "METRIC"} for key in (SCORE, MINUTES))
    common = [key for key in params if key in sweep.common]
    charts: list[dict[str, Any]] = [
        {
            "type": "SCATTER", "uuid": "orch-scatter", "xaxis": minutes, "yaxis": score,
            "displayName": "Score against minutes per epoch",
        },
        {
            "type": "PARALLEL", "uuid": "orch-parallel", "showAllRuns": True,
            "displayName": "All trials", "selectedParams": common,
            "selectedMetrics": [EXAMPLES, MINUTES, SCORE],
        },
        {
            "type": "LINE", "uuid": "orch-score", "displayName": "Score by epoch",
            "metricKey": SCORE, "selectedMetricKeys": [SCORE], "lineSmoothness": 0,
            "xAxisKey": "step", "selectedXAxisMetricKey": "", "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True, "yAxisKey": "metric", "yAxisExpressions": [],
            "scaleType": "linear", "xAxisScaleType": "linear", "range": {},
        },
        {
            "type": "PARALLEL", "uuid": "orch-parallel-all", "showAllRuns": True,
            "displayName": "Trials in which all of these act", "selectedParams": params,
            "selectedMetrics": [MINUTES, SCORE],
        },
    ]  # fmt: skip
    if common == params:
        del charts[3]
    common_keys = {"metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
    return [chart | common_keys | {"runsCountToCompare": 100} for chart in charts]


def address(server: str, experiment: str) -> str:
    """The address of an experiment's page with our view: its charts beside the list of runs."""
    page = f"{server.rstrip('/')}/#/experiments/{experiment}/runs"
    return f"{page}?viewStateShareKey={VIEW}&{_TRAINING}&compareRunsMode=CHART"


def address_of_all(server: str) -> str:
    """The address of the list of experiments."""
    return f"{server.rstrip('/')}/#/experiments?{_TRAINING}"
