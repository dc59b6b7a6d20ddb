"""`orch data fetch` against a server that breaks off, lies and answers 404; `orch data prepare`."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator import download as fetching
from orchestrator.cli import app
from orchestrator.download import FetchError, fetch, prepare, prepare_yelp
from tests.support.command import orch_process
from trainer.config.tasks import TASKS
from trainer.data.readers import DataError, read_examples

NAME = "sts-train.csv"
CONTENT = b"".join(b"%d\tid%d\tone\ttwo\t1.0\n" % (i, i) for i in range(40_000))


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    content: dict[str, bytes]
    break_after: int | None = None
    breaks: int = 0
    ranges: bool = True
    failures: int = 0
    asked: list[str | None] = field(default_factory=list)


class Server(http.server.BaseHTTPRequestHandler):
    def __init__(self, behaviour: Behaviour, *args: object):
        self.behaviour = behaviour
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        how = self.behaviour
        how.asked.append(self.headers.get("Range"))
        content = how.content.get(self.path.rsplit("/", 1)[1])
        if how.failures:
            how.failures -= 1
            self.send_error(503)
            return
        if content is None:
            self.send_error(404)
            return
        start = 0
        if how.ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if how.breaks:
            how.breaks -= 1
            self.wfile.write(content[start : start + (how.break_after or 0)])
        else:
            self.wfile.write(content[start:])

    def log_message(self, *args: object) -> None:
        """Keep test output clean."""


@pytest.fixture
def behaviour(monkeypatch: pytest.MonkeyPatch) -> Behaviour:
    git = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    monkeypatch.setattr(fetching, "BLOBS", {NAME: git})
    return Behaviour({NAME: CONTENT})


@pytest.fixture
def base(behaviour: Behaviour) -> Iterator[str]:
    handler = functools.partial(Server, behaviour)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/data"
    server.shutdown()
    server.server_close()


def get(base: str, folder: Path) -> dict[str, str]:
    return fetch(folder, [NAME], base=base, pause_seconds=0.0)


def test_a_file_is_fetched_verified_and_then_present(
    base: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int | None]] = []
    outcome = fetch(tmp_path, [NAME], base=base, report=lambda *line: seen.append(line))
    assert outcome == {NAME: "fetched"}
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert seen[-1] == (NAME, len(CONTENT), len(CONTENT))
    assert get(base, tmp_path) == {NAME: "present"}
    assert len(behaviour.asked) == 1
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


def test_gits_hash_is_gits(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert fetching.blob_hash(tmp_path / "empty") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert fetching.blob_hash(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_broken_download_goes_on_where_it_broke(
    base: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    behaviour.breaks, behaviour.break_after = 2, 200_000
    assert get(base, tmp_path) == {NAME: "fetched"}
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert behaviour.asked == [None, "bytes=200000-", "bytes=400000-"]


def test_a_server_that_knows_no_ranges_starts_over(
    base: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    behaviour.breaks, behaviour.break_after, behaviour.ranges = 1, 1000, False
    assert get(base, tmp_path) == {NAME: "fetched"}
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_server_that_always_breaks_leaves_the_part_for_the_next_run(
    base: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    behaviour.breaks, behaviour.break_after = 99, 1000
    with pytest.raises(FetchError, match="run the same command again"):
        get(base, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [f"{NAME}.part"]
    behaviour.breaks = 0
    assert get(base, tmp_path) == {NAME: "fetched"}


def test_a_server_in_trouble_is_asked_again(
    base: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    behaviour.failures = 2
    assert get(base, tmp_path) == {NAME: "fetched"}


def test_a_lie_is_not_kept(base: str, behaviour: Behaviour, tmp_path: Path) -> None:
    behaviour.content[NAME] = CONTENT.replace(b"two", b"owt")
    with pytest.raises(FetchError, match="not the published file"):
        get(base, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_part_file_is_started_over(
    base: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * (len(CONTENT) + 5))
    assert get(base, tmp_path) == {NAME: "fetched"}


def test_404_is_said_at_once(base: str, behaviour: Behaviour, tmp_path: Path) -> None:
    behaviour.content.clear()
    with pytest.raises(FetchError, match="the server answers 404"):
        get(base, tmp_path)
    assert len(behaviour.asked) == 1


def test_the_command_says_what_it_did_and_the_terms(
    base: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    """A server with the wrong content: exit 1, one line, no stack trace."""
    done = orch_process("data", "fetch", "--only", NAME, "--base", base, "--to", str(tmp_path))
    assert done.returncode == 1  # its BLOBS are the real ones
    assert "not the published file" in done.stderr and "Traceback" not in done.stderr
    done = orch_process("data", "fetch", "--only", "no.csv")
    assert done.returncode == 2 and "allowed: ids-sst-train.csv" in done.stderr


def course_file(folder: Path, name: str, rows: list[str], columns: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([columns, *rows]) + "\n")


def test_files_that_a_user_has_are_checked_and_taken_over(tmp_path: Path) -> None:
    columns = "\tid\tsentence1\tsentence2\tsimilarity"
    course_file(tmp_path / "mine", NAME, ["0\ta\tone\ttwo\t2.5", "1\tb\tone\ttwo\t9"], columns)
    (taken,) = prepare(tmp_path / "mine", tmp_path / "data")
    assert (taken.file, taken.rows, taken.published) == (NAME, 1, False)
    assert taken.dropped == {"the label is outside 0..5": 1}
    assert (tmp_path / "data" / NAME).read_text() == (tmp_path / "mine" / NAME).read_text()


def test_a_folder_without_them_or_a_wrong_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has none of the course's files"):
        prepare(tmp_path, tmp_path / "data")
    course_file(
        tmp_path / "mine", NAME, ["0\ta\tone\ttwo\t2.5"], "\tid\tsentence1\tother\tsimilarity"
    )
    with pytest.raises(DataError, match="needs the column 'sentence2'"):
        prepare(tmp_path / "mine", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        prepare(tmp_path / "no", tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is no folder"):
        prepare(tmp_path / "file", tmp_path / "data")


def test_files_of_other_names_are_mapped_and_what_stands_twice_is_told(tmp_path: Path) -> None:
    header = "\tid\tsentence1\tsentence2\tsimilarity"
    mine = tmp_path / "mine"
    rows = ["0\ta\tone\t two\t2.5", "1\ta\tthree\tfour\t1"]
    course_file(mine, "t.tsv", rows, header)
    course_file(mine, "d.txt", ["0\tx\tTWO\tone\t2", "1\ty\tnew\tnewer\t1"], header)
    to = tmp_path / "data"
    common = ["data", "prepare", str(mine), "--to", str(to)]
    given = [*common, "--map", "sts-train=t.tsv", "--map", f"sts-dev={mine / 'd.txt'}"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "sts train: 1 of 2 ids repeat (a)" in done.output
    assert "1 of 2 rows (50.0%) are also in train: 1 but for case, spaces or order (x)" in (
        done.output
    )
    assert "one" not in done.output and "TWO" not in done.output
    assert (to / "sts-train.csv").read_bytes() == (mine / "t.tsv").read_bytes()
    assert (to / "sts-dev.csv").read_bytes() == (mine / "d.txt").read_bytes()
    found = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    assert [file["repeated"]["similar"] for file in found] == [0, 1]


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("sts-trian=t.tsv", "allowed: sst-train"),
        ("sts-train=no.tsv", "there is no such file"),
        ("sts-train", "write NAME=FILE"),
    ],
)
def test_a_wrong_map_is_one_error(tmp_path: Path, argument: str, says: str) -> None:
    done = orch_process("data", "prepare", str(tmp_path), "--map", argument, cwd=tmp_path)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_yelp_gives_500_reviews_a_star(tmp_path: Path) -> None:
    reviews = tmp_path / "reviews.json"
    with reviews.open("w") as stream:
        for i in range(3000):
            row = {"review_id": f"r{i}", "stars": float(i % 5 + 1), "text": f'a "{i}"\n\ttext'}
            stream.write(json.dumps(row) + "\n")
        stream.write(json.dumps({"stars": "many"}) + "\n")
    taken = prepare_yelp(reviews, tmp_path / "data")
    assert taken.rows == 2500 and taken.dropped == {"no stars or no text": 1}
    examples = read_examples(tmp_path / "data/yelp-train.csv", TASKS["yelp"], labelled=True)
    assert examples.labels is not None
    assert [examples.labels.count(label) for label in range(5)] == [500] * 5
    assert len(set(examples.ids)) == 2500
    first = int(examples.ids[0][1:])
    assert examples.texts[0] == [f'a "{first}" text']
    assert first % 5 == examples.labels[0]
    (tmp_path / "few.json").write_text('{"stars": 1, "text": "x"}\n')
    with pytest.raises(DataError, match="has only 1 reviews with 1 stars"):
        prepare_yelp(tmp_path / "few.json", tmp_path / "data")
