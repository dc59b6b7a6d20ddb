"""Real servers for tests, each a process group of its own that can be killed, halted, continued."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

START_S = 180
PASSWORD = "s3cr/t@word"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(holds: Callable[[], bool], what: str, seconds: float = START_S) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Server:
    """A command that listens on `port`; started again it has what it had on its disk."""

    command: list[str]

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.log = folder / f"server-{self.port}.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, stdout=stream, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        wait_for(lambda: answers(self.port), self.log.read_text())

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, workers included."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)
        self.process = None


class MlflowServer(Server):
    """`mlflow server` on a database; sqlite in its folder if none is named."""

    def __init__(self, folder: Path, database: str = ""):
        super().__init__(folder)
        database = database or f"sqlite:///{folder}/server.db"
        self.uri = f"http://127.0.0.1:{self.port}"
        self.command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database,
            "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
        ]  # fmt: skip

    def start(self) -> None:
        os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        super().start()


class S3Server(Server):
    """moto's server; it holds everything in memory, so cut it off with a `Relay` instead."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        run = "import sys; from moto.server import main; main(sys.argv[1:])"
        self.command = [sys.executable, "-c", run, "-H", "127.0.0.1", "-p", str(self.port)]


class Postgresql:
    """A cluster of its own in a folder, run by an unprivileged user; `uri` names no password."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not found:
            pytest.skip("the Debian package postgresql is not installed")
        folder = Path(tempfile.mkdtemp(prefix="orch-pg-", dir="/tmp"))  # short, for its socket
        self._bin, self.port, self._data = found[-1], free_port(), folder / "data"
        self._as: dict[str, int] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            self._as = {"user": user.pw_uid, "group": user.pw_gid}
            os.chown(folder, user.pw_uid, user.pw_gid)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-U", "orch", "--auth=scram-sha-256", f"--pwfile={secret}", "-N")
        secret.unlink()
        self._settings = f"-p {self.port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.start()
        self.place = f"127.0.0.1:{self.port}"

    def address(self, database: str, password: str = "${ORCH_DB_PASSWORD}") -> str:
        return f"postgresql+psycopg://orch:{password}@{self.place}/{database}"

    def start(self) -> None:
        self._run("pg_ctl", "-w", "-l", str(self._data.parent / "log"), "-o", self._settings,
                  "start")  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is what a crash leaves: the next start recovers from the log."""
        self._run("pg_ctl", "-w", "-m", mode, "stop", check=False)

    def remove(self) -> None:
        with contextlib.suppress(OSError, psutil.NoSuchProcess):  # it is not running
            self.go_on()
        self.stop()
        shutil.rmtree(self._data.parent, ignore_errors=True)

    def halt(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def create(self, database: str) -> str:
        """Make a database; returns its address with the password."""
        import psycopg

        where = f"host=127.0.0.1 port={self.port} user=orch password={PASSWORD} dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(f"create database {database}")  # type: ignore[arg-type]
        from urllib.parse import quote

        return self.address(database, quote(PASSWORD, safe=""))

    def _signal(self, number: signal.Signals) -> None:
        first = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        for process in [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # a backend that ended meanwhile
                process.send_signal(number)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        subprocess.run(
            [self._bin / program, "-D", self._data, *arguments], check=check, timeout=START_S,
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **self._as,
        )  # fmt: skip


class Relay:
    """A port before another one that can be shut: refused, and what was open is cut.

    So a server is gone for its clients as if it had been killed, and keeps what it holds in
    memory until it is back.
    """

    def __init__(self, target: int):
        self.target, self.port = target, free_port()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def kill(self) -> None:
        listener, self._listener = self._listener, None
        for end in [*([listener] if listener else []), *self._open]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._open |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            self._open.discard(end)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def running(server: Server | Relay) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        if isinstance(server, Server):
            server.signal(signal.SIGCONT)
        server.kill()
