"""Which experiment and which runs in MLflow are a sweep's, also after people edited them there.

People rename experiments, delete runs, and edit tags.  So a sweep is found by its id wherever its
runs are, and a trial's run by the trial's id wherever it hangs, in MLflow's trash too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from orchestrator.database_urls import expanded
from orchestrator.tracking.database import all_runs, connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Tags by which runs are found.
SWEEP_ID, TRIAL_ID, PARENT = "sweep_id", "trial_id", "mlflow.parentRunId"
DIRECTORY, KIND = "trial_directory", "kind"
#: The kind of a run that `orch rm` put into the trash: it is never taken out again.
REMOVED = "removed"
#: What an MLflow filter takes within quotes.
_PLAIN = re.compile(r"[\w.-]+")


def find_experiment(client: MlflowClient, name: str, sweep_id: str) -> Any | None:
    """The experiment that holds the sweep's runs, else the one of that name; None if none is.

    It may have another name by now, and it may be in the trash.
    """
    from mlflow.entities import ViewType

    named = client.get_experiment_by_name(name)
    if not _PLAIN.fullmatch(sweep_id) or not _PLAIN.fullmatch(name):
        return named
    # A copy of the sweep's folder under another name has the same id.
    wanted = f"tags.{SWEEP_ID} = '{sweep_id}' and tags.sweep = '{name}'"
    wanted += f" and tags.{KIND} != '{REMOVED}'"
    if named and _holding([named], client, wanted):
        return named
    pages: list[Any] = []
    token = None
    while not pages or token:
        page = client.search_experiments(ViewType.ALL, max_results=1000, page_token=token)
        pages.append(page)
        token = page.token
    return next(filter(None, (_holding(p, client, wanted) for p in pages if p)), named)


def _holding(experiments: Iterable[Any], client: MlflowClient, wanted: str) -> Any | None:
    """The one of the experiments with such a run."""
    from mlflow.entities import ViewType

    numbers = {str(each.experiment_id): each for each in experiments}
    found = client.search_runs(list(numbers), wanted, ViewType.ALL, max_results=1)
    return numbers[found[0].info.experiment_id] if found else None


def open_experiment(client: MlflowClient, name: str, sweep_id: str, artifacts: str | None) -> Any:
    """The sweep's experiment: created, taken out of the trash or named again where that is needed.

    Args:
        artifacts: place of a new experiment's artifacts; None lets the server decide.
    """
    experiment = find_experiment(client, name, sweep_id)
    if experiment is None:
        return client.get_experiment(client.create_experiment(name, artifact_location=artifacts))
    number = str(experiment.experiment_id)
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(number)
    if experiment.name != name and client.get_experiment_by_name(name) is None:
        client.rename_experiment(number, name)
    return client.get_experiment(number)


def experiment_id(uri: str, name: str, sweep_id: str) -> str | None:
    """The id of a sweep's experiment; None if there is none.  Raises what the database raises."""
    experiment = find_experiment(connect(expanded(uri)), name, sweep_id)
    return None if experiment is None else str(experiment.experiment_id)


class OwnRuns:
    """The runs of a sweep in one experiment.

    Attributes:
        removed: runs that `orch rm` put into the trash.
        parents: the sweep's own runs, the best one first: there is one, unless people or a lost
            answer made more.
        trials: runs of trials, some of them perhaps twice.
    """

    def __init__(self, client: MlflowClient, experiment: str, sweep_id: str):
        runs = all_runs(client, experiment, trash=True)
        self.removed = [run for run in runs if run.data.tags.get(KIND) == REMOVED]
        self._runs = {r.info.run_id: r for r in runs if r.data.tags.get(KIND) != REMOVED}
        self._sweep_id = sweep_id
        parents = [run for run in self._runs.values() if self._is_parent(run.data.tags)]
        below = Counter(run.data.tags.get(PARENT) for run in self.active)
        self.parents = sorted(
            parents or self._untagged_parents(),
            key=lambda run: (not is_active(run), -below[run.info.run_id]),
        )
        self._own = {run.info.run_id for run in self.parents}
        self.trials = [run for run in self._runs.values() if self._is_trial(run)]

    @property
    def active(self) -> list[Any]:
        """All runs of the experiment that are not in the trash."""
        return [run for run in self._runs.values() if is_active(run)]

    def _is_parent(self, tags: Mapping[str, str]) -> bool:
        return tags.get(KIND) == "sweep" and tags.get(SWEEP_ID, "") == self._sweep_id

    def _untagged_parents(self) -> list[Any]:
        """The run below which most of the sweep's trials hang, if its own tags were edited."""
        mine = [run.data.tags for run in self._runs.values() if self._is_tagged(run.data.tags)]
        ranked = Counter(tags.get(PARENT, "") for tags in mine).most_common()
        runs = [self._runs[number] for number, _ in ranked if number in self._runs]
        return [run for run in runs if not set(trial_ids(run))][:1]

    def _is_tagged(self, tags: Mapping[str, str]) -> bool:
        return tags.get(KIND) != "sweep" and tags.get(SWEEP_ID) == self._sweep_id

    def _is_trial(self, run: Any) -> bool:
        """Whether a run is a trial's, of this sweep.

        Older versions did not write the sweep's id, so a trial without it belongs to the sweep
        below which it hangs, or to whoever has a trial of its id if that is gone.
        """
        tags = run.data.tags
        if tags.get(KIND) == "sweep" or run.info.run_id in self._own:
            return False
        if self.is_certain(run):
            return tags.get(KIND) == "trial" or any(trial_ids(run))
        return SWEEP_ID not in tags and tags.get(PARENT) not in self._runs and any(trial_ids(run))

    def is_certain(self, run: Any) -> bool:
        """Whether a run hangs below the sweep, or says that it is of it."""
        tags = run.data.tags
        return tags.get(PARENT) in self._own or self._is_tagged(tags)


def is_active(run: Any) -> bool:
    """Whether a run is not in MLflow's trash."""
    return bool(run.info.lifecycle_stage == "active")


def trial_ids(run: Any) -> Iterator[str]:
    """The trials that a run may be of, by its tags: one, unless somebody edited them."""
    tags = run.data.tags
    named = [tags.get(TRIAL_ID, ""), PurePath(tags.get(DIRECTORY, "")).name]
    yield from dict.fromkeys(filter(None, named))
