"""Files in: every line is an example, or is counted with the reason why it is none."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.config.task_declaration import declared_tasks
from trainer.config.tasks import TASKS, Task
from trainer.data.readers import DataError, Examples, read_examples, read_split

KIND: dict[str, Any] = {
    "columns": "text",
    "label": "label",
    "loss": "cross_entropy",
    "classes": 5,
    "metric": "accuracy",
    "train": "train.csv",
    "dev": "dev.csv",
}
ROWS = [("a", "warm and funny", "4"), ("b", "it is fine", "2"), ("c", "far too long", "0")]


def declared(**changes: Any) -> Task:
    return declared_tasks({"kind": KIND | changes})["kind"]


def read(path: Path, content: str | bytes, **changes: Any) -> Examples:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_examples(path, declared(**changes), labelled=True)


def table(separator: str, rows: list[tuple[str, ...]] = ROWS, header: bool = True) -> str:
    lines = [("id", "text", "label"), *rows] if header else rows
    return "".join(separator.join(line) + "\n" for line in lines)


def physical_lines(content: bytes) -> int:
    return len(re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z", content))


def counted(examples: Examples) -> int:
    return (
        examples.header
        + examples.blank
        + examples.elsewhere
        + len(examples.texts)
        + sum(examples.dropped.values())
    )


def test_a_quotation_mark_that_is_never_closed_swallows_no_row(tmp_path: Path) -> None:
    path = tmp_path / "ids-sst-train.csv"
    path.write_text(
        '\tid\tsentence\tsentiment\n0\ta\t"Great film\t4\n1\tb\tfine\t3\n2\tc\tawful\t0\n'
        '3\td\t"So so\t2\n4\te\tgood\t3\n'
    )
    examples = read_examples(path, TASKS["sst"], labelled=True)
    assert examples.texts == [['"Great film'], ["fine"], ["awful"], ['"So so'], ["good"]]
    assert examples.labels == [4, 3, 0, 2, 3]
    assert examples.noted == {"a quotation mark is never closed in its line, kept as text": 2}
    assert examples.lines == counted(examples) == 6


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('"a ""word"" more"\tb\t1', ['a "word" more', "b"]),
        ('"a\tb\t1', ['"a', "b"]),
        ('a\t"b\t1', ["a", '"b']),
        ('"a"\t"b\t1', ["a", '"b']),
        ('"a\t"b"\t1', ['a\tb"', "1"]),  # the mark of the second field closes the first one
        ('"a""\tb\t1', ['"a""', "b"]),
        ('a "b" c\td"\t1', ['a "b" c', 'd"']),
        ('""\t"""\t1', ["", '"""']),
    ],
)
def test_fields_in_quotation_marks(tmp_path: Path, line: str, fields: list[str]) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(f"one\ttwo\tlabel\n{line}\n")
    pairs = declared(columns=["one", "two"], separator="tab")
    assert read_examples(path, pairs, labelled=False).texts == [fields]


@pytest.mark.parametrize("separator", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_without_an_open_mark_are_those_of_csv(
    tmp_path: Path, separator: str, ending: str
) -> None:
    lines = [
        'a "b" c', '"a" b', '"a""b"', '""', '"', '""""', "", " ", "x", f'"a{separator}b"',
        '"a"b"c"',
    ]  # fmt: skip
    rows = [[one, two] for one in lines for two in lines]
    text = [separator.join(row) for row in rows]
    strict = [next(csv.reader([line + "\n"], delimiter=separator), []) for line in text]
    closed = [fields for fields in strict if not "".join(fields[-1:]).endswith("\n")]
    kept = [line for line, fields in zip(text, strict, strict=True) if fields in closed]
    path = tmp_path / "two.txt"
    path.write_bytes(ending.join([separator.join(["one", "two"]), *kept]).encode())
    task = declared(columns=["one", "two"], label="two ", separator=separator)
    examples = read_examples(path, task, labelled=False)
    wanted = [[f.strip() for f in fields] for fields in closed if len(fields) == 2]
    assert len(wanted) > 50 and examples.texts == wanted


