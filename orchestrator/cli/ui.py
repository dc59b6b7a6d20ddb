"""`orch ui`: MLflow's page for a sweep's database, and optuna-dashboard."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from typing import IO, TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import browser
from orchestrator.cli.terminal import Out
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger

#: Seconds that a server has to end before it is killed.
_GRACE_S = 10
_PAUSE_S = 0.3
#: Of what a server printed before it ended.
_LAST_LINES = 20


def show_pages(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The sweep to show.")] = None,
    out: Out = "sweeps",
    port: Annotated[int, typer.Option(min=1, max=65535, help="MLflow's port on 127.0.0.1.")] = 5000,
    study_port: Annotated[
        int, typer.Option(min=1, max=65535, help="optuna-dashboard's port on 127.0.0.1.")
    ] = 8080,
    show: Annotated[
        bool,
        typer.Option(
            "--open/--no-open",
            help="Open the page in the browser. Over SSH and without a display it never opens.",
        ),
    ] = True,
) -> None:
    """Start MLflow's page for the database in which the sweeps are tracked; Ctrl-C ends it.

    It opens in the browser: the list of sweeps, or with a sweep's NAME its charts and trials. If
    optuna-dashboard is installed (`pip install '.[dashboard]'`), it shows the sweep's study.
    docs/guide/tracking.md has screenshots.
    """
    from orchestrator.database_urls import (
        UnsetVariable,
        database_file,
        expanded,
        without_password,
    )
    from orchestrator.ledger.listing import find_sweep
    from orchestrator.tracking.database import backend, is_server

    ledger = find_sweep(name, out) if name is not None else None
    uri, study = _places(ledger, out)
    shown = without_password(uri)
    file = database_file(uri)
    if file is not None and not file.exists():
        raise UserError(f"{uri}: no such database yet; run a sweep, or orch sync NAME")
    try:
        # Not an argument, because a list of processes would show a password in it.
        environment = {"MLFLOW_BACKEND_STORE_URI": backend(expanded(uri))}
        study = expanded(study)
    except UnsetVariable as error:
        raise UserError(f"{shown}: {error}") from error
    if file is not None:
        _follow(uri, ledger, out)
    commands: dict[str, tuple[list[str], dict[str, str]]] = {}
    lines = []
    if is_server(uri):
        page = _page(uri, uri, ledger)
        lines.append(f"MLflow runs at {page}")
    else:
        _check_free(port, "--port")
        server = f"http://127.0.0.1:{port}"
        page = _page(server, uri, ledger)
        lines += [f"MLflow: {page}", f"  reads {shown}"]
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--uvicorn-opts", "--log-level warning"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        commands["MLflow"] = command, environment
    if study and importlib.util.find_spec("optuna_dashboard") is None:
        lines.append("optuna-dashboard is not installed: pip install '.[dashboard]'")
    elif (kept := database_file(study)) is not None and not kept.exists():
        lines.append("optuna-dashboard: no study yet; run a sweep, or orch sync NAME")
    elif study:
        if "MLflow" in commands and study_port == port:
            raise UserError(f"--study-port {study_port}: MLflow uses this port; choose another one")
        _check_free(study_port, "--study-port")
        lines.append(f"optuna-dashboard: http://127.0.0.1:{study_port}")
        command = [sys.executable, "-m", "orchestrator.search.dashboard", str(study_port)]
        commands["optuna-dashboard"] = command, {"ORCH_STUDY": study}
    if commands:
        lines.append(f"{' and '.join(commands)} will answer in some seconds ...")
    print("\n".join(lines), flush=True)
    show = show and browser.can_open()
    if "MLflow" in commands:
        browser.watch(page, show=show)
    elif show:
        browser.open_page(page)
    if commands:
        raise typer.Exit(_serve(commands))


def _follow(uri: str, ledger: Ledger | None, out: str) -> None:
    """Let the database's places follow a folder that was moved."""
    from orchestrator.ledger import Ledger
    from orchestrator.ledger.listing import sweep_names
    from orchestrator.tracking.background import root_cause
    from orchestrator.tracking.moved_folder import follow

    try:
        for each in [ledger] if ledger else [Ledger(out, name) for name in sweep_names(out)]:
            follow(uri, each)
    except Exception as error:  # whatever the database raises; MLflow itself may still start
        print(f"artifacts may be shown from elsewhere: {root_cause(error)}", file=sys.stderr)


