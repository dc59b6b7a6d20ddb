"""The client of a Ray cluster's job server (Ray Jobs API), with readable errors."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from orchestrator.database_urls import without_password
from orchestrator.errors import UserError
from orchestrator.runner import auth_token

#: Seconds that the server may take to answer.
_ANSWER_S = 30.0
#: Ray's client prefers these to the address that it is given.
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


class JobError(UserError):
    """The cluster refuses the request, or there is no cluster."""


class ConnectionLost(JobError):
    """The job server does not answer; its jobs are not affected."""


class Taken(Exception):
    """A job with this submission id already exists."""


class JobServer(JobSubmissionClient):
    """Ray's client with a time limit: Ray's own waits forever for a silent server.

    Raises `JobError`.  Call its methods within `readable_errors`, so that they do, too.

    Args:
        insecure: also talk to a cluster that demands no token.
    """

    def __init__(self, address: str, insecure: bool):
        _quiet()
        scheme, separator, _ = address.partition("://")
        if separator and scheme not in ("http", "https"):
            raise JobError(
                f"--address {without_password(address)}: not the address of a job server, which "
                "looks like http://HEAD:8265"
            )
        address = address if separator else f"http://{address}"
        #: The address without a password.
        self.shown = without_password(address)
        if not auth_token.is_set():
            if not insecure:
                raise JobError(
                    f"no token is set for the cluster at {self.shown}: {auth_token.REMEDY}; a "
                    "cluster that demands no token runs anybody's code and takes --insecure"
                )
            auth_token.do_without()
        with self.readable_errors(), _unset(_ADDRESS_VARIABLES):
            super().__init__(address)

    def submit_once(self, **job: Any) -> str:
        """`submit_job`; raises `Taken`."""
        try:
            return str(self.submit_job(**job))
        except RuntimeError as error:
            if "already exists" in str(error):
                raise Taken from error
            raise

    @contextlib.contextmanager
    def readable_errors(self) -> Iterator[None]:
        """Turns errors of Ray's client into `JobError`, or `ConnectionLost` if nobody answers."""
        try:
            yield
        except AuthenticationError as error:
            text = f"the cluster at {self.shown} refuses the token of this machine"
            raise JobError(f"{text}: {auth_token.REMEDY}") from error
        except (ConnectionError, requests.ConnectionError, requests.Timeout) as error:
            raise ConnectionLost(f"--address {self.shown}: no job server answers there") from error
        except (requests.RequestException, KeyError, ValueError) as error:
            text = f"--address {self.shown}: the server there is not Ray's job server"
            raise JobError(text) from error
        except RuntimeError as error:
            text = str(error).strip(" .\n").rpartition("\n")[2]  # of a traceback
            # A head that starts or stops, or the proxy before it, answers like this.
            kind = ConnectionLost if "failed with status code 5" in str(error) else JobError
            raise kind(f"{self.shown}: {text}") from error

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        return super()._do_request(method, endpoint, timeout=_ANSWER_S, **options)


def _quiet() -> None:
    """Ray's client reports every upload on stderr."""
    for name in ("modules.dashboard_sdk", "modules.job.sdk", "utils"):
        logging.getLogger(f"ray.dashboard.{name}").setLevel(logging.ERROR)
    logging.getLogger("ray._private").setLevel(logging.ERROR)


@contextlib.contextmanager
def _unset(names: tuple[str, ...]) -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
