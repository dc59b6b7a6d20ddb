"""Sweeps as jobs of a Ray cluster: submitted, followed and stopped over its job server.

The server is the dashboard of the cluster's head, `http://HEAD:8265`.  A job's submission id is
`orch-<sweep>-<number>`; its metadata say of which sweep it is and where that is written.
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

#: Seconds between looks at a log; more for a long one, which the server always sends as a whole.
#: It has a websocket for new lines, too: not every proxy passes it on, and Ray's client for it has
#: no time limits.
_POLL_S = 1.0
_LOG_BYTES_S = 200_000
#: Seconds between attempts to reach the server again.
_RETRY_S = 2.0
#: Others may take the same number at the same moment.
_ATTEMPTS = 5

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Job:
    """A submission as the job server shows it.

    `status` is Ray's: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.  `exit_code` is that of the
    job's command, None while it runs, where it was stopped, and where it could not be started.
    Times are UTC.
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
        found = re.search(r"-(\d+)$", self.submission_id)
        return int(found[1]) if found else 0

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class Jobs:
    """The jobs of a cluster, asked for with the token of this machine (`runner.token`).

    Every method raises `JobError`, or `ConnectionLost` where nobody answers.

    Args:
        address: of the job server; the variables that Ray reads one from do not count.
        insecure: speak to a cluster that asks for no token, too.
    """

    def __init__(self, address: str, insecure: bool = False):
        self._server = JobServer(address, insecure)
        #: As it may be shown.
        self.address = self._server.shown

    def of_sweep(self, name: str, out: str | None = None) -> list[Job]:
        """The jobs of a sweep, oldest first; of those written to `out` alone, if it is given."""
        with self._server.in_words():
            found = [_job(details) for details in self._server.list_jobs()]
        jobs = [job for job in found if job is not None and job.sweep == name]
        return sorted((j for j in jobs if out in (None, j.out)), key=lambda job: job.number)

    def job(self, submission_id: str) -> Job:
        with self._server.in_words():
            job = _job(self._server.get_job_info(submission_id))
        if job is None:
            raise JobError(f"{self.address}: {submission_id} is not a job of a sweep")
        return job

    def submit(
        self, name: str, out: str, entrypoint: str, folder: Path, environment: Mapping[str, str]
    ) -> tuple[Job, bool]:
        """Have the head run `entrypoint`, unless a job of this sweep in this `out` is at it.

        Args:
            folder: what becomes the working directory of the job and of its trials.
            environment: variables of the job and of its trials.  Ray keeps them with the job.

        Returns the job, and whether it was there already.
        """
        for _ in range(_ATTEMPTS):
            jobs = self.of_sweep(name)
            for job in reversed(jobs):
                if job.out == out and not job.ended:
                    return job, True
            number = 1 + max((job.number for job in jobs), default=0)
            with self._server.in_words(), contextlib.suppress(Taken):
                made = self._server.submit_once(
                    entrypoint=entrypoint,
                    submission_id=f"orch-{name}-{number}",
                    runtime_env={"working_dir": str(folder), "env_vars": dict(environment)},
                    metadata={"sweep": name, "out": out},
                )
                return self.job(made), False
        raise JobError(f"{self.address}: others submit {name} again and again; try it once more")

    def stop(self, submission_id: str) -> bool:
        """Ask a job to end; returns whether it was running.  Its log tells how it goes on."""
        with self._server.in_words():
            return bool(self._server.stop_job(submission_id))

    def log(self, submission_id: str) -> str:
        """What a job has printed so far."""
        with self._server.in_words():
            return str(self._server.get_job_logs(submission_id))

    def follow(
        self,
        submission_id: str,
        write: Callable[[str], None],
        say: Callable[[str], None],
        *,
        behind: int = 0,
    ) -> Job:
        """Pass a job's log to `write` as it comes; returns the ended job.

        A lost connection is waited for, as long as it takes, and nothing is written twice; `say`
        is told.

        Args:
            behind: so many characters of the log are known already.
        """
        log, lost = _Log(write, behind), False
        while True:
            try:
                job = self.job(submission_id)
                try:
                    log.whole(self.log(submission_id))
                except JobError:  # it may be lost with the node that the job ran on
                    if not job.ended:
                        raise
            except ConnectionLost:
                if not lost:
                    say(f"the connection to {self.address} is lost, the job is not; waiting for it")
                lost = True
                time.sleep(_RETRY_S)
                continue
            if lost:
                say(f"connected to {self.address} again")
            lost = False
            if job.ended:
                return job
            time.sleep(max(_POLL_S, log.size / _LOG_BYTES_S))


class _Log:
    """Writes what of a log has not been written: the server always begins with its first line."""

    def __init__(self, write: Callable[[str], None], written: int):
        self._write = write
        self.size = written

    def whole(self, text: str) -> None:
        new = text[self.size :]
        if new:
            self.size = len(text)
            self._write(new)


def _job(details: Any) -> Job | None:
    """A job as the server tells of it, or None: it is not one of ours."""
    told = details.metadata or {}
    if details.submission_id is None or not {"sweep", "out"} <= told.keys():
        return None
    return Job(
        submission_id=details.submission_id,
        sweep=told["sweep"],
        out=told["out"],
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
