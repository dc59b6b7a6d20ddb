from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

# Read by torch when it is imported: test processes run side by side, a core each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.support.drivers import Driver

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: The files that take longest come first, so that none of them is left to run alone at the end.
LONGEST = (
    "test_kills", "test_interrupts", "test_tutorial", "test_search_spaces", "test_sweep",
    "test_lint", "test_damage", "test_tracking_outages", "test_every_method", "test_resume",
    "test_benchmarks", "test_runner", "test_study", "test_report", "test_sweep_artifacts",
    "test_stopping", "test_cli", "test_compare_methods",
)  # fmt: skip

#: The groups of tests.  A test without a marker is in the first group, which `pytest` runs.
GROUPS = {
    "slow": "the second group, which `pytest --slow` runs",
    "exhaustive": "no group, because it takes minutes; `pytest --all` runs it with all others",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    groups = parser.getgroup("groups of tests")
    groups.addoption("--slow", action="store_true", help="run the second group, and only it")
    groups.addoption("--all", action="store_true", help="run every test; this takes hours")
    groups.addoption(
        "--fault-rounds", type=int, default=10, metavar="N",
        help="with --all: how often a fault is repeated at random moments (default 10)",
    )  # fmt: skip
    groups.addoption(
        "--fault-seed", type=int, default=None, metavar="S",
        help="repeat the random moments of a test that failed and printed this seed",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    for name, text in GROUPS.items():
        config.addinivalue_line("markers", f"{name}(reason): in {text}")
    if config.getoption("--slow") and config.getoption("--all"):
        raise pytest.UsageError("--slow runs the second group only, and --all every test")


def group_of(item: pytest.Item) -> str:
    """`slow`, `exhaustive` or, in the first group, an empty string.

    The marker that is closest to the test decides: its own before its module's.
    """
    for mark in item.iter_markers():
        if mark.name in GROUPS:
            if not mark.kwargs.get("reason"):
                raise pytest.UsageError(f"{item.nodeid}: its marker {mark.name} needs a reason")
            return mark.name
    return ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: LONGEST.index(f) if (f := item.path.stem) in LONGEST else len(LONGEST)
    )
    groups = [group_of(item) for item in items]
    if config.getoption("--all") or all("::" in argument for argument in config.args):
        return  # a test that is named on the command line runs, whatever its group is
    wanted = "slow" if config.getoption("--slow") else ""
    pairs = list(zip(items, groups, strict=True))
    config.hook.pytest_deselected(items=[item for item, group in pairs if group != wanted])
    items[:] = [item for item, group in pairs if group == wanted]


@pytest.fixture(autouse=True)
def no_log_left() -> Iterator[None]:
    """What a test attaches to the trainer's log and leaves there does not hear later tests."""
    log = logging.getLogger("trainer")
    before = list(log.handlers)
    yield
    for handler in set(log.handlers) - set(before):
        log.removeHandler(handler)


@pytest.fixture
def rounds(pytestconfig: pytest.Config) -> int:
    """How often a fault is tried at a random moment."""
    return int(pytestconfig.getoption("--fault-rounds"))


@pytest.fixture
def moments(pytestconfig: pytest.Config) -> random.Random:
    """Random moments; the seed that repeats them is shown where a test fails."""
    seed = pytestconfig.getoption("--fault-seed")
    seed = random.randrange(2**32) if seed is None else seed
    print(f"--fault-seed {seed}")
    return random.Random(seed)


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Callable[..., Driver]]:
    """Starts drivers; those of one `name` share a folder.  None outlives the test."""
    drivers: list[Driver] = []

    def begin(sweep: dict[str, object], *options: str, name: str = "a", **more: object) -> Driver:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        drivers.append(Driver(folder, cache, sweep, *options, **more))  # type: ignore[arg-type]
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.kill_all()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tokenised corpus for the whole run."""
    return tmp_path_factory.mktemp("corpus-cache")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """`s3://{}?...`: what names a bucket and a prefix on an S3 server of this machine."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it reports every request
    server.start()
    host, port = server.get_host_and_port()
    options = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        made, _ = fs.FileSystem.from_uri(f"s3://bucket?{options}&allow_bucket_creation=true")
        made.create_dir("bucket")
        yield f"s3://{{}}?{options}"
    server.stop()


@pytest.fixture
def remote(s3: str) -> str:
    """A place of its own for a test: a URI below the bucket."""
    return s3.format(f"bucket/{uuid.uuid4()}")


@pytest.fixture
def busy() -> Iterator[None]:
    """Another process that keeps a core busy."""
    code = "print(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database with its tables made: that takes seconds, and every test needs one."""
    from mlflow import MlflowClient

    from orchestrator.database_urls import resolve_uri

    out = tmp_path_factory.mktemp("tables")
    MlflowClient(resolve_uri("sqlite:///mlflow.db", out)).search_experiments()
    return (out / "mlflow.db").read_bytes()
