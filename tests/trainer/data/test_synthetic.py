"""The generated corpus: reproducible, shaped like the declarations, noisy but not random."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from trainer.config.tasks import TASKS
from trainer.data import synthetic

SIZE = 300
DIGEST = (
    "import hashlib, json; from trainer.data.synthetic import generate; "
    "print(hashlib.sha256(json.dumps(generate(5, 20)).encode()).hexdigest())"
)

Corpus = dict[str, dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return synthetic.generate(0, SIZE)


def labels(corpus: Corpus, task: str, split: str = "train") -> list[Any]:
    return [row[TASKS[task].label] for row in corpus[task][split]]


def texts(corpus: Corpus, task: str, split: str) -> list[frozenset[str]]:
    return [frozenset(row[column] for column in TASKS[task].columns) for row in corpus[task][split]]


def lookup(table: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Word -> its index in a table of synonyms, the synonym's own left out."""
    return {str(word): index[:-1] for index, word in np.ndenumerate(table) if word}


def test_same_seed_gives_the_same_rows_in_another_process() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout != ""
    assert synthetic.generate(5, 20) == synthetic.generate(5, 20)


def test_another_seed_gives_other_rows(corpus: Corpus) -> None:
    other = synthetic.generate(1, SIZE)
    for task in corpus:
        for split in corpus[task]:
            shared = set(texts(corpus, task, split)) & set(texts(other, task, split))
            assert len(shared) < 0.1 * len(corpus[task][split])


def test_held_out_rows_do_not_depend_on_size(corpus: Corpus) -> None:
    small = synthetic.generate(0, 20)
    for task in corpus:
        assert small[task]["dev"] == corpus[task]["dev"]
        assert small[task]["test"] == corpus[task]["test"]


@pytest.mark.parametrize("size", [16, SIZE])
def test_sizes_keep_the_papers_proportions(size: int) -> None:
    corpus = synthetic.generate(0, size)
    counts = {task: len(corpus[task]["train"]) for task in corpus}
    sizes = {"sst": 8544, "qqp": 283_010, "sts": 6040, "cfimdb": 1707, "yelp": 2500}
    assert counts == {
        task: pytest.approx(papers / 6040 * size, rel=2e-4, abs=1) for task, papers in sizes.items()
    }
    for task in corpus:
        assert list(corpus[task]) == ["train", "dev", "test"]
        assert len(corpus[task]["dev"]) == synthetic.DEV_SIZES[task]
        assert len(corpus[task]["test"]) == synthetic.TEST_SIZE


def test_columns_are_the_declared_ones(corpus: Corpus) -> None:
    for name, splits in corpus.items():
        task = TASKS[name]
        for split, rows in splits.items():
            expected = {"id", *task.columns} | ({task.label} if split != "test" else set())
            assert all(set(row) == expected for row in rows)
            assert len({row["id"] for row in rows}) == len(rows)
            assert all(
                isinstance(row[c], str) and row[c].split() for row in rows for c in task.columns
            )


def test_labels_lie_within_the_declared_bounds(corpus: Corpus) -> None:
    for task in corpus:
        low, high = TASKS[task].label_bounds
        kind = int if TASKS[task].integer_labels else float
        for split in ("train", "dev"):
            assert all(type(x) is kind and low <= x <= high for x in labels(corpus, task, split))


def test_label_distributions_resemble_the_real_ones(corpus: Corpus) -> None:
    sentiment = Counter(labels(corpus, "sst"))
    shares = [sentiment[k] / sum(sentiment.values()) for k in range(5)]
    assert np.allclose(shares, synthetic.SST_PRIOR, atol=0.07)
    assert np.mean(labels(corpus, "qqp")) == pytest.approx(0.37, abs=0.015)
    similarity = labels(corpus, "sts")
    assert min(similarity) < 0.5 and max(similarity) > 4.5
    assert np.std(similarity) > 1.0


def test_no_text_stands_in_two_splits(corpus: Corpus) -> None:
    for task in corpus:
        train, dev, test = (set(texts(corpus, task, s)) for s in ("train", "dev", "test"))
        assert not train & dev and not train & test and not dev & test


def test_sentiment_oracle_is_good_but_not_perfect(corpus: Corpus) -> None:
    level = lookup(synthetic.LEVELS)
    hits = []
    for row in corpus["sst"]["train"]:
        words = ["", *row["sentence"].split()]
        found = [
            4 - level[word][0] if before == "not" else level[word][0]
            for before, word in zip(words, words[1:], strict=False)
            if word in level
        ]
        hits.append(round(np.mean(found)) == row["sentiment"])
    assert 0.7 < np.mean(hits) < 0.95


def content(sentence: str) -> tuple[set[Any], set[Any]]:
    """(topic, thing) and (topic, action) of a sentence."""
    things, actions = lookup(synthetic.THINGS), lookup(synthetic.ACTIONS)
    words = sentence.split()
    return {things[w] for w in words if w in things}, {actions[w] for w in words if w in actions}


def test_paraphrase_oracle_errs_by_exactly_the_noise(corpus: Corpus) -> None:
    rows = corpus["qqp"]["train"]
    hits = [
        (content(row["sentence1"]) == content(row["sentence2"])) == row["is_duplicate"]
        for row in rows[:6000]
    ]
    assert np.mean(hits) == pytest.approx(1 - synthetic.QQP_NOISE, abs=0.015)


def test_similarity_follows_content_with_noise(corpus: Corpus) -> None:
    rows = corpus["sts"]["train"]
    shared = []
    for row in rows:
        (thing1, action1), (thing2, action2) = content(row["sentence1"]), content(row["sentence2"])
        shared.append(float(thing1 == thing2) + float(action1 == action2))
    similarity = np.array([row["similarity"] for row in rows])
    assert 0.7 < np.corrcoef(shared, similarity)[0, 1] < 0.97


def test_adjectives_mean_nothing_to_pairs(corpus: Corpus) -> None:
    level = lookup(synthetic.LEVELS)

    def levels(sentence: str) -> list[int]:
        return [level[word][0] for word in sentence.split() if word in level]

    rows = corpus["qqp"]["train"]
    agree = [levels(row["sentence1"]) == levels(row["sentence2"]) for row in rows]
    assert abs(np.corrcoef(agree, [row["is_duplicate"] for row in rows])[0, 1]) < 0.05
