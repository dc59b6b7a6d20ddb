"""Reading, tokenising and caching sentences."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.real_data import REAL, needs_real_data
from trainer.config import TrainConfig
from trainer.data.corpus import DataError, prepare, stats
from trainer.data.sources import fingerprint

PAIR = {
    "columns": ["sentence1", "sentence2"], "label": "is_duplicate", "loss": "bce",
    "metric": "accuracy", "train": "train.csv", "dev": "dev.csv",
}  # fmt: skip
ROWS = [
    ("a1", "is the cat old?", 'say "no" to it', "1.0"),
    ("a2", "the cat sat on the mat", "", "0.0"),
    ("a3", "no label here", "at all", ""),
    ("a4", "a label that is", "a word", "maybe"),
    ("a5", "a label out of", "range", "7"),
    ("a6", "half a", "label", "0.5"),
]


def write(path: Path, rows: list[tuple[str, ...]], header: str = "is_duplicate") -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t")
        writer.writerow(["", "id", "sentence1", "sentence2", header])
        writer.writerows([(str(number), *row) for number, row in enumerate(rows)])
        stream.write("9\tshort row\n")
        stream.write("9\ta\tone\ttwo\tthree\t1.0\n")


def config(root: Path, declaration: dict[str, Any] | None = None, **data: Any) -> TrainConfig:
    return TrainConfig.from_dict(
        {
            "tasks": ["mine"],
            "task_declarations": {"mine": PAIR | (declaration or {})},
            "encoder": "tiny",
            "data": {
                "source": "files",
                "root": str(root),
                "cache": str(root / "cache"),
                "allow_dropped": ["mine"],
            }
            | data,
        }
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "dev.csv", ROWS[:2])
    return tmp_path


def test_malformed_rows_are_counted_by_reason_and_odd_ones_kept(root: Path) -> None:
    train = stats(config(root))["mine"]["train"]
    assert train["rows"] == 2
    assert train["dropped"] == {
        "a sentence column is missing": 1,
        "the label is missing": 1,
        "the label is not a number": 1,
        "the label is outside 0..1": 1,
        "the label is not a whole number": 1,
        "more fields than the header": 1,
    }
    assert train["noted"] == {"empty sentence, kept": 1}
    assert train["labels"] == {"0": 1, "1": 1}


def test_quoted_fields_are_unquoted(root: Path) -> None:
    split = prepare(config(root)).splits["mine"]["train"]
    assert split.column("text2") == ['say "no" to it', ""]
    assert split.column("id") == ["a1", "a2"]


def test_pairs_are_laid_out_for_the_cross_encoder(root: Path) -> None:
    corpus = prepare(config(root))
    packed = corpus.splits["mine"]["train"].packed(np.array([1, 0]))
    # [CLS] six words [SEP] [SEP], then [CLS] is the cat old ? [SEP] say " no " to it [SEP]
    assert packed.first.tolist() == [0, 9]
    assert packed.ids[[0, 7, 8, 9, 15]].tolist() == [2, 3, 3, 2, 3]
    assert packed.token_types.tolist()[:23] == [0] * 8 + [1] + [0] * 7 + [1] * 7
    assert packed.positions.tolist()[:23] == [*range(9), *range(14)]
    assert packed.lengths.max() == 14 and packed.starts.tolist() == [0, 9]


def test_long_pairs_lose_the_end_of_the_longer_sentence(root: Path) -> None:
    split = prepare(config(root, max_length=8)).splits["mine"]["train"]
    assert split.lengths.tolist() == [8, 8]
    packed = split.packed(np.array([1]))
    assert packed.token_types.tolist()[:8] == [0] * 7 + [1]
    assert split.report["noted"]["cut to 8 tokens"] == 2


@pytest.mark.parametrize("kind", ["tsv", "parquet"])
def test_glue_style_and_parquet_files_load_the_same(root: Path, kind: str) -> None:
    expected = prepare(config(root)).splits["mine"]
    for split in ("train", "dev"):
        usable = ROWS[:2]
        if kind == "tsv":
            lines = ["sentence1\tsentence2\tis_duplicate", *("\t".join(row[1:]) for row in usable)]
            (root / f"{split}.tsv").write_text("\n".join(lines) + "\n")
        else:
            columns = zip(*[row[1:] for row in usable], strict=True)
            names = ["sentence1", "sentence2", "is_duplicate"]
            table = pa.table(dict(zip(names, columns, strict=True)))
            pq.write_table(table, root / f"{split}.parquet")
    files = {"train": f"train.{kind}", "dev": f"dev.{kind}"}
    loaded = prepare(config(root, files)).splits["mine"]
    for split in ("train", "dev"):
        assert loaded[split].column("text2") == expected[split].column("text2")
        assert loaded[split].labels.tolist() == expected[split].labels.tolist()


def test_a_missing_column_names_file_wanted_and_found(root: Path) -> None:
    write(root / "dev.csv", ROWS, header="label")
    with pytest.raises(DataError) as error:
        prepare(config(root))
    text = str(error.value)
    assert str(root / "dev.csv") in text and "'is_duplicate'" in text
    assert "id, sentence1, sentence2, label" in text


def test_every_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        fingerprint(config(tmp_path))
    assert "train.csv" in str(error.value) and "dev.csv" in str(error.value)
    with pytest.raises(DataError, match="the folder does not exist"):
        fingerprint(config(tmp_path / "nowhere"))


def test_text_that_is_not_utf8_is_an_error_that_names_the_file(root: Path) -> None:
    (root / "dev.csv").write_bytes(b"\tid\tsentence1\tsentence2\tis_duplicate\n0\ta\t\xff\tb\t1\n")
    with pytest.raises(DataError, match=r"dev\.csv"):
        prepare(config(root))


def test_the_cache_is_built_once_and_follows_the_content(root: Path) -> None:
    def cached() -> dict[str, int]:
        return {p.name: p.stat().st_ino for p in (root / "cache").iterdir()}

    before = fingerprint(config(root))
    prepare(config(root))
    first = cached()
    prepare(config(root))
    assert cached() == first
    write(root / "dev.csv", ROWS)
    os.utime(root / "dev.csv", ns=(1, 1))
    assert fingerprint(config(root)) != before
    assert len(prepare(config(root)).splits["mine"]["dev"]) == 2
    assert set(first) < set(cached())


def test_tokens_are_views_into_the_mapped_file(root: Path) -> None:
    split = prepare(config(root)).splits["mine"]["train"]
    assert not split.tokens.flags.owndata and not split.tokens.flags.writeable


def test_limit_is_one_fixed_draw(tmp_path: Path) -> None:
    rows = [(f"n{i}", f"word{i}", f"other{i}", str(i % 2)) for i in range(50)]
    write(tmp_path / "train.csv", rows)
    write(tmp_path / "dev.csv", rows)
    limited = config(tmp_path, limit={"mine": 20})
    chosen = prepare(limited).splits["mine"]["train"].column("id")
    assert len(set(chosen)) == 20
    assert chosen == prepare(limited).splits["mine"]["train"].column("id")
    assert len(prepare(limited).splits["mine"]["dev"]) == 50


def test_a_further_task_is_read_beside_the_generated_ones(tmp_path: Path) -> None:
    mine = {"columns": "request", "label": "polite", "loss": "bce", "metric": "accuracy",
            "train": "mine-train.tsv", "dev": "mine-dev.tsv"}  # fmt: skip
    mapping = {
        "data": {"source": "synthetic", "size": 32, "root": str(tmp_path), "cache": str(tmp_path)},
        "encoder": "tiny", "tasks": ["sst", "mine"], "task_declarations": {"mine": mine},
    }  # fmt: skip
    config = TrainConfig.from_dict(mapping)
    assert config.generates("sst") and not config.generates("mine")
    assert "data.root" not in config.inactive()
    with pytest.raises(DataError, match="mine-train.tsv: task mine needs this file"):
        fingerprint(config)
    for split, rows in (("train", 5), ("dev", 3)):
        lines = ["id\trequest\tpolite", *(f"{n}\tplease {n}\t{n % 2}" for n in range(rows))]
        (tmp_path / f"mine-{split}.tsv").write_text("\n".join(lines) + "\n")
    corpus, before = prepare(config), fingerprint(config)
    assert corpus.sizes() == {"sst": 45, "mine": 5} and len(corpus.splits["mine"]["dev"]) == 3
    (tmp_path / "mine-dev.tsv").write_text("id\trequest\tpolite\n0\tplease\t1\n")
    assert fingerprint(config) != before


def test_a_test_split_has_no_labels_and_is_optional_but_not_once_it_is_named(root: Path) -> None:
    assert "test" not in prepare(config(root)).splits["mine"]
    for step in (fingerprint, prepare):
        with pytest.raises(DataError, match=r"test\.csv: task mine needs this file"):
            step(config(root, {"test": "test.csv"}))
    with (root / "test.csv").open("w") as stream:
        stream.write("\tid\tsentence1\tsentence2\n0\tt1\tthe cat\tsat\n")
    split = prepare(config(root, {"test": "test.csv"})).splits["mine"]["test"]
    assert len(split) == 1 and np.isnan(split.labels).all()


def test_fingerprints_of_earlier_versions_stay(tmp_path: Path) -> None:
    """Trials would not be recognised any more.  These are values of an earlier version."""
    for split in ("train", "dev"):
        text = f"\tid\tone\ttwo\tlabel\n0\ta\tx {split}\ty\t1\n"
        (tmp_path / f"{split}.csv").write_text(text)
    own = config(tmp_path, {"columns": ["one", "two"], "label": "label"})
    assert fingerprint(own) == "10a28252ede0fd4e2fdcabb2"
    generated = TrainConfig.from_dict({"encoder": "tiny", "data": {"source": "synthetic"}})
    assert fingerprint(generated) == "849ef43bf30f5d6f263cc50d"


def test_several_files_and_one_file_for_all_splits_make_a_corpus(root: Path) -> None:
    (root / "more.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "is_duplicate": 1}\n')
    several = config(root, {"train": ["train.csv", "more.jsonl"]})
    alone = config(root)
    assert len(prepare(several).splits["mine"]["train"]) == 3
    assert len({fingerprint(several), fingerprint(alone)}) == 2
    before = fingerprint(several)
    (root / "more.jsonl").write_text('{"sentence1": "a", "sentence2": "c", "is_duplicate": 1}\n')
    assert fingerprint(several) != before

    lines = ["sentence1,sentence2,is_duplicate,fold", "a,b,1,train", "c,d,0,train", "e,f,1,val"]
    one = {"train": "all.csv", "dev": "all.csv", "split_column": "fold"}
    with pytest.raises(DataError) as error:
        fingerprint(config(root, one))
    assert str(error.value).count("all.csv: task mine needs this file") == 1
    (root / "all.csv").write_text("\n".join(lines) + "\n")
    splits = prepare(config(root, one)).splits["mine"]
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "dev": 1}
    tested = {**one, "test": "all.csv"}
    assert "test" not in prepare(config(root, tested)).splits["mine"]
    (root / "all.csv").write_text("\n".join([*lines, "g,h,1,extra", "i,j,1,"]) + "\n")
    assert "test" not in prepare(config(root, tested)).splits["mine"]
    (root / "all.csv").write_text("\n".join([*lines, "g,h,,test"]) + "\n")
    assert prepare(config(root, tested)).splits["mine"]["test"].column("text1") == ["g"]
    counts = stats(config(root, one))["mine"]["train"]
    assert (counts["rows"], counts["elsewhere"], counts["lines"]) == (2, 2, 5)
    (root / "all.csv").write_text("\n".join(lines[:3]) + "\n")
    with pytest.raises(DataError, match="no usable row in its dev split"):
        prepare(config(root, one))


@needs_real_data
def test_the_courses_files_load_whole(tmp_path: Path) -> None:
    tasks = ["sst", "qqp", "sts", "cfimdb"]
    data = {"root": str(REAL), "cache": str(tmp_path), "max_length": 512}
    found = stats(TrainConfig.from_dict({"tasks": tasks, "encoder": "tiny", "data": data}))
    rows = {task: (found[task]["train"]["rows"], found[task]["dev"]["rows"]) for task in tasks}
    assert rows["sst"] == (8544, 1101)
    assert rows["sts"] == (6040, 863)
    assert rows["cfimdb"] == (1707, 245)
    assert rows["qqp"][0] + sum(found["qqp"]["train"]["dropped"].values()) == 29_676
    assert set(found["sst"]["train"]["labels"]) == {"0", "1", "2", "3", "4"}
    assert found["sst"]["test"]["rows"] == 2210


@needs_real_data
def test_long_reviews_are_not_cut_at_the_length_of_sentences(tmp_path: Path) -> None:
    """At 128 tokens 87 % of cfimdb's reviews are cut."""
    shares = {}
    for length in (0, 128):
        data = {"root": str(REAL), "cache": str(tmp_path), "max_length": length}
        chosen = {"tasks": ["sst", "cfimdb"], "encoder": "tiny", "data": data}
        found = stats(TrainConfig.from_dict(chosen))
        shares[length] = {
            task: splits["train"]["noted"].get(f"cut to {limit} tokens", 0)
            / splits["train"]["rows"]
            for task, splits in found.items()
            for limit in [512 if task == "cfimdb" and not length else 128]
        }
    assert shares[128]["cfimdb"] == pytest.approx(0.87, abs=0.02)
    assert shares[0]["cfimdb"] < 0.1
    assert shares[0]["sst"] == shares[128]["sst"]


def test_a_length_by_task(root: Path) -> None:
    whole = prepare(config(root)).splits["mine"]["train"]
    cut = prepare(config(root, max_length={"mine": 8})).splits["mine"]["train"]
    assert whole.lengths.max() > 8
    assert cut.lengths.max() == 8
