"""`orch unpack`: a pack that anybody may have made becomes a sweep's folder, or nothing happens."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.ledger import RESOLVED
from orchestrator.ledger.listing import is_plain
from orchestrator.ledger.tar_members import Member, PackError, members

#: How the folder's name begins in which a sweep is unpacked.
_PARTIAL = ".unpacking-"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}"
#: The files of a pack below the sweep's folder.
_FILES = re.compile(
    rf"{re.escape(RESOLVED)}|timings/{_NAME}\.json|trials/{_NAME}/"
    rf"(?:(?:config|end|analysis)\.json|epochs/[0-9]{{3,9}}\.json"
    rf"|predictions/[0-9]{{3,9}}\.parquet|evaluations/{_NAME}\.(?:json|parquet))"
)
_WHAT = "what orch pack writes: sweep.yaml, timings and trials"


@dataclass(frozen=True)
class Unpacked:
    """The sweep's name and folder, and how many trials and bytes it has."""

    name: str
    path: Path
    trials: int
    bytes: int


def unpack(pack: Path, out: Path) -> Unpacked:
    """Unpack a sweep into `out/<its name>`, which must not exist.

    Raises:
        PackError: the file is no pack, is damaged, is beyond a limit, or would write elsewhere or
            over something.  Nothing is left then.
        OSError: of the file system.
    """
    out.mkdir(parents=True, exist_ok=True)
    aside = out / f"{_PARTIAL}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with _regular(pack) as stream:
            return _unpack(stream, out, aside)
    except PackError as error:
        raise PackError(f"{pack}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unpack(stream: BinaryIO, out: Path, aside: Path) -> Unpacked:
    name, trials, size = "", set(), 0
    seen: set[str] = set()
    for member in members(stream):
        found, inside = _place(member)
        if not name:
            name = _new(found, out)
        if found != name:
            raise PackError(f"is in another folder than {name}", member.name)
        if (spelled := _spelled(inside)) in seen:
            raise PackError("is there twice, or differs in capitals alone", member.name)
        seen.add(spelled)
        target = aside / name / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(member.content)
        size += len(member.content)
        if inside.startswith("trials/"):
            trials.add(inside.split("/")[1])
    if not trials:
        raise PackError("holds no trial")
    _new(name, out)
    (aside / name).rename(out / name)
    return Unpacked(name, out / name, len(trials), size)


def _place(member: Member) -> tuple[str, str]:
    """The sweep's name, and the file's name below it."""
    name, _, inside = member.name.partition("/")
    if not is_plain(name) or name[:1] in (".", "-", "") or len(os.fsencode(name)) > 200:
        raise PackError("its folder cannot be a sweep's name", member.name)
    if not _FILES.fullmatch(inside):
        raise PackError(f"is no file of a pack; allowed: {_WHAT}", member.name)
    return name, inside


def _new(name: str, out: Path) -> str:
    """The name, if there is nothing of that name yet."""
    if os.path.lexists(out / name):
        raise PackError(f"{out / name} exists; name another folder with --out")
    return name


def _spelled(name: str) -> str:
    """The same for names that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()


@contextmanager
def _regular(path: Path) -> Iterator[BinaryIO]:
    """The file, opened.  A FIFO or a device is refused without waiting for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PackError("is no file")
        yield stream