def test_a_record_of_many_lines_has_to_be_declared(tmp_path: Path) -> None:
    content = 'id,text,label\na,"one\ntwo",3\n\nb,three,1\n'
    examples = read(tmp_path / "a.csv", content, quotes="many_lines")
    assert examples.texts == [["one\ntwo"], ["three"]] and examples.labels == [3, 1]
    assert (examples.lines, examples.blank) == (4, 1) and counted(examples) == 4
    by_line = read(tmp_path / "a.csv", content)
    assert by_line.texts == [["three"]] and by_line.lines == counted(by_line) == 5
    assert by_line.dropped["the label is missing"] + by_line.dropped["a sentence column is missing"]
    with pytest.raises(DataError, match="line 3: a quotation mark of the record that"):
        read(tmp_path / "a.csv", 'id,text,label\na,b,1\nb,"c,2\nc,d,3\n', quotes="many_lines")


def test_the_first_record_may_have_many_lines_too(tmp_path: Path) -> None:
    many = {"quotes": "many_lines"}
    examples = read(tmp_path / "a.csv", '"the\nid",text,label\r\n1,a,3\r\n', **many)
    assert (examples.texts, examples.lines, examples.header) == ([["a"]], 2, 1)
    numbers = many | {"header": False, "columns": [1], "label": 2}
    examples = read(tmp_path / "a.csv", '"one\n\ntwo",3\nthree,1\n', **numbers)
    assert (
        examples.texts == [["one\n\ntwo"], ["three"]] and examples.lines == counted(examples) == 2
    )
    with pytest.raises(DataError, match="line 4: a quotation mark of the record that"):
        read(tmp_path / "a.csv", '\n"the\nid",text,label\n1,"a,3\n' + "b\n" * 300, **many)
    with pytest.raises(DataError):
        read(tmp_path / "a.csv", '"id,text,label\n' + "1,a,3\n" * 300, **many)


def test_endings_in_capitals_mean_the_same(tmp_path: Path) -> None:
    assert "marks are text" in read(tmp_path / "A.TSV", table("\t")).dialect
    assert read(tmp_path / "A.CSV.GZ", gzip.compress(table(",").encode())).labels == [4, 2, 0]


def test_quoted_names_where_quotation_marks_are_text(tmp_path: Path) -> None:
    content = '"text"\t"label"\n"a"\t1\n'
    with pytest.raises(DataError, match="quotes: one_line lets them enclose fields"):
        read(tmp_path / "a.tsv", content)
    assert read(tmp_path / "a.tsv", content, quotes="one_line").texts == [["a"]]


def test_a_file_without_a_line_is_one_error(tmp_path: Path) -> None:
    for content in ("", "\n\r\n", "\ufeff"):
        with pytest.raises(DataError, match="has no line that is not blank"):
            read(tmp_path / "a.csv", content)


def test_half_a_character_of_json_is_counted(tmp_path: Path) -> None:
    lines = ['{"text": "a\\ud800", "label": 1}', '{"text": "\\ud83d\\ude00", "label": 2}']
    examples = read(tmp_path / "a.jsonl", "\n".join(lines))
    assert examples.texts == [["\U0001f600"]] and examples.lines == counted(examples) == 2
    assert examples.dropped == {"half of a character (a lone surrogate)": 1}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_names_of_columns_show_an_encoding_without_a_mark(tmp_path: Path, encoding: str) -> None:
    content = "text,label\n" + "你好世界,1\n" * 50
    named = encoding.upper().removesuffix("-LE").removesuffix("-BE") + encoding[-2:].upper()
    with pytest.raises(DataError, match=f"iconv -f {named}"):
        read(tmp_path / "a.csv", content.encode(encoding))


def test_the_line_that_is_not_utf8_is_named_whatever_ends_lines(tmp_path: Path) -> None:
    for ending in ("\n", "\r", "\r\n"):
        with pytest.raises(DataError, match="line 3: not UTF-8"):
            read(tmp_path / "a.csv", f"text,label{ending}a,1{ending}schön,1".encode("latin-1"))


