"""A sweep as a job of a cluster: what travels, what is followed, what is said."""

from __future__ import annotations

import io
import json
import os
import secrets
import shlex
import signal
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from orchestrator import job_package as submissions
from orchestrator.cli import COMMANDS, app
from orchestrator.errors import SweepError, UserError
from orchestrator.job_package import LEAVING_S, SweepSource, submission
from orchestrator.runner import auth_token, job_server, jobs
from orchestrator.runner.jobs import JobError, Jobs
from orchestrator.spec import load_spec
from tests.support.jobserver import FakeJobServer, soon
from tests.support.paths import ROOT
from tests.support.servers import Relay, running

SECRET = "s3cr3t-value"
SWEEP: dict[str, Any] = {
    "name": "s",
    "base": {"data": {"source": "synthetic", "size": 32}, "encoder": "tiny", "epochs": 1},
    "search": {"algorithm": "list", "seeds": [1]},
    "enqueue": [{"sampler": "round_robin"}],
    "resources": {"grace_seconds": 7.5},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJobServer]:
    # Ray reads it once a process, as does the runner where none is set: it stays.
    made = FakeJobServer(os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32)))
    monkeypatch.setattr(jobs, "_RETRY_S", 0.05)
    monkeypatch.setattr(jobs, "_POLL_S", 0.05)
    yield made
    made.close()


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a sweep file into the current folder, which is a new one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def write(**base: Any) -> str:
        content = SWEEP | {"base": SWEEP["base"] | base}
        (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
        return "sweep.yaml"

    write()
    return write


def orch(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["submit", *arguments])


def submit(server: FakeJobServer, *options: str) -> Result:
    return orch("sweep.yaml", "--address", server.address, "--out", "/shared", *options)


def made(file: str, out: str = "/shared", *variables: str, **environment: str) -> Any:
    return submission(load_spec(file), SweepSource(file), out, variables, environment)


class Following(threading.Thread):
    """`Jobs.follow` in a thread, with what it has written and said."""

    def __init__(self, address: str, name: str, behind: int = 0):
        super().__init__(daemon=True)
        self.text, self.said = "", ""
        self.jobs, self.name_of, self.behind = Jobs(address), name, behind
        self.job: jobs.Job | None = None
        self.start()

    def run(self) -> None:
        self.job = self.jobs.follow(self.name_of, self.write, self.say, skip=self.behind)

    def write(self, text: str) -> None:
        self.text += text

    def say(self, text: str) -> None:
        self.said += text + "\n"

    def ended(self) -> jobs.Job:
        self.join(30)
        assert self.job is not None, self.said
        return self.job


# What travels


def test_a_job_gets_the_command_the_file_and_the_environment(
    server: FakeJobServer, sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    options = ["--set", "question=Is it quick?", "--env", "MY_KEY", "--no-follow"]
    result = submit(server, *options)
    assert result.exit_code == 0, result.exception
    (job,) = server.jobs.values()
    assert job["submission_id"] == "orch-s-1"
    assert job["entrypoint"] == (
        "exec orch sweep sweep.yaml --set 'question=Is it quick?' --out /shared --address auto"
    )
    given = job["runtime_env"]["env_vars"]
    # Ray would kill the job 3 s behind its signal otherwise.
    assert given == {"MY_KEY": SECRET, "RAY_JOB_STOP_WAIT_TIME_S": str(8 + LEAVING_S)}
    (package,) = server.packages.values()
    assert zipfile.ZipFile(io.BytesIO(package)).namelist() == ["sweep.yaml"]


def test_a_secret_stands_nowhere_but_in_the_environment(
    server: FakeJobServer, sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    result = submit(server, "--env", "MY_KEY", "--no-follow", "--json")
    status = submit(server, "--status", "--json")
    (job,) = server.jobs.values()
    assert job["runtime_env"].pop("env_vars")["MY_KEY"] == SECRET
    assert SECRET not in json.dumps(job) + result.output + status.output


def test_relative_files_travel_and_absolute_ones_do_not(sweep: Any, tmp_path: Path) -> None:
    (tmp_path / "here" / "data").mkdir()
    (tmp_path / "here" / "data" / "mine.csv").write_text("sentence,sentiment\na,1\n")
    (tmp_path / "here" / "data" / "other.csv").write_text("not named")
    task = {
        "columns": ["sentence"], "label": "sentiment", "loss": "cross_entropy",
        "metric": "accuracy", "train": "mine.csv", "dev": "mine.csv",
    }  # fmt: skip
    named = {"tasks": ["mine"], "task_declarations": {"mine": task}}
    found = made(sweep(data={"source": "files", "root": "data"}, **named))
    assert sorted(found.files) == ["data/mine.csv", "sweep.yaml"]
    found.write(tmp_path)
    assert (tmp_path / "data" / "mine.csv").read_text().startswith("sentence")
    # What is absolute lies on the cluster, and need not be here.
    found = made(sweep(data={"source": "files", "root": "/nowhere"}, **named))
    assert list(found.files) == ["sweep.yaml"]


def test_an_encoder_in_a_relative_folder_travels(sweep: Any, tmp_path: Path) -> None:
    (tmp_path / "here" / "bert").mkdir()
    (tmp_path / "here" / "bert" / "model.safetensors").write_bytes(b"weights")
    assert "bert/model.safetensors" in made(sweep(encoder="bert")).files


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ({"data": {"source": "cs224n", "root": "data"}}, "data/ids-sst-train.csv"),
        ({"encoder": "../bert"}, "is outside the current folder"),
        ({"encoder": "bert"}, "a job takes"),
    ],
    ids=["missing", "outside", "too large"],
)
def test_what_cannot_travel_is_named(
    base: dict[str, Any], says: str, sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "bert", tmp_path / "here" / "bert"):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(submissions, "MAX_BYTES", 5)
    with pytest.raises(SweepError, match=says):
        made(sweep(**base))


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("sweeps", "an absolute path that all nodes share"),
        ("s3://key:hidden@bucket/x", "contains a password"),
    ],
)
def test_out_must_be_a_place_for_all_nodes(out: str, says: str, sweep: Any) -> None:
    with pytest.raises(SweepError, match=says) as raised:
        made(sweep(), out)
    assert "hidden" not in str(raised.value)
    assert made(sweep(), "s3://bucket/x").out == "s3://bucket/x"