def _page(server: str, uri: str, ledger: Ledger | None) -> str:
    """The address of the sweep's page on a server, or of the server's first page."""
    from orchestrator.ledger.listing import resolved_spec
    from orchestrator.ledger.sweep_id import known_sweep_id
    from orchestrator.tracking import experiment_id, mlflow_views
    from orchestrator.tracking.background import root_cause

    if ledger is None:
        return mlflow_views.address_of_all(server)
    name = str(resolved_spec(ledger).get("name") or ledger.name)  # --fresh has renamed its folder
    try:
        experiment = experiment_id(uri, name, known_sweep_id(ledger.folder))
    except Exception as error:  # whatever the database raises; MLflow itself may still start
        print(f"{ledger.name}: cannot find its page: {root_cause(error)}", file=sys.stderr)
        return server
    if experiment is None:
        return mlflow_views.address_of_all(server)
    return mlflow_views.address(server, experiment)


def _serve(commands: dict[str, tuple[list[str], dict[str, str]]]) -> int:
    """Run servers until Ctrl-C or until one of them ends; return the exit code.

    Each server has its own process group. So Ctrl-C reaches only this process, which then ends all
    servers with their workers. What they print is kept, and shown if one of them ends by itself.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal sends SIGHUP
        signal.signal(number, signal.default_int_handler)
    running: dict[str, subprocess.Popen[bytes]] = {}
    kept = contextlib.ExitStack()
    printed: dict[str, IO[bytes]] = {}
    try:
        for name, (command, environment) in commands.items():
            printed[name] = kept.enter_context(tempfile.TemporaryFile())  # noqa: SIM115, the stack closes it
            running[name] = subprocess.Popen(
                command, env={**os.environ, **environment}, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=printed[name], stderr=subprocess.STDOUT,
            )  # fmt: skip
        while True:
            for name, process in running.items():
                code = process.poll()
                if code is not None:
                    print(f"{name} ended unexpectedly (exit code {code})", file=sys.stderr)
                    print(_last_lines(printed[name]), file=sys.stderr)
                    return 1
            time.sleep(_PAUSE_S)
    except KeyboardInterrupt:
        return 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a further signal must not interrupt this
        _end(running.values())
        kept.close()


def _last_lines(file: IO[bytes]) -> str:
    """What a server printed last, indented."""
    file.seek(0)
    lines = file.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
    return "\n".join(f"  {line}" for line in lines)


def _end(processes: Collection[subprocess.Popen[bytes]]) -> None:
    """Ask each process group to end, and kill those that do not."""
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _check_free(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port} is not free ({error.strerror}); try {option}") from error


def _places(ledger: Ledger | None, out: str) -> tuple[str, str]:
    """The addresses of MLflow and of the study for a sweep; without a sweep, only MLflow's."""
    from orchestrator.database_urls import resolve_uri
    from orchestrator.ledger import listing, local_place
    from orchestrator.spec import TrackingSpec
    from orchestrator.tracking.projections import study_uri
    from trainer.storage.open import open_folder

    plain = TrackingSpec()
    if ledger is None:
        return resolve_uri(plain.uri, local_place(open_folder(out))), ""
    tracking = listing.resolved_spec(ledger).get("tracking")
    tracking = tracking if isinstance(tracking, dict) else {}
    uri = resolve_uri(str(tracking.get("uri", plain.uri)), ledger.local_out)
    return uri, study_uri(str(tracking.get("study", plain.study)), ledger)
