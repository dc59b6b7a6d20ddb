"""One driver a sweep; a dead one does not block the next.  The same on a folder and on S3."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.ledger.sweep_lock import Locked, SweepLock
from tests.support.paths import ROOT
from trainer.storage.folder import Folder
from trainer.storage.open import open_folder


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A sweep's folder that does not exist yet."""
    return open_folder(
        request.getfixturevalue("remote") if request.param == "s3" else tmp_path / "sweep"
    )


def lock_files(place: Folder) -> dict[str, bytes]:
    """What stands in a sweep's folder because of its lock."""
    names = place.names() if place.local else [f"lock/{name}" for name in place.names("lock")]
    return {name: place.read(name) or b"" for name in names}


def put(place: Folder, content: bytes) -> None:
    """A lock that somebody else holds."""
    place.write("lock" if place.local else "lock/0.json", content)


def test_the_lock_names_its_holder_and_goes_away(place: Folder) -> None:
    with SweepLock(place):
        [content] = lock_files(place).values()
        holder = json.loads(content)
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
        assert holder["started"]
    assert lock_files(place) == {}


def test_a_lock_that_cannot_be_removed_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that became read-only.  The next driver finds that its holder is gone."""

    def read_only(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with SweepLock(open_folder(tmp_path)):
        monkeypatch.setattr(Path, "unlink", read_only)
    assert (tmp_path / "lock").exists()


def test_a_second_driver_is_told_who_holds_it(place: Folder) -> None:
    with SweepLock(place):
        before = lock_files(place)
        with pytest.raises(Locked, match=rf"process {os.getpid()} on {socket.gethostname()}"):
            SweepLock(place).__enter__()
        assert lock_files(place) == before
    with SweepLock(place):
        pass


def test_the_lock_of_a_killed_process_is_broken(place: Folder) -> None:
    code = (
        "import os, signal, sys\n"
        "from orchestrator.ledger.sweep_lock import SweepLock\n"
        "SweepLock(sys.argv[1]).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, place.path], cwd=ROOT)
    assert lock_files(place)
    with SweepLock(place):
        [content] = lock_files(place).values()
        assert json.loads(content)["pid"] == os.getpid()
    assert lock_files(place) == {}


def test_a_process_number_that_was_given_again_does_not_hold_the_lock(place: Folder) -> None:
    with SweepLock(place):
        [content] = lock_files(place).values()
    put(place, json.dumps(json.loads(content) | {"process_start": "another boot:1"}).encode())
    with SweepLock(place):
        pass


@pytest.mark.parametrize(
    "content", [b'{"host": "elsewhere", "pid": 1}', b"torn", b"", b"[]", b"\xff"]
)
def test_a_lock_of_another_host_or_unreadable_is_never_broken(
    place: Folder, content: bytes
) -> None:
    put(place, content)
    with pytest.raises(Locked, match="delete this file"):
        SweepLock(place).__enter__()
    assert list(lock_files(place).values()) == [content]


def test_of_drivers_that_start_together_one_at_a_time_holds_it(place: Folder) -> None:
    drivers, inside, most = 4, 0, 0
    together = threading.Barrier(drivers)
    count = threading.Lock()

    def drive() -> None:
        nonlocal inside, most
        together.wait()
        while True:
            try:
                with SweepLock(place):
                    with count:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0.05)
                    with count:
                        inside -= 1
                return
            except Locked:
                pass

    threads = [threading.Thread(target=drive) for _ in range(drivers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert most == 1
    assert lock_files(place) == {}