@settings(max_examples=60, deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(
    st.lists(
        st.tuples(st.text(st.sampled_from('a é"\'\n\t,;|'), max_size=8), st.integers(0, 4)),
        min_size=1, max_size=6,
    ),
    st.sampled_from("\t,;|"),
)  # fmt: skip
def test_clean_files_have_the_rows_that_pyarrow_reads(
    tmp_path: Path, rows: list[tuple[str, int]], separator: str
) -> None:
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator).writerows([("text", "label"), *rows])
    content = stream.getvalue()
    theirs = pa_csv.read_csv(
        io.BytesIO(content.encode()),
        parse_options=pa_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(column_types={"text": pa.string()}),
    )
    wanted = [text.strip() for text in theirs["text"].to_pylist()]
    assert [text for (text,) in read(tmp_path / "a.csv", content, quotes="many_lines").texts] == (
        wanted
    )
    if not any("\n" in text for text, _ in rows):
        examples = read(tmp_path / "a.csv", content)
        assert [text for (text,) in examples.texts] == wanted
        assert examples.labels == theirs["label"].to_pylist()
        assert not set(examples.noted) - {"empty sentence, kept"}
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    theirs = pa_json.read_json(io.BytesIO(lines.encode()))
    ours = read(tmp_path / "a.jsonl", lines)
    assert [text for (text,) in ours.texts] == [text.strip() for text in theirs["text"].to_pylist()]
    assert ours.labels == theirs["label"].to_pylist()


@pytest.mark.parametrize(
    ("separator", "name"), [("\t", "tab"), (",", "comma"), (";", "semicolon"), ("|", "pipe")]
)
def test_the_separator_is_found_and_said(tmp_path: Path, separator: str, name: str) -> None:
    examples = read(tmp_path / "a.csv", table(separator))
    assert examples.ids == ["a", "b", "c"] and examples.labels == [4, 2, 0]
    assert examples.dialect == f"{name}-separated, quotation marks enclose fields within a line"
    assert read(tmp_path / "b.csv", table(separator), separator=name).texts == examples.texts
    assert read(tmp_path / "c.csv", table("~"), separator="~").texts == examples.texts


def test_a_comma_within_the_text_of_tabs_is_no_separator(tmp_path: Path) -> None:
    examples = read(tmp_path / "a.csv", "text\tlabel\nwell, yes, it is\t3\n")
    assert examples.texts == [["well, yes, it is"]]


def test_a_missing_column_says_what_the_file_looks_like(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path / "a.csv", "id,comment,label\n1,x,2\n")
    assert str(error.value) == (
        f"{tmp_path / 'a.csv'}: task kind needs the column 'text'; its columns are: id, comment, "
        "label (the file looks comma-separated)"
    )


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_a_mark_of_utf8_is_no_part_of_the_first_name(tmp_path: Path, mark: bytes) -> None:
    examples = read(tmp_path / "a.csv", mark + "text,label\nschön,1\n".encode())
    assert examples.texts == [["schön"]]
    line = json.dumps({"text": "schön", "label": 1}).encode()
    assert read(tmp_path / "a.jsonl", mark + line).texts == [["schön"]]


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE"),
        ("utf-32", "UTF-32"), ("latin-1", "WINDOWS-1252"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("compressed", [False, True])
def test_other_encodings_are_named_with_the_command_that_converts(
    tmp_path: Path, encoding: str, named: str, compressed: bool
) -> None:
    content = table(",", [*ROWS, ("d", "schön", "1")]).encode(encoding)
    path = tmp_path / ("a b.csv.gz" if compressed else "a b.csv")
    with pytest.raises(DataError) as error:
        read(path, gzip.compress(content) if compressed else content)
    assert f"iconv -f {named} -t UTF-8" in str(error.value)
    assert f"'{tmp_path}/utf8-a b.csv'" in str(error.value)
    if encoding == "latin-1":
        assert "line 5" in str(error.value)


def test_a_gzip_file_reads_as_its_content(tmp_path: Path) -> None:
    whole = gzip.compress(table(",").encode())
    assert read(tmp_path / "a.csv.gz", whole).texts == read(tmp_path / "a.csv", table(",")).texts
    quoted = gzip.compress(table("\t", [("a", '"b', "1")]).encode())
    assert "marks are text" in read(tmp_path / "a.tsv.gz", quoted).dialect
    for broken in (whole[:-9], b"no gzip", whole[:20] + b"\0\0\0\0" + whole[24:]):
        with pytest.raises(DataError, match="not a readable gzip file"):
            read(tmp_path / "a.csv.gz", broken)


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        '{"text": "one", "label": 1, "id": 7}', '{"text": "two", "label": "3"}', "", "[1, 2]",
        '{"text": "three"}', '{"text": ["x"], "label": 1}', '{"text": "four", "label": [1]}',
        '{"text": "five", "label": true}', "{broken", "[" * 100_000, '{"label": 2}',
        '{"text": 6, "label": 1e400}', '{"text": "x", "label": ' + "9" * 5000 + "}",
    ]  # fmt: skip
    examples = read(tmp_path / "a.jsonl", "\n".join(lines))
    assert examples.texts == [["one"], ["two"], ["five"]] and examples.labels == [1, 3, 1]
    assert examples.ids == ["7", "1", "7"]
    assert examples.dropped == {
        "not a JSON object": 4, "the label is missing": 1, "a sentence is not text": 1,
        "the label is not a number": 1, "a sentence column is missing": 1,
        "the label is outside 0..4": 1,
    }  # fmt: skip
    assert examples.lines == counted(examples) == len(lines)
    with pytest.raises(DataError, match=r"needs the column 'text'; its columns are: words, label"):
        read(tmp_path / "b.jsonl", '{"words": "a", "label": 1}\n')
    with pytest.raises(DataError, match="is one JSON list"):
        read(tmp_path / "a.json", '[{"text": "a", "label": 1}]')
    with pytest.raises(DataError, match="JSON Lines name their columns"):
        read(tmp_path / "c.jsonl", "{}", columns=[1])


