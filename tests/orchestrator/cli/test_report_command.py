"""`orch report`: what it writes, what it prints, and mistakes that write nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import orch
from tests.support.ledgers import write_trial


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("place")
    write_trial(folder / "sweeps" / "s", [0.4, 0.5], sampler="arrp", seed=1)
    yield folder


def test_the_command_writes_the_page_and_every_figure(place: Path) -> None:
    answer = orch("report", "s", "--figures", "drawn", "--json", cwd=place)
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert told["bytes"] == (place / "s.html").stat().st_size > 10_000
    assert len(list((place / "drawn").iterdir())) == 2 * len(told["figures"]) > 0
    before = (place / "s.html").stat().st_mtime_ns  # the next one is written over it
    plain = orch("report", "s", "-o", "s.html", "--trial", told["trials"][0][:8], cwd=place)
    assert plain.returncode == 0 and " kB, " in plain.stdout
    assert (place / "s.html").stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-o nowhere/r.html", "-o nowhere/r.html: the folder nowhere does not exist"),
        ("-o sweeps", "-o sweeps: is a folder; name a file in it"),
        ("-o notes.txt", "-o notes.txt: exists and is not a report; name another file"),
        ("-o page.html", "-o page.html: exists and is not a report; name another file"),
        ("--figures notes.txt", "--figures notes.txt: is not a folder"),
        ("--figures no/where", "--figures no/where: the folder no does not exist"),
        ("--trial nothing", "--trial: no trial 'nothing' in s; known: arrp-"),
        ("--baseline x", "--baseline x: no such method; allowed: arrp+pcgrad"),
        ("--margin 2", "--margin 2: must lie between 0 and 1"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    place: Path, options: str, message: str
) -> None:
    (place / "notes.txt").write_text("mine")
    (place / "page.html").write_text("<!doctype html><title>mine</title>")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    answer = orch("report", "s", *options.split(), cwd=place)
    assert answer.returncode == 2 and answer.stdout == ""
    assert message in answer.stderr and "Traceback" not in answer.stderr
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
