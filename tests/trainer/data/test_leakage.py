"""Rows that stand twice, counted as pandas would count them."""

from __future__ import annotations

import pandas
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.real_data import REAL, needs_real_data
from trainer.config import TrainConfig
from trainer.data.corpus import first_look
from trainer.data.leakage import repeated_in_task

SENTENCE = st.sampled_from(["a cat", "A cat", "a  cat", "dog", "Dog ", "ß", "SS", "x"])


def test_each_kind_is_counted_apart_and_no_sentence_is_told() -> None:
    train = (["1", "2", "2"], [["A film", "It  works"], ["b", "c"], ["d", "e"]])
    dev = (
        ["p", "q", "r", "s"],
        [["A film", "It  works"], ["IT WORKS", "a film"], ["b", "d"], ["c", "b"]],
    )
    first, second = repeated_in_task("mine", {"train": train, "dev": dev})
    assert (first.ids, first.leaked) == (1, 0)
    assert (second.ids, second.exact, second.similar) == (0, 1, 2)
    assert second.line() == (
        "mine dev: 3 of 4 rows (75.0%) are also in train: 1 exactly (p), "
        "2 but for case, spaces or order (q, s)"
    )
    assert first.line() == "mine train: 1 of 3 ids repeat (2)"


@given(
    train=st.lists(st.tuples(SENTENCE, SENTENCE), max_size=6),
    dev=st.lists(st.tuples(SENTENCE, SENTENCE), min_size=1, max_size=6),
)
@settings(max_examples=100, deadline=None)
def test_the_counts_are_those_of_a_join(
    train: list[tuple[str, str]], dev: list[tuple[str, str]]
) -> None:
    def frame(rows: list[tuple[str, str]]) -> pandas.DataFrame:
        table = pandas.DataFrame(rows, columns=["a", "b"], dtype=object)
        for side in ("a", "b"):
            table[f"{side}_"] = [" ".join(text.casefold().split()) for text in table[side]]
        table["key"] = [frozenset(each) for each in zip(table["a_"], table["b_"], strict=True)]
        return table

    ours, theirs = frame(train), frame(dev)
    exact = theirs.merge(ours[["a", "b"]].drop_duplicates(), on=["a", "b"])
    similar = theirs["key"].isin(set(ours["key"]))
    found = repeated_in_task(
        "t",
        {
            "train": ([str(n) for n in range(len(train))], train),
            "dev": ([str(n) for n in range(len(dev))], dev),
        },
    )[1]
    assert (found.exact, found.leaked) == (len(exact), int(similar.sum()))


@needs_real_data
def test_the_course_s_own_files_repeat_what_pandas_finds() -> None:
    config = TrainConfig.from_dict({"tasks": ["sst"], "data": {"root": str(REAL)}})
    splits = {s: (e.ids, e.texts) for _, s, e, _ in first_look(config)}
    by_split = {each.split: each for each in repeated_in_task("sst", splits)}
    read = {
        split: pandas.read_csv(REAL / f"ids-sst-{split}.csv", sep="\t")["sentence"].str.strip()
        for split in ("train", "dev")
    }
    assert by_split["dev"].exact == int(read["dev"].isin(set(read["train"])).sum())