def test_parquet_labels_and_ids_of_any_type(tmp_path: Path) -> None:
    def parquet(**columns: Any) -> Examples:
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        return read_examples(tmp_path / "a.parquet", declared(), labelled=True)

    nothing = parquet(text=["a", "b", None], label=[1.0, None, 2.0], id=[0, 5, 6])
    assert (nothing.ids, nothing.labels, nothing.lines) == (["0"], [1], 3)
    assert sum(nothing.dropped.values()) == 2
    assert parquet(text=["a", "b"], label=[[1], [2]]).dropped == {"the label is not a number": 2}
    assert parquet(text=["a", "b"], label=[float("nan"), 1.0]).dropped == {
        "the label is missing": 1
    }
    assert parquet(text=["a"], label=[{"x": 1}]).dropped == {"the label is not a number": 1}
    assert parquet(text=["a"], label=[b"1"]).dropped == {"the label is not a number": 1}
    latin = pa.array([b"sch\xf6n"]).view(pa.string())  # damaged: text that is not UTF-8
    with pytest.raises(DataError, match="not a readable Parquet file"):
        parquet(text=latin, label=[1])
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_examples(tmp_path / "a.parquet", declared(), labelled=True)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("0_1", "the label is not a number"),
        ("４", "the label is not a number"),
        ("٣", "the label is not a number"),
        ("nan", "the label is not a number"),
        ("inf", "the label is not a number"),
        ("1e400", "the label is outside 0..4"),
        ("0x1", "the label is not a number"),
        ("9" * 5000, "the label is outside 0..4"),
        ("", "the label is missing"),
        ("2.5", "the label is not a whole number"),
        ("-1", "the label is outside 0..4"),
    ],
)
def test_what_is_no_label_is_dropped_with_its_reason(
    tmp_path: Path, label: str, reason: str
) -> None:
    examples = read(tmp_path / "a.csv", f"text\tlabel\na\t{label}\nb\t 3.0 \nc\t+1e0\n")
    assert examples.dropped == {reason: 1} and examples.labels == [3, 1]


def test_a_field_of_any_length_is_read(tmp_path: Path) -> None:
    for long in ("x" * 131_073, '"' + "y " * 140_000 + '"'):
        examples = read(tmp_path / "a.csv", f"text\tlabel\n{long}\t1\n")
        assert examples.texts == [[long.strip('"').strip()]]
        many = read(tmp_path / "a.csv", f"text\tlabel\n{long}\t1\n", quotes="many_lines")
        assert many.texts == examples.texts


def test_empty_fields_at_the_end_are_no_fields(tmp_path: Path) -> None:
    examples = read(tmp_path / "a.csv", "text\tlabel\na\t1\t\nb\t2\t\t\nc\t3\td\n\te\t4\n")
    assert examples.texts == [["a"], ["b"]]
    assert examples.dropped == {"more fields than the header": 2}


def test_a_column_that_stands_twice_is_named_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'text', which stands twice .* by its number: 1 or 2"):
        read(tmp_path / "a.csv", "text\ttext\tlabel\na\tb\t1\n")
    assert read(tmp_path / "a.csv", "text\ttext\tlabel\na\tb\t1\n", columns=[2]).texts == [["b"]]
    assert read(tmp_path / "a.csv", "text\tlabel\tx\tx\na\t1\t\t\n").texts == [["a"]]


