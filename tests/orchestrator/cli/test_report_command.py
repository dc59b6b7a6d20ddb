"""`orch report`: what it writes, what it prints, and mistakes that write nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.support.ledgers import write_trial


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    error: str


@pytest.fixture
def orch(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """The command in `place`, in this process."""

    def run(*arguments: str) -> Answer:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["orch", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return Answer(int(end.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("place")
    write_trial(folder / "sweeps" / "s", [0.4, 0.5], sampler="arrp", seed=1)
    yield folder


def test_the_command_writes_the_page_and_every_figure(
    place: Path, orch: Callable[..., Answer]
) -> None:
    assert orch("report", "s", "-o", "report.html").code == 0  # is written over by the next
    answer = orch("report", "s", "-o", "report.html", "--figures", "drawn", "--json")
    assert answer.code == 0, answer.error
    told = json.loads(answer.out)
    assert told["bytes"] == (place / "report.html").stat().st_size > 10_000
    assert len(list((place / "drawn").iterdir())) == 2 * len(told["figures"]) > 0
    plain = orch("report", "s", "--trial", told["trials"][0][:8])
    assert plain.code == 0 and " kB, " in plain.out and (place / "s.html").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-o nowhere/r.html", "-o nowhere/r.html: the folder nowhere is not there"),
        ("-o sweeps", "-o sweeps: is a folder; name a file in it"),
        ("-o notes.txt", "-o notes.txt: is there and no report; name another file"),
        ("-o page.html", "-o page.html: is there and no report; name another file"),
        ("--figures notes.txt", "--figures notes.txt: is not a folder"),
        ("--figures no/where", "--figures no/where: the folder no is not there"),
        ("--trial nothing", "--trial: no trial 'nothing' in s; known: arrp-"),
        ("--baseline x", "--baseline x: no such method; allowed: arrp+pcgrad"),
        ("--margin 2", "--margin 2: must lie between 0 and 1"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    place: Path, orch: Callable[..., Answer], options: str, message: str
) -> None:
    (place / "notes.txt").write_text("mine")
    (place / "page.html").write_text("<!doctype html><title>mine</title>")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    answer = orch("report", "s", *options.split())
    assert answer.code == 2 and answer.out == ""
    assert message in answer.error and "Traceback" not in answer.error
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
