"""Files that anybody may have put into a folder: read within limits, or refused, and never waited
for."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.limits import limits
from trainer.storage import local_folder, object_store
from trainer.storage.folder import Folder, Refused, StoreError
from trainer.storage.json_reader import JsonError, parse, parse_object
from trainer.storage.open import open_folder
from trainer.storage.prediction_file import PredictionFileError, read_prediction_file


def _bind(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket has at most 107 characters
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(40 * 2**30)


#: What stands in a file's place -> what makes it, and why it is refused.
KINDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "FIFO": (os.mkfifo, "is a FIFO, not a regular file"),
    "folder": (Path.mkdir, "is a folder, not a regular file"),
    "socket": (_bind, "is a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a link to /dev/zero, which is not"),
    "link out": (lambda path: path.symlink_to("/etc/passwd"), "is a link to /etc/passwd, which"),
    "40 GB": (_sparse, "is larger than 16.8 MB"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_of_the_folder_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    make, reason = KINDS[kind]
    make(tmp_path / "a.json")
    with pytest.raises(Refused, match=reason) as caught, limits():
        open_folder(tmp_path).enclosed().read("a.json")
    assert caught.value.where == str(tmp_path / "a.json")


def test_a_device_is_none_of_the_users_files_either(tmp_path: Path) -> None:
    """A folder that the user names may have links, but no file without end."""
    (tmp_path / "a.json").symlink_to("/dev/zero")
    (tmp_path / "b.json").symlink_to("c.json")
    (tmp_path / "c.json").write_bytes(b"1")
    with pytest.raises(Refused, match="is a device"), limits():
        open_folder(tmp_path).read("a.json")
    assert open_folder(tmp_path).read("b.json") == b"1"


def test_links_within_the_folder_are_followed_and_others_touch_nothing(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    for folder in (outside / "001", inside / "real"):
        folder.mkdir(parents=True)
        (folder / "a").write_bytes(b"1")
    (inside / "near").symlink_to("real")
    (inside / "away").symlink_to(outside)
    folder = open_folder(inside).enclosed()
    assert folder.read("near/a") == b"1" and folder.child("near").read("a") == b"1"
    actions: tuple[Callable[[], Any], ...] = (
        lambda: folder.read("away/001/a"),
        lambda: folder.write("away/001/a", b"2"),
        lambda: folder.delete("away/001"),
        lambda: folder.delete("away/001/a"),
        lambda: folder.names("away"),
        lambda: folder.child("away").folders(),
        lambda: folder.child("away").write("b", b"2"),
        lambda: folder.link("away/c", folder.child("real")),
    )
    for action in actions:
        with pytest.raises(Refused, match=f"is a link to {outside}, which is not in {inside}"):
            action()
    assert (outside / "001/a").read_bytes() == b"1" and os.listdir(outside) == ["001"]
    folder.delete("away")  # the link itself
    assert (outside / "001/a").exists() and not (inside / "away").is_symlink()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder on a disk and one in an object store."""
    if request.param == "s3":
        return open_folder(request.getfixturevalue("remote"))
    return open_folder(tmp_path).enclosed()


