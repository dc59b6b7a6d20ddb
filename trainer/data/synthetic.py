"""The generated corpus of the embedded profile: a small grammar, three tasks, known noise.

With it a whole sweep runs in minutes, without a download, and still asks a real question: the tasks
share words and an encoder, but need different things from them.

**Grammar.**  There are three topics (money, travel, devices), each with three things and two
actions.  Every thing and every action has two synonyms, so the same content often comes in other
words.  Around them are adjectives of five levels (awful to superb), places, and connectives of two
kinds: repeating (`again`, `still`, `really`) and contrasting (`instead`, `rather`, `otherwise`).

- `sst`: "dull loan was not superb and poor again".  The label is drawn first, with the skewed
  prior of the real corpus.  Three adjectives scatter around it, and "not" reverses a level.
- `qqp`: two questions, "how pay dull loan" and "can settle superb credit again".  They are
  duplicates if topic, thing and action agree.  Others differ in topic (easy), only in thing, or
  only in action.
- `sts`: two statements, "pay dull loan abroad".  The similarity grows with the same topic, action
  and thing, and by a point with the same place.

**Conflict.**  Adjectives decide `sst`.  In the pairs they mean nothing, because each sentence draws
its own.  A repeating connective suggests the same question in `qqp`, but another event in `sts`
(less similar).  A contrasting one does the reverse, and in `sst` both mean nothing.  The frequent
topics are opposite too: shared questions of `qqp` are often about money, shared statements of `sts`
about devices.

**Difficulty.**  Connectives and frequent topics are weak cues, which a few hundred pairs teach.
Whether topics agree takes thousands of pairs, and synonyms take more.  So more `qqp` data helps
`qqp`, and a trial that spends its steps on it neglects the other tasks.

**Noise.**  `sst`: the adjectives scatter, and `SST_NOISE` of the labels are drawn again from the
prior.  `qqp`: `QQP_NOISE` of the labels are flipped.  `sts`: Gaussian noise of `STS_NOISE` points,
cut to 0..5.  Dev sets have the same noise, so no model reaches 1.0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Part of the data's fingerprint.  Raise it whenever `generate` returns something else.
VERSION = 2

#: Training examples relative to the smallest task (`sts`): the papers' sizes divided by 6040.
PROPORTIONS = {"sst": 1.4145, "qqp": 46.86, "sts": 1.0, "cfimdb": 0.2826, "yelp": 0.4139}
#: These sizes do not grow with the corpus.  Metrics are stable to about two points, and take little
#: time.
DEV_SIZES = {"sst": 400, "qqp": 600, "sts": 400, "cfimdb": 200, "yelp": 100}
TEST_SIZE = 100

SST_PRIOR = (0.13, 0.26, 0.19, 0.27, 0.15)
SST_SCATTER = 0.6
SST_NEGATED = 0.15
SST_NOISE = 0.1
QQP_NOISE = 0.06
STS_NOISE = 0.6

#: Shares of pairs that differ in topic, only in thing, only in action, and in none.  With QQP_NOISE
#: flipped, 37 % of `qqp` are positive, as in the real corpus.
OTHER_TOPIC, OTHER_THING, OTHER_ACTION, SAME = range(4)
QQP_KINDS = (0.43, 0.14, 0.078, 0.352)
STS_KINDS = (0.4, 0.2, 0.1, 0.3)
STS_POINTS = np.array([0.2, 2.4, 3.0, 4.0])
STS_PLACE_POINTS = 1.0
#: Probabilities of a connective of the likelier kind and of the other; otherwise there is none.
QQP_CUES = (0.5, 0.15)
STS_CUES = (0.6, 0.15)
#: How likely each topic is if the pair shares it.  If it does not, the order is reversed.
QQP_LEAN = (0.6, 0.3, 0.1)
STS_LEAN = (0.15, 0.3, 0.55)
#: Below so many points the connective treats the second statement as another event.
STS_CUE_BELOW = 2.5

_THINGS = (
    ("loan credit", "salary wage", "tax duty"),
    ("flight plane", "hotel hostel", "visa permit"),
    ("laptop computer", "phone mobile", "website page"),
)
_ACTIONS = (
    ("pay settle", "raise increase"),
    ("book reserve", "cancel drop"),
    ("repair fix", "install update"),
)
_LEVELS = (
    "awful horrible dreadful terrible",
    "dull poor weak clumsy",
    "plain usual common average",
    "nice pleasant decent solid",
    "superb brilliant perfect wonderful",
)
_PLACES = "home abroad online downtown"
_REPEATS = "again still really"
_CONTRASTS = "instead rather otherwise"
_OPENERS = "how should can why"

_Words = NDArray[np.str_]
_Ints = NDArray[np.int64]
_Slot = _Words | str


def _table(rows: Iterable[str]) -> _Words:
    return np.array([row.split() for row in rows])


#: Words by (topic, thing, synonym), (topic, action, synonym) and (level, synonym).
THINGS = np.array([_table(rows) for rows in _THINGS])
ACTIONS = np.array([_table(rows) for rows in _ACTIONS])
LEVELS = _table(_LEVELS)
PLACES = np.array(_PLACES.split())
#: Connectives by kind (0 repeats, 1 contrasts, 2 none) and word.
CUES = np.array([_REPEATS.split(), _CONTRASTS.split(), ["", "", ""]])
OPENERS = np.array(_OPENERS.split())

Row = dict[str, object]


def generate(seed: int, size: int) -> dict[str, dict[str, list[Row]]]:
    """Task -> split -> rows, with `size` training examples of `sts`, the smallest task.

    Every split has its own random stream.  So the same seed gives the same rows in any process, and
    dev and test stay the same when `size` changes.  No sentence of `sst` and no pair (in either
    order) is in two splits.
    """
    corpus: dict[str, dict[str, list[Row]]] = {}
    for number, (task, draw) in enumerate(_DRAWS.items()):
        held_out: set[frozenset[object]] = set()
        splits: dict[str, list[Row]] = {}
        # The small splits come first, and the large one leaves out what they contain.
        for split, name in enumerate(("test", "dev", "train")):
            rng = np.random.Generator(np.random.PCG64([seed, number, split]))
            count = _size(task, name, size)
            splits[name] = _fill(rng, draw, count, held_out, f"{task}-{name}")
            if name != "train":
                held_out.update(_texts(row) for row in splits[name])
        for row in splits["test"]:
            del row[_LABELS[task]]
        corpus[task] = {name: splits[name] for name in ("train", "dev", "test")}
    return corpus


def _size(task: str, split: str, size: int) -> int:
    if split == "train":
        return round(PROPORTIONS[task] * size)
    return DEV_SIZES[task] if split == "dev" else TEST_SIZE


def _texts(row: Row) -> frozenset[object]:
    return frozenset(row[key] for key in row if key.startswith("sentence"))


def _fill(
    rng: np.random.Generator,
    draw: Callable[[np.random.Generator, int], list[Row]],
    count: int,
    held_out: set[frozenset[object]],
    prefix: str,
) -> list[Row]:
    """Draw `count` rows that no earlier split contains."""
    rows: list[Row] = []
    while len(rows) < count:
        drawn = draw(rng, count - len(rows))
        rows += [row for row in drawn if _texts(row) not in held_out] if held_out else drawn
    return [{"id": f"{prefix}-{i}", **row} for i, row in enumerate(rows)]


def _review(rng: np.random.Generator, label: _Ints) -> list[str]:
    """One sentence for every label 0 to 4."""
    n = len(label)
    adjectives = []
    for _ in range(3):
        level = np.clip(np.rint(rng.normal(label, SST_SCATTER)), 0, 4).astype(np.int64)
        negated = rng.random(n) < SST_NEGATED
        words = _pick(rng, LEVELS, np.where(negated, 4 - level, level))
        adjectives.append((np.where(negated, "not", ""), words))
    thing = _pick(rng, THINGS, *(rng.integers(k, size=n) for k in THINGS.shape[:2]))
    cue = _pick(rng, CUES, rng.integers(3, size=n))
    one, two, three = adjectives
    return _join(*one, thing, "was", *two, "and", *three, cue)


def _sst(rng: np.random.Generator, n: int) -> list[Row]:
    label = rng.choice(5, n, p=SST_PRIOR)
    text = _review(rng, label)
    drawn_anew = rng.random(n) < SST_NOISE
    label = np.where(drawn_anew, rng.choice(5, n, p=SST_PRIOR), label)
    return _labelled(text, label)


def _yelp(rng: np.random.Generator, n: int) -> list[Row]:
    """Labels in equal shares.  Words and label agree a little less than in `sst`."""
    label = np.arange(n) % 5
    text = _review(rng, np.clip(label + rng.integers(-1, 2, n) * (rng.random(n) < 0.3), 0, 4))
    return _labelled(text, label)


def _cfimdb(rng: np.random.Generator, n: int) -> list[Row]:
    """Long reviews: six sentences whose levels scatter around the label."""
    label = rng.integers(2, size=n)
    levels = (np.clip(3 * label + rng.integers(-1, 3, n), 0, 4) for _ in range(6))
    return _labelled(_join(*(np.array(_review(rng, level)) for level in levels)), label)


def _labelled(text: list[str], label: _Ints) -> list[Row]:
    return [
        {"sentence": sentence, "sentiment": sentiment}
        for sentence, sentiment in zip(text, label.tolist(), strict=True)
    ]


def _qqp(rng: np.random.Generator, n: int) -> list[Row]:
    kind = rng.choice(4, n, p=QQP_KINDS)
    same = kind == SAME
    first, second = _events(rng, kind, QQP_LEAN)
    openers = OPENERS[rng.integers(len(OPENERS), size=(2, n))]
    cue = _cue(rng, same, QQP_CUES)
    label = same ^ (rng.random(n) < QQP_NOISE)
    return _pairs(
        _join(openers[0], *first),
        _join(openers[1], *second, cue),
        "is_duplicate",
        label.astype(np.int64).tolist(),
    )


def _sts(rng: np.random.Generator, n: int) -> list[Row]:
    kind = rng.choice(4, n, p=STS_KINDS)
    first, second = _events(rng, kind, STS_LEAN)
    place = rng.integers(len(PLACES), size=n)
    moved = rng.random(n) < 0.5
    other = (place + moved * rng.integers(1, len(PLACES), size=n)) % len(PLACES)
    points = STS_POINTS[kind] + STS_PLACE_POINTS * ~moved
    cue = _cue(rng, points < STS_CUE_BELOW, STS_CUES)
    points = np.clip(points + rng.normal(0, STS_NOISE, n), 0, 5).round(1)
    return _pairs(
        _join(*first, PLACES[place]),
        _join(*second, PLACES[other], cue),
        "similarity",
        points.tolist(),
    )


def _events(
    rng: np.random.Generator, kind: _Ints, lean: tuple[float, ...]
) -> tuple[tuple[_Words, ...], tuple[_Words, ...]]:
    """Action, adjective and thing of both sentences.  Each sentence draws its own synonyms."""
    n = len(kind)
    topics, things, actions = len(THINGS), THINGS.shape[1], ACTIONS.shape[1]
    topic = rng.choice(topics, n, p=lean)
    topic = np.where(kind == OTHER_TOPIC, topics - 1 - topic, topic)
    thing, action = rng.integers(things, size=n), rng.integers(actions, size=n)

    def unless(same: NDArray[np.bool_], value: _Ints, choices: int) -> _Ints:
        return np.where(same, value, (value + rng.integers(1, choices, n)) % choices)

    second = (
        unless(kind != OTHER_TOPIC, topic, topics),
        unless(kind != OTHER_THING, thing, things),
        unless(kind != OTHER_ACTION, action, actions),
    )

    def words(topic: _Ints, thing: _Ints, action: _Ints) -> tuple[_Words, ...]:
        adjective = _pick(rng, LEVELS, rng.integers(5, size=n))
        return _pick(rng, ACTIONS, topic, action), adjective, _pick(rng, THINGS, topic, thing)

    return words(topic, thing, action), words(*second)


def _cue(
    rng: np.random.Generator, repeats: NDArray[np.bool_], chances: tuple[float, float]
) -> _Words:
    """Connectives: a repeating one has the first probability where `repeats`, else the second."""
    likely, unlikely = chances
    at = rng.random(len(repeats))
    kind = np.where(at < likely, ~repeats, np.where(at < likely + unlikely, repeats, 2))
    return _pick(rng, CUES, kind)


def _pick(rng: np.random.Generator, table: _Words, *index: _Ints) -> _Words:
    """One of the synonyms (last axis of `table`) for every index."""
    words: _Words = table[(*index, rng.integers(table.shape[-1], size=len(index[0])))]
    return words


def _join(*slots: _Slot) -> list[str]:
    """Sentences from columns of words.  A single word repeats, and empty words leave no gap."""
    columns = [itertools.repeat(slot) if isinstance(slot, str) else slot.tolist() for slot in slots]
    return [" ".join(filter(None, words)) for words in zip(*columns, strict=False)]


def _pairs(first: list[str], second: list[str], key: str, labels: list[Any]) -> list[Row]:
    return [
        {"sentence1": a, "sentence2": b, key: label}
        for a, b, label in zip(first, second, labels, strict=True)
    ]


_DRAWS = {"sst": _sst, "qqp": _qqp, "sts": _sts, "cfimdb": _cfimdb, "yelp": _yelp}
_LABELS = {
    "sst": "sentiment",
    "qqp": "is_duplicate",
    "sts": "similarity",
    "cfimdb": "sentiment",
    "yelp": "sentiment",
}