def test_columns_by_number_without_a_header(tmp_path: Path) -> None:
    numbers = {"header": False, "columns": [2], "label": 3, "id": 1}
    for separator in "\t,;|":
        examples = read(tmp_path / "a.csv", table(separator, header=False), **numbers)
        assert examples.ids == ["a", "b", "c"] and examples.labels == [4, 2, 0]
        assert (examples.lines, examples.header) == (3, 0)
    with pytest.raises(DataError, match="needs column 4; it has 3"):
        read(tmp_path / "a.csv", table(",", header=False), **numbers | {"columns": [4]})


def test_labels_in_words(tmp_path: Path) -> None:
    words = {"labels": ["bad", "fine", "good"], "classes": 3}
    examples = read(
        tmp_path / "a.csv", "text,label\na,good\nb, bad \nc,Good\nd,\ne,2\nf,fine\n", **words
    )
    assert examples.labels == [2, 0, 1]
    assert examples.dropped == {
        "the label is none of bad, fine, good": 2,
        "the label is missing": 1,
    }
    stars = {"labels": {"1": 0, "3": 1, "5": 2}, "classes": 3}
    pq.write_table(
        pa.table({"text": ["a", "b", "c"], "label": [1.0, 5.0, None]}), tmp_path / "a.parquet"
    )
    assert read_examples(tmp_path / "a.parquet", declared(**stars), labelled=True).labels == [0, 2]
    lines = '{"text": "a", "label": true}\n{"text": "b", "label": false}\n'
    assert read(tmp_path / "a.jsonl", lines, labels=["false", "true"]).labels == [1, 0]
    many = {"labels": [f"w{n}" for n in range(9)], "classes": 9}
    assert read(tmp_path / "a.csv", "text,label\na,b\n", **many).dropped == {
        "the label is none of w0, w1, w2, w3, w4, ...": 1
    }


def test_ids_by_name_and_by_number(tmp_path: Path) -> None:
    content = "key,id,text,label\nk1,i1,a,1\nk2,i2,b,9\n,i3,c,2\n"
    assert read(tmp_path / "a.csv", content).ids == ["i1", "i3"]
    assert read(tmp_path / "a.csv", content, id="key").ids == ["k1", "2"]
    with pytest.raises(DataError, match="needs the column 'name'"):
        read(tmp_path / "a.csv", content, id="name")


def test_several_files_make_one_split_with_ids_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\nb,x\n")
    (tmp_path / "b.jsonl").write_text('{"label": 2, "text": "c"}\n{"label": 0, "text": "d"}\n')
    examples = read_split([tmp_path / "a.csv", tmp_path / "b.jsonl"], declared(), "train")
    assert examples.texts == [["a"], ["c"], ["d"]] and len(set(examples.ids)) == 3
    assert examples.lines == counted(examples) == 5 and examples.header == 1


def test_a_split_column_deals_out_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text(
        "text,label,fold\na,1,train\nb,2,dev\nc,3,validation\nd,4,test\ne,0,extra\nf,0,\ng,1,train\n"
    )
    task = declared(split_column="fold")
    splits = {name: read_split([path], task, name) for name in ("train", "dev", "test")}
    texts = {name: [text for (text,) in each.texts] for name, each in splits.items()}
    assert texts == {"train": ["a", "g"], "dev": ["b", "c"], "test": ["d"]}
    assert splits["test"].labels is None
    for examples in splits.values():
        assert examples.lines == counted(examples) == 8
    # Once, and not from each of the three.
    assert splits["train"].dropped == {
        "the split is none of train, dev, validation, valid, val, ...": 1,
        "the split is missing": 1,
    }
    assert not splits["dev"].dropped and not splits["test"].dropped
    folds = declared(split_column="fold", splits={"train": ["train", "extra"], "dev": "dev"})
    assert len(read_split([path], folds, "train").texts) == 3


def test_every_label_range_is_one(tmp_path: Path) -> None:
    real = {"loss": "mse", "metric": "pearson", "label_range": [-1, 1]}
    examples = read(tmp_path / "a.csv", "text,label\na,-1\nb,0.25\nc,1.5\n", **real)
    assert examples.labels == [-1, 0.25] and examples.dropped == {"the label is outside -1..1": 1}