def test_both_stores_refuse_what_is_too_large(
    store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (local_folder, object_store):
        monkeypatch.setattr(module, "most_bytes", lambda name: 100_000)
    store.write("a.json", b"x" * 100_000)
    store.write("b.json", b"x" * 100_001)
    assert store.read("a.json") == b"x" * 100_000
    with pytest.raises(Refused, match=r"b\.json.*: is larger than 100\.0 kB"):
        store.read("b.json")


def test_both_stores_refuse_a_folder_in_a_files_place(store: Folder) -> None:
    store.write("a.json/b", b"1")
    try:
        content = store.read("a.json")
    except Refused as error:
        assert "is a folder" in str(error)
    else:
        assert content is None  # a store without folders has no such file


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 51 + b"]" * 51, "more than 50 lists and mappings within each other"),
        (b'{"a": ' * 900 + b"1" + b"}" * 900, "more than 50 lists and mappings"),
        (b"[" * 1_000_000, "more than 300,000 values"),
        (b"[" * 100_000, "more than 50 lists and mappings"),
        (b"[" + b"{}," * 400_000 + b"1]", "more than 300,000 values"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"", "is not JSON"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_json_beyond_a_limit_is_one_error(content: bytes, reason: str) -> None:
    with pytest.raises(JsonError, match=reason), limits():
        parse(content)


def test_json_within_the_limits_keeps_its_values() -> None:
    deep = b"[" * 50 + b"]" * 50
    assert parse(deep + b" ") == parse(deep)
    assert parse_object(b'{"a": "[[[[", "b": [1, 2.5, null, true]}')["b"] == [1, 2.5, None, True]
    assert parse(b'["' + b"[" * 200 + b'"]') == ["[" * 200]  # brackets of a text are no depth
    assert parse(b"1" * 5_000) > 1e300  # no integer of 5,000 digits
    assert parse(b'["\\ud800a", NaN]')[0] == "\ufffda"  # half a character could not be printed
    with pytest.raises(JsonError, match="is not a JSON object"):
        parse_object(b"[]")


def _file(**changed: Any) -> bytes:
    columns: dict[str, Any] = {
        "task": ["sst", "sts"], "id": ["1", "2"], "label": [1.0, 2.5], "prediction": [0, 1],
    }  # fmt: skip
    table = {name: column for name, column in (columns | changed).items() if column is not None}
    sink = io.BytesIO()
    pq.write_table(pa.table(table), sink, compression="zstd", store_schema=False)
    return sink.getvalue()


def _equal(text: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, "int32")), pa.array([text]))


def test_predictions_are_read_with_their_types() -> None:
    table = read_prediction_file(_file())
    assert table.to_pydict() == {
        "task": ["sst", "sts"], "id": ["1", "2"], "label": [1.0, 2.5], "prediction": [0.0, 1.0],
    }  # fmt: skip
    assert str(table.schema.field("prediction").type) == "double"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"id": None}, "has no column id"),
        ({"label": pa.nulls(2)}, "column label: holds null; allowed: numbers"),
        ({"label": [[1.0], [2.0]]}, "column label: holds list"),
        ({"prediction": ["a", "b"]}, "column prediction: holds string; allowed: numbers"),
        ({"id": [1, 2]}, "column id: holds int64; allowed: text"),
        ({"id": ["1", None]}, "column id: lacks 1 texts"),
        ({"task": [], "id": [], "label": [], "prediction": []}, "has 0 rows; allowed: 1 to"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_table_that_is_none_of_predictions_is_one_error(
    changed: dict[str, Any], reason: str
) -> None:
    with pytest.raises(PredictionFileError, match=reason):
        read_prediction_file(_file(**changed))


@pytest.mark.parametrize(
    ("count", "text", "reason"),
    [(2_100_000, "x", "has 2,100,000 rows"), (20_000, "x" * 100_000, "is longer than 536,870,912")],
    ids=["rows", "text"],
)
def test_a_small_file_of_gigabytes_is_refused(count: int, text: str, reason: str) -> None:
    zeros = pa.array(np.zeros(count))
    content = _file(
        task=_equal("sst", count), id=_equal(text, count), label=zeros, prediction=zeros
    )
    assert len(content) < 200_000
    with pytest.raises(PredictionFileError, match=reason), limits():
        read_prediction_file(content)


def test_weights_that_are_none_are_one_error() -> None:
    import torch
    from safetensors.torch import save

    from trainer.model.weights_file import load_into, tensors

    model = torch.nn.Linear(2, 3)
    sound = save(model.state_dict())
    load_into(model, sound, "w")
    cut, long, other = sound[:-1], b"\xff" * 7 + b"\0" + sound, save({"weight": torch.zeros(1)})
    for content in (b"", b"\0" * 8, cut, long, sound.replace(b"F32", b"F99"), b"[" * 1_000):
        with pytest.raises(StoreError, match="w: is no safetensors file"), limits():
            tensors(content, "w")
    with pytest.raises(StoreError, match="w: does not fit the model: .*Missing key"):
        load_into(model, other, "w")
