"""A sweep as a job of a cluster: its command, its files, its environment."""

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
from trainer.config import ConfigError, TrainConfig
from trainer.config.tasks import SPLIT_VALUES
from trainer.data.corpus import DataError
from trainer.data.sources import fingerprint
from trainer.model.encoder_shape import PRESETS
from trainer.storage.folder import in_words, is_uri

#: The limit for a job's files.  Ray keeps them in the head's memory and on every node.
MAX_BYTES = 64 * 2**20
#: Seconds after `grace_seconds` in which a stopped sweep closes its trials, its projections in
#: MLflow and Optuna (30 s each if a server hangs) and its connection to Ray.
LEAVING_S = 90


@dataclass(frozen=True)
class SweepSource:
    """A sweep file with a profile and `--set` values."""

    file: str
    profile: str | None = None
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Submission:
    """A sweep as a job.  `files` maps names in the working directory to files here."""

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


def submission(
    spec: SweepSpec,
    source: SweepSource,
    out: str,
    variables: Iterable[str],
    environment: Mapping[str, str] = os.environ,
    *,
    insecure: bool = False,
) -> Submission:
    """The job that trains a sweep, checked as far as possible from here.

    Args:
        spec: the sweep that `source` resolves to.
        out: a folder that all nodes share, or a URI.
        variables: names of variables that the job gets from `environment`.
        insecure: the cluster demands no token.

    Raises `SweepError`.
    """
    _check_out(out)
    file = Path(source.file)
    command = ["orch", "sweep", file.name]
    command += ["--profile", source.profile] if source.profile is not None else []
    for override in source.overrides:
        command += ["--set", override]
    command += ["--out", out, "--address", "auto", *(["--insecure"] if insecure else [])]
    return Submission(
        sweep=spec.name,
        out=out,
        # `exec` replaces the job's shell, so that signals to the job reach the sweep.
        entrypoint="exec " + shlex.join(command),
        files={file.name: file, **_relative_files(spec)},
        environment={
            **_values(variables, environment),
            # By default Ray kills a stopped job after 3 s.
            "RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(spec.resources.grace_seconds) + LEAVING_S),
        },
    )


def _check_out(out: str) -> None:
    if holds_password(out):
        raise SweepError(
            f"--out {without_password(out)}: contains a password, readable by all who see "
            "the job; pass it in a variable (--env AWS_SECRET_ACCESS_KEY)"
        )
    if not is_uri(out) and not os.path.isabs(out):
        raise SweepError(
            f"--out {out}: the job runs on the cluster, so name an absolute path that all nodes "
            "share, or a URI (s3://...)"
        )


def _values(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    values = {}
    for name in names:
        if "=" in name:
            raise SweepError(
                f"--env {name.partition('=')[0]}=...: give only the name; the value comes from the "
                "environment, so that no list of processes shows it"
            )
        if name not in environment:
            raise SweepError(f"--env {name}: the environment variable is not set")
        values[name] = environment[name]
    return values


def _relative_files(spec: SweepSpec) -> dict[str, Path]:
    """The files that the sweep names by relative paths; absolute paths are on the cluster."""
    files: dict[str, Path] = {}
    for config in examples(spec):
        if not all(map(config.generates, config.tasks)) and not _is_elsewhere(config.data.root):
            try:
                fingerprint(config)  # its error names missing files
            except (ConfigError, DataError) as error:
                raise SweepError(str(error)) from error
            files |= _checked("base.data.root", config.data.root, _sentences(config))
        encoder = Path(config.encoder)
        if config.encoder not in PRESETS and not _is_elsewhere(config.encoder) and encoder.is_dir():
            inside = sorted(path for path in encoder.rglob("*") if path.is_file())
            files |= _checked("base.encoder", config.encoder, inside)
        start = config.start_from
        if start and not is_uri(start) and not _is_elsewhere(start):
            inside = sorted(path for path in Path(start).rglob("*") if path.is_file())
            files |= _checked("base.start_from", start, inside)
    size = sum(path.stat().st_size for path in files.values())
    if size > MAX_BYTES:
        raise SweepError(
            f"the files that the sweep names by relative paths have {in_words(size)}, but a job "
            f"takes at most {in_words(MAX_BYTES)}; put them where every node finds them and name "
            "that place by an absolute path (--set base.data.root=/...)"
        )
    return files


def _sentences(config: TrainConfig) -> Iterator[Path]:
    for task in config.task_list:
        if config.generates(task.name):
            continue
        for name in dict.fromkeys(f for split in SPLIT_VALUES for f in task.files(split)):
            path = Path(config.data.root) / name
            if path.is_file():  # a test split may be missing
                yield path


def _checked(key: str, place: str, files: Iterable[Path]) -> dict[str, Path]:
    """Name in the working directory -> file.  All files must be below the current folder."""
    named = {os.path.normpath(path): path for path in files}
    if any(name.startswith("..") for name in named):
        raise SweepError(
            f"{key}: {place} is outside the current folder and cannot travel with a job; name a "
            "place that every node has by an absolute path"
        )
    return named


def _is_elsewhere(place: str) -> bool:
    """Whether a path does not depend on the current folder, so that the cluster has it."""
    return os.path.isabs(place) or place.startswith("~")
