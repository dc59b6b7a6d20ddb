"""The job server of a Ray cluster (Ray Jobs API): its client, and what it raises in sentences."""

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

#: Seconds that the server has for an answer.
_ANSWER_S = 30.0
#: Win over any address that Ray's client is given.
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


class JobError(UserError):
    """The cluster refuses, or is none; the text is the whole message."""


class ConnectionLost(JobError):
    """The job server does not answer; what it holds is not touched by that."""


class Taken(Exception):
    """A job of this submission id is there already."""


class JobServer(JobSubmissionClient):
    """Ray's client, which would wait for ever for a server that is silent.

    Raises `JobError`.  So that its methods do, call them within `in_words`.

    Args:
        insecure: speak to a cluster that asks for no token, too.
    """

    def __init__(self, address: str, insecure: bool):
        _quiet()
        scheme, separator, _ = address.partition("://")
        if separator and scheme not in ("http", "https"):
            raise JobError(
                f"--address {without_password(address)}: not a job server's; "
                "it looks like http://HEAD:8265"
            )
        address = address if separator else f"http://{address}"
        #: As it may be shown.
        self.shown = without_password(address)
        if not auth_token.is_set():
            if not insecure:
                raise JobError(
                    f"no token is set for the cluster at {self.shown}: {auth_token.REMEDY}; one "
                    "that asks for none runs anybody's code, and is spoken to with --insecure only"
                )
            auth_token.do_without()
        with self.in_words(), _unset(_ADDRESS_VARIABLES):
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
    def in_words(self) -> Iterator[None]:
        """What Ray's client raises as `JobError`, or `ConnectionLost` where nobody answers."""
        try:
            yield
        except AuthenticationError as error:
            text = f"the cluster at {self.shown} refuses the token of this machine"
            raise JobError(f"{text}: {auth_token.REMEDY}") from error
        except (ConnectionError, requests.ConnectionError, requests.Timeout) as error:
            raise ConnectionLost(f"--address {self.shown}: no job server answers there") from error
        except (requests.RequestException, KeyError, ValueError) as error:
            text = f"--address {self.shown}: what answers there is not Ray's job server"
            raise JobError(text) from error
        except RuntimeError as error:
            text = str(error).strip(" .\n").rpartition("\n")[2]  # of a traceback
            # A head that goes down or comes up, or the proxy before it, answers like this.
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
