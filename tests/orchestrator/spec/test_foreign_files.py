"""A sweep file may come from anybody: every failure is one clear error, in bounded time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.spec import load_spec
from orchestrator.spec.yaml_lines import dump, read
from trainer.config import ConfigError

GOOD = """\
name: a
base: {epochs: 2, sampler: arrp, data: {source: synthetic}}
search: {num_trials: 2, algorithm: random}
space: {B: {choices: [100, 200]}}
profiles: {small: {base: {epochs: 1}}}
"""
_MULTIPLYING = "a0: &a0 [" + ", ".join("x" * 9) + "]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)  # fmt: skip
#: What is added to the file -> what the message says.
ADDED = {
    "question: \x07": "6: the character U+0007 is not allowed",
    'question: "\\ud800"': "6: the character U+D800 is not allowed",
    '"\\udfff": 1': "6: the character U+DFFF is not allowed",
    "a: !!int x": "6: 'x' is not a whole number",
    "a: !!bool maybe": "6: 'maybe' is not true or false",
    "a: !!timestamp 2001-99-99": "6: the tag !!timestamp is not allowed; allowed: !!null",
    "a: !!set {b}": "6: the tag !!set is not allowed",
    "a: !!seq {b: c}": "6: the tag !!seq is not allowed",
    "a: " + "1" * 5_000: "6: a whole number beyond 9,223,372,036,854,775,807",
    "a: -" + "1" * 400: "6: a whole number beyond",
    "a: 0x" + "f" * 20: "6: a whole number beyond",
    "a: " + "[" * 3_000: "6: more than 50 lists and mappings within each other",
    "a: " + "{b: " * 3_000: "6: more than 50 lists and mappings within each other",
    "1: {b: 2}": "6: 1: unknown key",
    "null: {b: 2}": "6: a key must be text",
    "<<: 3": "6: << must be followed by a mapping",
    "profiles: {other: {x: {y: 1}}}": "6: profiles: appears twice (first in line 5)",
    _MULTIPLYING: "more than 50,000 keys and values, counted again for each alias to them",
    "".join(f"k{n}: 1\n" for n in range(90_000)): "more than 50,000 keys and values",
    "".join(f"k{n}: 1\n" for n in range(2_000)): "a mapping with more than 1,000 keys",
    "#" * 1_000_000: "is longer than 1,000,000 characters",
    "question: " + "x" * 20_001: "6: question: is 20,001 characters long; allowed: at most 2,000",
}
#: What replaces a part of the file, and what the message says.
REPLACED = {
    ("{small:", "{1: {a: {b: 2}}, null: 3, small:"): "5: a key must be text",
    ("random}", f"grid, seeds: [{', '.join(map(str, range(9_000)))}]}}"): (
        "3: search.seeds: has 9,000 entries; allowed: at most 1,000"
    ),
    ("num_trials: 2", "num_trials: 1000000000000"): (
        "3: search.num_trials: 1000000000000 is outside its range; allowed: value <= 100000"
    ),
    ("B: {choices: [100, 200]}", "lambda: {low: 0.0, high: 1.0, step: 1.0e-12}"): (
        "4: space.lambda: step 1e-12 makes more than 100,000 steps"
    ),
    ("B: {choices: [100, 200]}", "B: {low: 1, high: 1000000000000, step: 1}"): (
        "4: space.B: step 1 makes more than 100,000 steps"
    ),
    ("choices: [100, 200]", f"choices: [{', '.join(map(str, range(1, 9_000)))}]"): (
        "4: space.B.choices: has 8,999 entries; allowed: at most 1,000"
    ),
    ("epochs: 2", "learning_rate: " + "9" * 400 + ".0"): "2: base.learning_rate: inf is outside",
}


def message(tmp_path: Path, text: str, *overrides: str, profile: str | None = None) -> str:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    begun = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load_spec(str(file), profile, overrides)
    assert time.monotonic() - begun < 30  # seconds where it is wrong, on a busy machine
    return str(caught.value).replace(str(file), "s.yaml")


@pytest.mark.parametrize("profile", [None, "small"])
@pytest.mark.parametrize("added", ADDED, ids=lambda text: ascii(text[:20]))
def test_what_is_added_is_one_clear_error(added: str, profile: str | None, tmp_path: Path) -> None:
    found = message(tmp_path, GOOD + added, profile=profile)
    assert ADDED[added] in found and found.startswith("s.yaml")
    assert len(found.splitlines()) == 1 and len(found) < 1_000


@pytest.mark.parametrize("change", REPLACED, ids=lambda change: change[1][:20])
def test_a_number_beyond_reason_is_one_clear_error(change: tuple[str, str], tmp_path: Path) -> None:
    assert GOOD.count(change[0]) == 1
    found = message(tmp_path, GOOD.replace(*change))
    assert f"s.yaml:{REPLACED[change]}" in found and len(found.splitlines()) == 1


def test_keys_are_text_as_they_are_written(tmp_path: Path) -> None:
    text = GOOD.replace("small:", "1: {base: {epochs: 3}}, small:")
    (tmp_path / "s.yaml").write_text(text)
    assert load_spec(str(tmp_path / "s.yaml"), "1").base["epochs"] == 3


def test_a_range_of_layers_is_read_as_fast_however_far_it_goes(tmp_path: Path) -> None:
    from trainer.model.freezing import FreezeError, frozen_segments

    segments = ["embeddings", "layers.0", "layers.1", "pooler"]
    with pytest.raises(FreezeError, match="names layers.9999999999999, which this model lacks"):
        frozen_segments("layers:1-9999999999999", segments)
    assert frozen_segments("layers:0-1", segments) == {"layers.0", "layers.1"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("base.epochs=" + "9" * 5_000, "a whole number beyond"),
        ("question=" + "[" * 3_000, "more than 50 lists"),
        (".".join("a" * 30_000) + "=1", "not of the form key=value"),
        ("base.seed=\x07", "the character U+0007 is not allowed"),
        ("name=20241128", "quote it twice: --set 'name=\"20241128\"'"),
    ],
    ids=lambda text: ascii(text[:16]),
)
def test_a_hostile_set_is_one_short_error(override: str, said: str, tmp_path: Path) -> None:
    found = message(tmp_path, GOOD, override)
    assert found.startswith("--set: ") and said in found and len(found) < 400


def test_a_hundred_mistakes_are_counted_and_not_all_listed(tmp_path: Path) -> None:
    found = message(tmp_path, GOOD + "".join(f"k{n}: 1\n" for n in range(100)))
    assert len(found.splitlines()) == 51 and found.endswith("and 50 more mistakes")


def test_thousands_of_mistakes_take_no_longer_than_some(tmp_path: Path) -> None:
    entries = "".join(f"- {{k{n}: 1}}\n" for n in range(4_000))
    before = time.process_time()
    found = message(tmp_path, f"{GOOD}enqueue:\n{entries}")
    assert found.endswith("and at least 150 more mistakes") and len(found.splitlines()) == 51
    assert time.process_time() - before < 10  # without the limit a minute


_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.from_regex(r"[-+]?[0-9_.]*([eE][-+]?[0-9]*)?", fullmatch=True),
    st.sampled_from(["1e5", "08", "1.e5", "\x85", "a\x85b", "no", "~", "<<", "=", "0x1f", "1:30"]),
)
_SCALARS = st.one_of(
    _TEXTS,
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.integers(-(2**63) + 1, 2**63 - 1),
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4)
)


@settings(deadline=None)
@given(_VALUES)
def test_what_is_written_is_read_as_the_same_values(value: object) -> None:
    written = dump({"a": value})
    assert read(written).value == {"a": value}
    # Other programs, which read YAML 1.1, find the same texts.
    found = yaml.safe_load(written)["a"]
    assert not isinstance(value, str) or found == value
