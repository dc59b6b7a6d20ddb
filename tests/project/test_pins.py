"""docker/pins.py, as it is run, against a package index on this machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import pins

ADVISORY = {
    "id": "PYSEC-1",
    "aliases": ["CVE-1"],
    "fixed_in": ["1.1"],
    "summary": "Reads\nfiles of others.",
    "withdrawn": None,
}


class Index:
    """A package index: pages by path; a path without a page is 404."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path)
                self.send_response(404 if page is None else 200)
                self.end_headers()
                self.wfile.write(json.dumps(page).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}/simple"


@pytest.fixture
def index() -> Iterator[Index]:
    made = Index()
    yield made
    made.server.shutdown()
    made.server.server_close()


def advisories(tmp_path: Path, address: str, *lines: str) -> tuple[int, str]:
    file = tmp_path / "pins.txt"
    file.write_text("\n".join(lines) + "\n")
    answer = subprocess.run(
        [sys.executable, ROOT / "docker" / "pins.py", "advisories", "--index", address]
        + ["--file", file],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in answer.stderr
    return answer.returncode, answer.stdout + answer.stderr


def test_an_advisory_against_a_pin_is_told(tmp_path: Path, index: Index) -> None:
    index.pages["/pypi/a-b/1.0/json"] = {
        "info": {"version": "1.0"},
        "vulnerabilities": [ADVISORY, {**ADVISORY, "id": "PYSEC-2", "withdrawn": "2026-01-01"}],
    }
    code, said = advisories(tmp_path, index.address, "# a note", "A_b==1.0")
    assert code == 1
    assert "A_b 1.0: PYSEC-1, CVE-1; fixed in 1.1: Reads files of others.\n" in said
    assert "PYSEC-2" not in said  # withdrawn


def test_a_mirror_with_only_the_newest_version_says_what_is_not_known(
    tmp_path: Path, index: Index
) -> None:
    index.pages["/pypi/new/json"] = {"info": {"version": "2.0"}, "vulnerabilities": []}
    index.pages["/pypi/old/json"] = {"info": {"version": "2.0"}, "vulnerabilities": [ADVISORY]}
    code, said = advisories(tmp_path, index.address, "new==2.0", "old==1.0", "none==1.0")
    assert code == 2
    assert "not known, because the index speaks only about its newest version: old" in said
    assert "not known, because the index answers 404: none" in said
    assert "1 of 3 packages asked about; 0 with an advisory" in said


def test_without_a_network_it_says_that_it_could_not_ask(tmp_path: Path, index: Index) -> None:
    index.server.server_close()
    code, said = advisories(tmp_path, index.address, "a==1.0")
    assert code == 2
    assert "not known, because the index does not answer" in said
    assert advisories(tmp_path, "file:///etc", "a==1.0")[0] == 2


@pytest.mark.parametrize(
    ("file", "fit"),
    {
        "a-1.0-py3-none-any.whl": True,
        "a-1.0-py2.py3-none-any.whl": True,
        "a-1.0-cp311-cp311-manylinux_2_28_x86_64.manylinux2014_x86_64.whl": True,
        "a-1.0-cp39-abi3-manylinux_2_17_aarch64.whl": True,
        "a-1.0-1-py3-none-linux_x86_64.whl": True,  # with a build number
        "a-1.0-cp312-abi3-manylinux_2_17_aarch64.whl": False,
        "a-1.0-cp312-cp312-manylinux_2_28_x86_64.whl": False,
        "a-1.0-cp311-cp311-macosx_11_0_arm64.whl": False,
        "a-1.0-cp311-cp311-musllinux_1_2_x86_64.whl": False,
        "a-1.0.post1-py3-none-any.whl": False,
        "a-1.0.tar.gz": False,
    }.items(),
)
def test_hashes_are_of_wheels_that_the_image_could_install(file: str, fit: bool) -> None:
    assert pins.fits(file, "1.0") is fit


def test_hashes_fall_back_to_the_source_archive(index: Index) -> None:
    wheel = {"filename": "a-1.0-cp311-cp311-win_amd64.whl", "hashes": {"sha256": "w"}}
    source = {"filename": "a-1.0.tar.gz", "hashes": {"sha256": "s"}}
    index.pages["/simple/a/"] = {"files": [wheel, source]}
    assert pins.hashes_of(index.address, pins.Pin("a", "1.0")) == ["s"]
    with pytest.raises(pins.PinsError, match=r"a: .* has no file of version 2.0 for the image"):
        pins.hashes_of(index.address, pins.Pin("a", "2.0"))


def test_every_pin_has_hashes_and_the_same_version() -> None:
    """Red: run `python docker/pins.py hashes` after each change of constraints.txt."""
    hashed = {pin.key: pin.version for pin in pins.pins(pins.HASHES)}
    assert {pin.key: pin.version for pin in pins.pins(pins.CONSTRAINTS)}.items() <= hashed.items()
    assert pins.Pin(*pins.PIP.split("==")) in pins.pins(pins.HASHES)
    for line in pins.HASHES.read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(
            r"[\w.-]+==[\w.]+( --hash=sha256:[0-9a-f]{64})+", line
        )


def test_an_unknown_extra_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docker" / "pins.py", "needs", "clutser"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pins: unknown extra: clutser; allowed: bench, cluster" in done.stderr
