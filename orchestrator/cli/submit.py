"""`orch submit`: run a sweep as a job of a Ray cluster."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.terminal import (
    File,
    Insecure,
    Json,
    Overrides,
    Profile,
    complain,
    print_json,
    say,
)
from orchestrator.errors import UserError
from orchestrator.signals import terminate_is_interrupt

if TYPE_CHECKING:
    from orchestrator.job_package import Submission
    from orchestrator.runner.jobs import Job, Jobs
    from orchestrator.spec import SweepSpec


#: Exit codes of `orch sweep` (orchestrator.cli).
_SWEEP_CODES = (0, 1, 2, 3, 130)


def submit_sweep(
    file: File,
    address: Annotated[
        str,
        typer.Option(
            metavar="URL", envvar="RAY_API_SERVER_ADDRESS", help="The job server, http://HEAD:8265."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="PLACE", help="A folder that all nodes share, or a URI."),
    ] = None,
    profile: Profile = None,
    overrides: Overrides = None,
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--env", metavar="NAME", help="Pass this environment variable on; repeatable."
        ),
    ] = None,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Return without following the log.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show the sweep's jobs without submitting one.")
    ] = False,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="Stop the sweep's job; its trials may commit their epoch."),
    ] = False,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Run `orch sweep FILE` on a cluster's head and follow its log.

    If a job of this sweep already runs, no other one is submitted, and the command follows it.
    Ctrl-C leaves the job running. Run the same command again after any interruption. The exit code
    is that of the sweep, or 130 if the job was stopped or you have left.
    """
    from orchestrator.spec import load_spec

    if status and stop:
        raise UserError("--status and --stop: choose one of them")
    spec = load_spec(file, profile, overrides or ())
    from orchestrator.job_package import SweepSource, submission
    from orchestrator.runner.jobs import Jobs

    jobs = Jobs(address, insecure)
    with terminate_is_interrupt():
        if status:
            _show(jobs, spec.name, out, as_json)
            return
        if stop:
            code = _stop(jobs, spec, out, not no_follow, as_json)
        else:
            if out is None:
                raise UserError("--out: name a folder that all nodes share, or a URI (s3://...)")
            source = SweepSource(file, profile, overrides or [])
            package = submission(spec, source, out, variables or [], insecure=insecure)
            job = _submitted(jobs, package)
            code = _followed(jobs, job, not no_follow, as_json)
    raise typer.Exit(code)


def _submitted(jobs: Jobs, package: Submission) -> Job:
    """The job of this sweep, which is started unless it already runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package.write(folder)
        job, attached = jobs.submit(
            package.sweep, package.out, package.entrypoint, folder, package.environment
        )
    if attached:
        say(f"{job.submission_id} of this sweep already runs, since {job.started_at}")
        if job.entrypoint != package.entrypoint:
            say("its options differ from yours; to use yours, stop it first with --stop")
    else:
        say(f"submitted {job.submission_id} to {jobs.address}")
    return job


def _followed(jobs: Jobs, job: Job, follow: bool, as_json: bool) -> int:
    """Follow a job to its end; return the exit code."""
    from orchestrator.runner.jobs import JobError

    if not follow:
        if as_json:
            print_json(job.to_dict())
        return 0
    try:
        job = jobs.follow(job.submission_id, _writer(as_json), say)
    except KeyboardInterrupt:
        say(
            f"left {job.submission_id}, which keeps running; the same command follows it again, "
            "and --stop ends it"
        )
        return 130
    except JobError as error:  # for example, the head was restarted: the input is not wrong
        complain(f"failed: {error}; run the same command again to resume the sweep")
        return 1
    if as_json:
        print_json(job.to_dict())
    if job.status == "STOPPED":
        say(f"{job.submission_id} was stopped; the same command resumes the sweep")
        return 130
    if job.exit_code in _SWEEP_CODES:
        return job.exit_code
    complain(f"failed: {job.submission_id}: {_reason(job)}")
    return 1


def _stop(jobs: Jobs, spec: SweepSpec, out: str | None, follow: bool, as_json: bool) -> int:
    """Stop a sweep's job and wait for its end."""
    running = [job for job in jobs.of_sweep(spec.name, out) if not job.ended]
    if len(running) > 1:
        places = ", ".join(f"--out {job.out}" for job in running)
        raise UserError(f"{len(running)} jobs of {spec.name} are running; choose one: {places}")
    if not running:
        say(f"no job of {spec.name} is running at {jobs.address}")
        if as_json:
            print_json(None)
        return 0
    job = running[0]
    skip = len(jobs.log(job.submission_id))
    jobs.stop(job.submission_id)
    say(f"asked {job.submission_id} to stop; running trials may commit their epoch")
    if follow:
        try:
            job = jobs.follow(job.submission_id, _writer(as_json), say, skip=skip)
        except KeyboardInterrupt:
            say(f"left {job.submission_id}, which is stopping")
            return 130
        say(f"{job.submission_id}: {job.status}")
    if as_json:
        print_json(job.to_dict())
    return 0


def _show(jobs: Jobs, name: str, out: str | None, as_json: bool) -> None:
    listed = jobs.of_sweep(name, out)
    if as_json:
        print_json([job.to_dict() for job in listed])
        return
    if not listed:
        print(f"no job of {name} at {jobs.address}")
    for job in listed:
        end = f" to {job.ended_at}" if job.ended_at else ""
        code = f", exit code {job.exit_code}" if job.exit_code is not None else ""
        since = f" {job.started_at}{end}" if job.started_at else ""
        print(f"{job.submission_id}: {job.status}{since}{code}, --out {job.out}")
        if job.ended and job.status == "FAILED" and job.exit_code not in _SWEEP_CODES:
            print(f"  {_reason(job)}")


def _reason(job: Job) -> str:
    """Why a job failed, if not by an exit code of `orch sweep`."""
    if job.exit_code == 127:
        return "the head has no command `orch`: install the project there"
    if job.exit_code is not None and job.exit_code < 0:
        return f"its process was ended by {signal.Signals(-job.exit_code).name}"
    lines = job.message.strip().splitlines()
    return lines[-1] if lines and job.exit_code is None else f"exit code {job.exit_code}"


def _writer(as_json: bool) -> Callable[[str], None]:
    """Writes the job's log: to stdout, unless that is for our own JSON."""
    stream = sys.stderr if as_json else sys.stdout

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    return write