@pytest.mark.parametrize(
    ("name", "says"), [("NOT_SET", "is not set"), ("A=hidden", "give only the name")]
)
def test_a_variable_is_named_and_set(name: str, says: str, sweep: Any) -> None:
    with pytest.raises(SweepError, match=says) as raised:
        made(sweep(), "/shared", name)
    assert "hidden" not in str(raised.value)


def test_the_example_in_the_help_works(server: FakeJobServer, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(COMMANDS["submit"][1].removeprefix("orch submit "))
    place = words.index("--address") + 1
    assert words[place] == "http://head:8265"
    words[place] = server.address
    # Its data are the user's: here they are on the cluster.
    result = orch(*words, "--no-follow", "--set", "base.data.root=/data")
    assert result.exit_code == 0, result.exception
    assert f"submitted orch-arrp-1 to {server.address}" in result.output


# What runs already


def test_a_job_that_runs_is_followed_and_no_second_one_begun(
    server: FakeJobServer, sweep: Any
) -> None:
    name = server.add(4)
    server.print(name, "as before\n")
    server.end(server.add(5, out="/elsewhere"), "SUCCEEDED", 0)
    server.when_followed = lambda: server.end(name, "SUCCEEDED", 0)
    result = submit(server)
    assert result.exit_code == 0
    assert len(server.jobs) == 2
    assert "as before" in result.output
    assert f"{name} of this sweep already runs" in result.output
    assert "its options differ" in result.output


def test_the_same_sweep_in_another_place_is_another_job(server: FakeJobServer, sweep: Any) -> None:
    server.add(4, out="/elsewhere")
    assert submit(server, "--no-follow").exit_code == 0
    assert list(server.jobs) == ["orch-s-4", "orch-s-5"]


def test_a_number_that_was_taken_meanwhile_is_no_error(server: FakeJobServer, sweep: Any) -> None:
    server.end(server.add(1), "SUCCEEDED", 0)
    other = server.add(2)
    server.unlisted = 1
    result = submit(server, "--no-follow")
    assert f"{other} of this sweep already runs" in result.output


# How it ends


@pytest.mark.parametrize(
    ("status", "code", "expected", "says"),
    [
        ("SUCCEEDED", 0, 0, ""),
        ("FAILED", 1, 1, ""),
        ("FAILED", 2, 2, ""),
        ("FAILED", 130, 130, ""),
        ("FAILED", 127, 1, "has no command `orch`"),
        ("FAILED", -9, 1, "ended by SIGKILL"),
        ("FAILED", None, 1, "no such package"),
        ("STOPPED", None, 130, "was stopped; the same command resumes"),
    ],
)
def test_the_exit_code_is_the_sweeps(
    status: str, code: int | None, expected: int, says: str, server: FakeJobServer, sweep: Any
) -> None:
    name = server.add(1)
    server.when_followed = lambda: server.end(name, status, code, "It failed:\nno such package")
    result = submit(server, "--json")
    assert result.exit_code == expected
    assert says in result.stderr
    assert json.loads(result.stdout)["status"] == status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_the_job_alone(
    number: signal.Signals, server: FakeJobServer, sweep: Any
) -> None:
    name = server.add(1)
    server.when_followed = lambda: os.kill(os.getpid(), number)
    result = submit(server)
    assert result.exit_code == 130
    assert f"left {name}, which keeps running" in result.output
    assert server.jobs[name]["status"] == "RUNNING"
    assert not any(request.endswith("/stop") for request in server.requests)


def test_stop_waits_for_the_end_and_shows_what_comes_from_now_on(
    server: FakeJobServer, sweep: Any
) -> None:
    name = server.add(1)
    server.print(name, "long ago\n")
    result = submit(server, "--stop")
    assert result.exit_code == 0
    assert "1 trial may commit its epoch" in result.output
    assert "long ago" not in result.output
    assert f"{name}: STOPPED" in result.output


def test_stop_without_a_job_stops_nothing(server: FakeJobServer, sweep: Any) -> None:
    server.end(server.add(1), "SUCCEEDED", 0)
    result = submit(server, "--stop")
    assert (result.exit_code, "no job of s is running" in result.output) == (0, True)


def test_stop_asks_which_of_two(server: FakeJobServer, sweep: Any) -> None:
    server.add(1)
    server.add(2, out="/elsewhere")
    result = orch("sweep.yaml", "--address", server.address, "--stop")
    assert isinstance(result.exception, UserError)
    assert "--out /shared, --out /elsewhere" in str(result.exception)


def test_status_shows_the_jobs_of_the_sweep_alone(server: FakeJobServer, sweep: Any) -> None:
    server.end(server.add(1), "FAILED", 127)
    server.add(2)
    server.add(7, out="/elsewhere")
    server._begin({"submission_id": "somebody", "entrypoint": "x", "metadata": {}})
    shown = submit(server, "--status").stdout
    assert [line.partition(":")[0] for line in shown.splitlines() if line[0] != " "] == [
        "orch-s-1", "orch-s-2",
    ]  # fmt: skip
    assert "FAILED 1970-01-01T00:00:01Z to 1970-01-01T00:00:02Z, exit code 127" in shown
    listed = json.loads(submit(server, "--status", "--json").stdout)
    assert [(job["submission_id"], job["exit_code"]) for job in listed] == [
        ("orch-s-1", 127), ("orch-s-2", None),
    ]  # fmt: skip


# The connection


def test_a_lost_connection_is_waited_for_and_no_line_is_repeated(server: FakeJobServer) -> None:
    name = server.add(1)
    relay = Relay(server.port)
    with running(relay):
        server.print(name, "one\n")
        following = Following(f"http://127.0.0.1:{relay.port}", name)
        soon(lambda: following.text == "one\n")
        relay.kill()
        soon(lambda: "lost the connection" in following.said)
        server.print(name, "two\n")
        relay.start()
        soon(lambda: following.text == "one\ntwo\n")
        relay.kill()
        soon(lambda: following.said.count("lost the connection") == 2)
        server.print(name, "three\n")
        server.end(name, "SUCCEEDED", 0)
        relay.start()
        assert following.ended().status == "SUCCEEDED"
    assert following.text == "one\ntwo\nthree\n"
    assert following.said.splitlines()[1] == f"connected to http://127.0.0.1:{relay.port} again"
    assert len(following.said.splitlines()) == 4  # each said once, however long it took


def test_a_head_that_is_starting_is_waited_for(server: FakeJobServer) -> None:
    name = server.add(1)
    following = Following(server.address, name)
    server.answer = 503
    server.end(name, "SUCCEEDED", 0)
    soon(lambda: "lost the connection" in following.said)
    server.answer = 0
    assert following.ended().status == "SUCCEEDED"


def test_a_long_log_is_asked_for_less_often(
    server: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_LOG_BYTES_S", 1000)
    name = server.add(1)
    server.print(name, "x" * 500)  # half a second
    following = Following(server.address, name)
    soon(lambda: following.text != "")
    time.sleep(1)
    asked = server.requests.count(f"GET /api/jobs/{name}/logs")
    server.end(name, "SUCCEEDED", 0)
    following.ended()
    assert asked <= 3


def test_a_log_of_which_much_is_known_goes_on_behind_that(server: FakeJobServer) -> None:
    name = server.add(1)
    server.print(name, "known\nnew\n")
    following = Following(server.address, name, behind=len("known\n"))
    soon(lambda: following.text == "new\n")
    server.end(name, "SUCCEEDED", 0)
    following.ended()
    assert following.text == "new\n"


# Mistakes, each a sentence


def refused(address: str) -> str:
    result = orch("sweep.yaml", "--address", address, "--status")
    assert isinstance(result.exception, UserError)
    (line,) = str(result.exception).splitlines()
    return line


def test_a_wrong_token_is_said(sweep: Any) -> None:
    other = FakeJobServer("another")
    assert "refuses the token of this machine" in refused(other.address)
    other.close()


def test_no_token_is_said(
    server: FakeJobServer, sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_token, "is_set", lambda: False)
    assert "no token is set" in refused(server.address)
    assert server.requests == []


def test_a_wrong_address_is_said(server: FakeJobServer, sweep: Any) -> None:
    assert "no job server answers there" in refused("http://127.0.0.1:1")
    assert "not the address of a job server" in refused("ray://127.0.0.1:1")
    server.answer = 200  # a page of something else
    assert "is not Ray's job server" in refused(server.address)


def test_a_server_that_is_silent_is_not_waited_for_long(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_server, "_ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert "no job server answers there" in refused(f"http://127.0.0.1:{port}")


def test_the_address_given_wins_over_rays_variables(
    server: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert Jobs(server.address).of_sweep("s") == []


def test_out_is_asked_for(server: FakeJobServer, sweep: Any) -> None:
    result = orch("sweep.yaml", "--address", server.address)
    assert isinstance(result.exception, UserError)
    assert "--out" in str(result.exception)


def test_an_unknown_job_is_said(server: FakeJobServer) -> None:
    with pytest.raises(JobError, match="Job orch-s-9 does not exist"):
        Jobs(server.address).job("orch-s-9")
