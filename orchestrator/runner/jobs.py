"""Sweeps as jobs of a Ray cluster: submitted, followed and stopped through its job server.

The server is the dashboard of the cluster's head, `http://HEAD:8265`.  A job's submission id is
`orch-<sweep>-<number>`.  Its metadata hold the sweep's name and its `--out`.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.runner.job_server import ConnectionLost, JobError, JobServer, Taken

__all__ = ["ConnectionLost", "Job", "JobError", "Jobs"]

#: Seconds between two requests for a log.  The server always sends the whole log, so a long one
#: takes longer.  (Its websocket sends new lines only, but not every proxy passes it on, and Ray's
#: client for it has no time limit.)
_POLL_S = 1.0
_LOG_BYTES_S = 200_000
#: Seconds between attempts to reach a lost server.
_RETRY_S = 2.0
#: How often we try to get a job number, which others may take at the same moment.
_ATTEMPTS = 5

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Job:
    """A submission as the job server shows it.

    `status` is Ray's: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.  `exit_code` is that of the
    job's command; None while it runs, and if it was stopped or could not start.  Times are UTC.
    """

    submission_id: str
    sweep: str
    out: str
    entrypoint: str
    status: str
    message: str
    exit_code: int | None
    started_at: str | None
    ended_at: str | None

    @property
    def ended(self) -> bool:
        return self.status in _ENDED

    @property
    def number(self) -> int:
        match = re.search(r"-(\d+)$", self.submission_id)
        return int(match[1]) if match else 0

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class Jobs:
    """The jobs of a cluster, requested with this machine's token (`runner.auth_token`).

    Every method raises `JobError`, or `ConnectionLost` if nobody answers.

    Args:
        address: of the job server; Ray's environment variables for it are ignored.
        insecure: also talk to a cluster that demands no token.
    """

    def __init__(self, address: str, insecure: bool = False):
        self._server = JobServer(address, insecure)
        #: Without a password.
        self.address = self._server.shown

    def of_sweep(self, name: str, out: str | None = None) -> list[Job]:
        """The jobs of a sweep, oldest first; if `out` is given, only those that write there."""
        with self._server.readable_errors():
            jobs = [job for details in self._server.list_jobs() if (job := _job(details))]
        jobs = [job for job in jobs if job.sweep == name and out in (None, job.out)]
        return sorted(jobs, key=lambda job: job.number)

    def job(self, submission_id: str) -> Job:
        with self._server.readable_errors():
            job = _job(self._server.get_job_info(submission_id))
        if job is None:
            raise JobError(f"{self.address}: {submission_id} is not a job of a sweep")
        return job

    def submit(
        self, name: str, out: str, entrypoint: str, folder: Path, environment: Mapping[str, str]
    ) -> tuple[Job, bool]:
        """Run `entrypoint` on the head, unless a job already runs this sweep in this `out`.

        Args:
            folder: becomes the working directory of the job and of its trials.
            environment: variables of the job and of its trials.  Ray stores them with the job.

        Returns the job, and whether it already existed.
        """
        for _ in range(_ATTEMPTS):
            jobs = self.of_sweep(name)
            for job in reversed(jobs):
                if job.out == out and not job.ended:
                    return job, True
            number = 1 + max((job.number for job in jobs), default=0)
            with self._server.readable_errors(), contextlib.suppress(Taken):
                submission_id = self._server.submit_once(
                    entrypoint=entrypoint,
                    submission_id=f"orch-{name}-{number}",
                    runtime_env={"working_dir": str(folder), "env_vars": dict(environment)},
                    metadata={"sweep": name, "out": out},
                )
                return self.job(submission_id), False
        raise JobError(f"{self.address}: others keep submitting {name}; try again")

    def stop(self, submission_id: str) -> bool:
        """Ask a job to end; returns whether it was running.  Its log shows the rest."""
        with self._server.readable_errors():
            return bool(self._server.stop_job(submission_id))

    def log(self, submission_id: str) -> str:
        """What a job has printed so far."""
        with self._server.readable_errors():
            return str(self._server.get_job_logs(submission_id))

    def follow(
        self,
        submission_id: str,
        write: Callable[[str], None],
        say: Callable[[str], None],
        *,
        skip: int = 0,
    ) -> Job:
        """Pass a job's log to `write` as it grows; returns the job after its end.

        A lost connection is retried without a limit, and nothing is written twice.

        Args:
            say: shows a message about the connection to the user.
            skip: how many characters of the log to leave out.
        """
        written, lost = skip, False
        while True:
            try:
                job = self.job(submission_id)
                try:
                    if new := self.log(submission_id)[written:]:  # the server sends all of it
                        written += len(new)
                        write(new)
                except JobError:  # the log may be lost with the node that the job ran on
                    if not job.ended:
                        raise
            except ConnectionLost:
                if not lost:
                    say(f"lost the connection to {self.address}, but not the job; waiting")
                lost = True
                time.sleep(_RETRY_S)
                continue
            if lost:
                say(f"connected to {self.address} again")
            lost = False
            if job.ended:
                return job
            time.sleep(max(_POLL_S, written / _LOG_BYTES_S))


def _job(details: Any) -> Job | None:
    """A job from the server's details; None if it is not a sweep's."""
    metadata = details.metadata or {}
    if details.submission_id is None or not {"sweep", "out"} <= metadata.keys():
        return None
    return Job(
        submission_id=details.submission_id,
        sweep=metadata["sweep"],
        out=metadata["out"],
        entrypoint=details.entrypoint,
        status=str(getattr(details.status, "value", details.status)),
        message=details.message or "",
        exit_code=details.driver_exit_code,
        started_at=_stamp(details.start_time),
        ended_at=_stamp(details.end_time),
    )


def _stamp(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
