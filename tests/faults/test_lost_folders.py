"""Folders and files that are deleted, locked away or read-only while a sweep runs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.drivers import SWEEP, Driver, ended_like, nothing_left, trials, undisturbed

STUB = "tests.faults.chained:train"
Start = Callable[..., Driver]
SLOWLY, AT_ONCE = {"EPOCH_S": "1"}, {"EPOCH_S": "0"}
#: Root without the right to read what nobody may read.
AS_OWNER = (
    "setpriv", "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return undisturbed(tmp_path_factory.mktemp("whole"), cache, SWEEP, STUB)


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[None]:
    """What is opened there from now on is on a read-only filesystem."""
    bind = ["mount", "--bind", "-o", "ro", str(place), str(place)]
    if shutil.which("mount") is None or subprocess.run(bind, capture_output=True).returncode:
        pytest.skip("no filesystem can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def unfinished(driver: Driver) -> Path:
    """A trial that has committed epochs and not ended."""
    return next(
        epochs.parent
        for epochs in driver.out.glob("s/trials/*/epochs")
        if list(epochs.glob("*.json")) and not (epochs.parent / "end.json").exists()
    )


@pytest.mark.exhaustive(reason="two whole sweeps")
def test_a_folder_that_is_read_only_for_a_while_fails_no_trial(start: Start, whole: Path) -> None:
    first = start(SWEEP, train=STUB, environment=SLOWLY)
    first.wait_until(lambda: first.epochs() >= 4)
    first.family()
    with read_only(first.out):
        assert first.wait() == 1, first.text
        assert "Read-only file system" in first.text and "Traceback" not in first.text
        assert "make the folder writable again, then run the same command again" in first.text
        refused = start(SWEEP, train=STUB, environment=SLOWLY)
        assert refused.wait() == 2, refused.text
        assert "Read-only file system" in refused.text and "Traceback" not in refused.text
    assert all(t.status in ("complete", "unfinished") for t in trials(first.out).values())
    last = start(SWEEP, train=STUB, environment=AT_ONCE)
    assert last.wait() == 0, last.text
    ended_like(last, whole)


@pytest.mark.exhaustive(reason="a whole sweep")
def test_a_trial_that_is_deleted_while_it_trains_begins_again(start: Start, whole: Path) -> None:
    driver = start(SWEEP, train=STUB, environment={"EPOCH_S": "0.5"})
    driver.wait_until(lambda: driver.epochs() >= 3)
    shutil.rmtree(unfinished(driver))
    assert driver.wait() == 0, driver.text
    assert "is gone; was it deleted while it trained?" in driver.text
    ended_like(driver, whole)


@pytest.mark.exhaustive(reason="two whole sweeps")
def test_a_trial_that_is_deleted_after_its_end_is_told_and_trained_by_the_next_run(
    start: Start, whole: Path
) -> None:
    first = start(SWEEP, train=STUB, environment=SLOWLY)
    first.wait_until(lambda: bool(list(first.out.glob("s/trials/*/end.json"))))
    lost = next(first.out.glob("s/trials/*/end.json")).parent
    shutil.rmtree(lost)
    assert first.wait() == 1, first.text
    assert f"failed: {lost.name}: its end record is gone" in first.text
    last = start(SWEEP, train=STUB, environment=AT_ONCE)
    assert last.wait() == 0, last.text
    ended_like(last, whole)


@pytest.mark.exhaustive(reason="two whole sweeps")
def test_a_database_that_is_deleted_under_way_is_whole_after_the_next_run(
    start: Start, whole: Path
) -> None:
    first = start(SWEEP, train=STUB, environment=SLOWLY)
    database = first.out / "mlflow.db"
    first.wait_until(lambda: first.epochs() >= 4 and database.exists())
    database.unlink()
    assert first.wait() == 0, first.text
    assert "Traceback" not in first.text
    last = start(SWEEP, train=STUB, environment=AT_ONCE)
    assert last.wait() == 0, last.text
    ended_like(last, whole)


@pytest.mark.exhaustive(reason="three whole sweeps")
def test_a_trial_that_nobody_may_read_stops_no_other_and_is_resumed_later(
    start: Start, whole: Path
) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    first = start(SWEEP, train=STUB, environment=SLOWLY, before=AS_OWNER)
    first.wait_until(lambda: first.epochs() >= 4)
    trial = unfinished(first)
    trial.chmod(0)
    try:
        others = len(trials(whole)) - 1
        assert first.wait() == 1, first.text
        assert f"failed: {trial.name}: " in first.text and "Permission denied" in first.text
        assert "Traceback" not in first.text
        assert len(list(first.out.glob("s/trials/*/end.json"))) >= others
    finally:
        trial.chmod(0o755)
    nothing_left(first)
    last = start(SWEEP, train=STUB, environment=AT_ONCE)
    assert last.wait() == 0, last.text
    ended_like(last, whole)
