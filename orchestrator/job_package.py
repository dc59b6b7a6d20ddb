"""What a sweep takes along when it becomes a job of a cluster: command, files, environment."""

from __future__ import annotations

import math
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.database_urls import holds_password, without_password
from orchestrator.errors import SweepError
from orchestrator.preflight.checks import examples
from orchestrator.spec import SweepSpec
from trainer.config import TrainConfig
from trainer.data.corpus import DataError, fingerprint
from trainer.model.encoder_shape import PRESETS
from trainer.storage.folder import in_words, is_uri

#: What may travel with a job.  Ray keeps it in the head's memory and on every node.
MAX_BYTES = 64 * 2**20
#: Seconds behind `grace_seconds` in which a stopped sweep closes its trials, its pictures in MLflow
#: and Optuna (30 s each where a server hangs) and its connection to Ray.
LEAVING_S = 90


@dataclass(frozen=True)
class Submission:
    """A sweep as a job.  `files` are name in the working directory -> file here."""

    sweep: str
    out: str
    entrypoint: str
    files: dict[str, Path]
    environment: dict[str, str]

    def write(self, folder: Path) -> None:
        """Fill the job's working directory."""
        for name, file in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)


@dataclass(frozen=True)
class SweepCommand:
    """The options of `orch sweep` that a job runs with.

    Attributes:
        out: a folder that all nodes share, or a URI.
        insecure: the cluster asks for no token.
    """

    file: str
    out: str
    profile: str | None = None
    overrides: Sequence[str] = ()
    insecure: bool = False

    def words(self) -> list[str]:
        command = ["orch", "sweep", Path(self.file).name]
        command += ["--profile", self.profile] if self.profile is not None else []
        for override in self.overrides:
            command += ["--set", override]
        insecure = ["--insecure"] if self.insecure else []
        return [*command, "--out", self.out, "--address", "auto", *insecure]


def submission(
    spec: SweepSpec,
    command: SweepCommand,
    variables: Iterable[str],
    environment: Mapping[str, str] = os.environ,
) -> Submission:
    """The job that trains a sweep, checked as far as that can be done from here.

    Args:
        spec: the sweep that the command trains.
        variables: names of variables whose values of `environment` the job gets.

    Raises `SweepError`.
    """
    _check_out(command.out)
    return Submission(
        sweep=spec.name,
        out=command.out,
        # The job's shell makes way: a signal to the job is one to the sweep.
        entrypoint="exec " + shlex.join(command.words()),
        files={Path(command.file).name: Path(command.file), **_taken_along(spec)},
        environment={
            **_values(variables, environment),
            # Ray kills a stopped job 3 s later, unless its environment says otherwise.
            "RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(spec.resources.grace_seconds) + LEAVING_S),
        },
    )


def _check_out(out: str) -> None:
    if holds_password(out):
        raise SweepError(
            f"--out {without_password(out)}: had a password written out, which everybody who sees "
            "the job would see; pass it in a variable (--env AWS_SECRET_ACCESS_KEY)"
        )
    if not is_uri(out) and not os.path.isabs(out):
        raise SweepError(
            f"--out {out}: the job runs on the cluster: name an absolute path that all nodes "
            "share, or a URI (s3://...)"
        )


def _values(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name in names:
        if "=" in name:
            raise SweepError(
                f"--env {name.partition('=')[0]}=...: name the variable alone; its value is read "
                "from your environment, so that it stands in no list of processes"
            )
        if name not in environment:
            raise SweepError(f"--env {name}: the environment variable is not set")
        found[name] = environment[name]
    return found


def _taken_along(spec: SweepSpec) -> dict[str, Path]:
    """The files that the sweep names by relative paths; absolute ones are the cluster's."""
    found: dict[str, Path] = {}
    for config in examples(spec):
        if not all(map(config.generates, config.tasks)) and not _is_elsewhere(config.data.root):
            try:
                fingerprint(config)  # names what is missing
            except DataError as error:
                raise SweepError(str(error)) from error
            found |= _checked("base.data.root", config.data.root, _sentences(config))
        encoder = Path(config.encoder)
        if config.encoder not in PRESETS and not _is_elsewhere(config.encoder) and encoder.is_dir():
            inside = sorted(path for path in encoder.rglob("*") if path.is_file())
            found |= _checked("base.encoder", config.encoder, inside)
    size = sum(path.stat().st_size for path in found.values())
    if size > MAX_BYTES:
        raise SweepError(
            f"the files that the sweep names by relative paths are {in_words(size)}, a job takes "
            f"{in_words(MAX_BYTES)} along; put them where every node finds them and name that "
            "place by an absolute path (--set base.data.root=/...)"
        )
    return found


def _sentences(config: TrainConfig) -> Iterator[Path]:
    for task in config.task_list:
        if config.generates(task.name):
            continue
        for name in filter(None, (task.train, task.dev, task.test)):
            path = Path(config.data.root) / name
            if path.is_file():  # a test split may be missing
                yield path


def _checked(key: str, place: str, files: Iterable[Path]) -> dict[str, Path]:
    """Name in the working directory -> file; all of them must lie below this directory."""
    found = {os.path.normpath(path): path for path in files}
    if any(name.startswith("..") for name in found):
        raise SweepError(
            f"{key}: {place} lies outside of this folder and cannot travel with a job; name a "
            "place that every node has by an absolute path"
        )
    return found


def _is_elsewhere(place: str) -> bool:
    """Whether a path means the same from every folder: it is the cluster's then."""
    return os.path.isabs(place) or place.startswith("~")
