"""`orch unpack`: a pack becomes the sweep that was packed; whatever a pack cannot be is refused."""

from __future__ import annotations

import io
import lzma
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import orchestrator.ledger.tar_members as tar_members
from orchestrator.ledger import Ledger
from orchestrator.ledger.archive import pack
from orchestrator.ledger.tar_members import PackError
from orchestrator.ledger.unpack import unpack
from tests.support.command import orch
from tests.support.ledgers import write_trial

Change = Callable[[tarfile.TarInfo], None]
TRIAL = "s/trials/arrp-1/"
NO_NAME = "its folder cannot be a sweep's name"


def member(name: str, content: bytes = b"{}", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


GOOD = (member("s/sweep.yaml", b"name: s\n"), member(f"{TRIAL}config.json"))


def archive(*members: tuple[tarfile.TarInfo, bytes], packing: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:xz", format=packing) as made:
        for info, content in members:
            made.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


@pytest.fixture
def sweep(tmp_path: Path) -> Ledger:
    for seed in (1, 2):
        write_trial(tmp_path / "from" / "s", [0.4, 0.5], sampler="arrp", seed=seed)
    (tmp_path / "from" / "s" / "sweep.yaml").write_text("name: s\nquestion: Which?\n")
    return Ledger(tmp_path / "from", "s")


def test_what_is_unpacked_packs_to_the_same_bytes(sweep: Ledger, tmp_path: Path) -> None:
    packed = pack(sweep).content
    (tmp_path / "s.tar.xz").write_bytes(packed)
    unpacked = unpack(tmp_path / "s.tar.xz", tmp_path / "to" / "deeper")
    assert (unpacked.name, unpacked.trials) == ("s", 2)
    assert pack(Ledger(tmp_path / "to" / "deeper", "s")).content == packed
    assert left(tmp_path / "to" / "deeper") == ["s"]


def test_the_command_says_where_the_sweep_is_and_never_writes_over_it(
    sweep: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "s.tar.xz").write_bytes(pack(sweep).content)
    made = orch("unpack", "s.tar.xz", cwd=tmp_path)
    assert made.returncode == 0 and re.match(r"sweeps/s: 2 trials, [\d.]+ kB\n$", made.stdout)
    assert orch("show", "s", cwd=tmp_path).returncode == 0
    (tmp_path / "sweeps" / "s" / "mine").write_text("")
    again = orch("unpack", "s.tar.xz", cwd=tmp_path)
    assert again.returncode == 2 and "sweeps/s exists; name another folder" in again.stderr
    assert (tmp_path / "sweeps" / "s" / "mine").exists() and left(tmp_path / "sweeps") == ["s"]


#: What stands in an archive besides `GOOD` -> what the message says.
MEMBERS = {
    "an absolute name": (member("/s/sweep.yaml"), NO_NAME),
    "a name that leads out": (member("../s/sweep.yaml"), NO_NAME),
    "a name that leads out below": (member("s/../../x"), "is no file of a pack"),
    "a name with a backslash": (member("s\\x/sweep.yaml"), NO_NAME),
    "a name with an escape": (member("s\x1b[31m/sweep.yaml"), NO_NAME),
    "a hidden sweep": (member(".s/sweep.yaml"), NO_NAME),
    "an option as a name": (member("-s/sweep.yaml"), NO_NAME),
    "a long name": (member(f"{'n' * 300}/sweep.yaml"), NO_NAME),
    "a name of 5,000 folders": (member("s/" + "a/" * 5_000 + "b"), "is no file of a pack"),
    "a second sweep": (member("other/sweep.yaml"), "is in another folder than s"),
    "another file": (member("s/x.py"), "is no file of a pack"),
    "a lock": (member("s/lock"), "is no file of a pack"),
    "a checkpoint": (member(f"{TRIAL}checkpoints/001.safetensors"), "is no file of a pack"),
    "a file twice": (member("s/sweep.yaml"), "is there twice"),
    "other capitals": (member("s/trials/ARRP-1/config.json"), "differs in capitals alone"),
    "a symbolic link": (
        member(f"{TRIAL}end.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "is a symbolic link",
    ),
    "a hard link": (
        member(f"{TRIAL}end.json", b"", type=tarfile.LNKTYPE, linkname="s/sweep.yaml"),
        "is a hard link",
    ),
    "a device": (member(f"{TRIAL}end.json", b"", type=tarfile.CHRTYPE), "is a device"),
    "a block device": (member(f"{TRIAL}end.json", b"", type=tarfile.BLKTYPE), "is a device"),
    "a FIFO": (member(f"{TRIAL}end.json", b"", type=tarfile.FIFOTYPE), "is a FIFO"),
    "an unknown kind": (member(f"{TRIAL}end.json", b"", type=b"Z"), "unknown type b'Z'"),
    "setuid": (member(f"{TRIAL}end.json", mode=0o4755), "has the mode 4755"),
    "a long header": (
        member(f"{TRIAL}end.json", pax_headers={"comment": "x" * 70_000}), "allowed: 65.5 kB"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MEMBERS)
def test_a_member_that_no_pack_has_is_refused_and_nothing_is_left(
    what: str, tmp_path: Path
) -> None:
    added, said = MEMBERS[what]
    (tmp_path / "p").write_bytes(archive(*GOOD, added))
    with pytest.raises(PackError, match=re.escape(said)) as error:
        unpack(tmp_path / "p", tmp_path / "out")
    assert len(str(error.value).splitlines()) == 1
    assert left(tmp_path / "out") == [] and left(tmp_path) == ["out", "p"]


def test_other_programs_archives_of_a_sweep_are_read(tmp_path: Path) -> None:
    folders = [member(f"{name}/", b"", type=tarfile.DIRTYPE) for name in ("s", "s/trials")]
    for packing in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT):
        (tmp_path / "p").write_bytes(archive(*folders, *GOOD, packing=packing))
        assert unpack(tmp_path / "p", tmp_path / str(packing)).trials == 1
    long_name = f"{'ü' * 90}/trials/{'a' * 150}/config.json"
    (tmp_path / "p").write_bytes(archive(member(long_name)))
    assert (unpack(tmp_path / "p", tmp_path / "long").path.parent / long_name).exists()


def test_an_archive_beyond_a_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").write_bytes(archive(*GOOD))
    monkeypatch.setattr(tar_members, "MAX_MEMBERS", 1)
    with pytest.raises(PackError, match="has more than 1 members"):
        unpack(tmp_path / "p", tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(tar_members, "MAX_FILE", 5)
    with pytest.raises(PackError, match="s/sweep.yaml: has 8 bytes; allowed: 5 bytes"):
        unpack(tmp_path / "p", tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(tar_members, "MAX_UNPACKED", 5_000)
    with pytest.raises(PackError, match=r"unpacks to more than 5.0 kB"):
        unpack(tmp_path / "p", tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(tar_members, "MAX_MEMORY", 1_000)
    with pytest.raises(PackError, match="damaged or no tar.xz: Memory usage limit"):
        unpack(tmp_path / "p", tmp_path / "out")
    assert left(tmp_path / "out") == []


def test_a_file_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    good = archive(*GOOD)
    contents = {
        "is cut off": good[: len(good) // 2],
        "is damaged or no tar.xz: Input format not supported": b"PK" + bytes(100),
        "is damaged: a member's header": lzma.compress(b"x" * 1024),
        "holds no trial": archive(member("s/sweep.yaml")),
        "goes on after its end": good + b"more",
        "is damaged or no tar.xz: Corrupt": good[:-40] + b"x" + good[-39:],
    }
    for said, content in contents.items():
        (tmp_path / "p").write_bytes(content)
        with pytest.raises(PackError, match=said):
            unpack(tmp_path / "p", tmp_path / "out")
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "/dev/zero", str(tmp_path)):
        with pytest.raises((PackError, IsADirectoryError)):
            unpack(tmp_path / name, tmp_path / "out")
    assert left(tmp_path / "out") == []
    missing = orch("unpack", "missing.tar.xz", cwd=tmp_path)
    assert missing.returncode == 2 and missing.stderr == (
        "missing.tar.xz: No such file or directory\n"
    )
