"""The tokenizer of a checkpoint folder, as transformers 5 builds it.

BERT's tokenizer (`BertTokenizer`) takes the vocabulary from `tokenizer.json` or `vocab.txt`.  How
it normalises a text stands in `tokenizer_config.json` alone, and a `tokenizer.json` that says
something else does not count.  A folder that declares another class is read as its `tokenizer.json`
stands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

#: Values of `tokenizer_class` that mean BERT's tokenizer.  Without one, BERT's is meant.
_BERT_CLASSES = ("", "BertTokenizer", "BertTokenizerFast")
#: BERT's special tokens, by their keys in `tokenizer_config.json`.
SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
#: Keys that list further special tokens.
_MORE_TOKENS = ("additional_special_tokens", "extra_special_tokens")


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder with `tokenizer.json` or `vocab.txt`, without padding and
    truncation.

    A special token that is written in a text stays one token.

    Raises:
        ValueError: a file is not JSON, or a setting is not what it must be.
    """
    settings_file, saved = folder / "tokenizer_config.json", folder / "tokenizer.json"
    settings = json.loads(settings_file.read_text()) if settings_file.exists() else {}
    if saved.exists():
        tokenizer = Tokenizer.from_file(str(saved))
        tokenizer.no_padding()
        tokenizer.no_truncation()
    else:
        vocabulary = models.WordPiece.read_file(str(folder / "vocab.txt"))
        unknown = _content(settings.get("unk_token", SPECIAL_TOKENS["unk_token"]))
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    if saved.exists() and (settings.get("tokenizer_class") or "") not in _BERT_CLASSES:
        return tokenizer
    tokenizer.normalizer = _normalizer(settings)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _add_special_tokens(tokenizer, settings)
    return tokenizer


def _normalizer(settings: dict[str, Any]) -> normalizers.Normalizer:
    """What `tokenizer_config.json` says about case, accents and Chinese characters.

    Without `strip_accents`, accents go where capitals go.
    """
    values = {
        "do_lower_case": settings.get("do_lower_case", True),
        "tokenize_chinese_chars": settings.get("tokenize_chinese_chars", True),
        "strip_accents": settings.get("strip_accents"),
    }
    for key, value in values.items():
        if not isinstance(value, bool) and not (key == "strip_accents" and value is None):
            raise ValueError(f"tokenizer_config.json: {key}: {value!r} is not true or false")
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=values["tokenize_chinese_chars"],
        strip_accents=values["strip_accents"],
        lowercase=values["do_lower_case"],
    )


def _add_special_tokens(tokenizer: Tokenizer, settings: dict[str, Any]) -> None:
    """Make the special tokens whole tokens of a text: the five of BERT, and declared ones.

    One of the five that the vocabulary lacks stays text.  A declared one that it lacks becomes a
    new token.
    """
    decoder = settings.get("added_tokens_decoder") or {}
    declared = [decoder[number] for number in sorted(decoder, key=int)]
    for key in _MORE_TOKENS:
        more = settings.get(key) or []
        declared += more.values() if isinstance(more, dict) else more
    for key, default in SPECIAL_TOKENS.items():
        value = settings.get(key) or default
        if tokenizer.token_to_id(_content(value)) is not None:
            declared.append(value)
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for value in declared:
        if _content(value) not in known:
            known.add(_content(value))
            tokenizer.add_tokens([_added_token(value)])


def _content(token: Any) -> str:
    """The text of a special token, which is written as text or as a mapping."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _added_token(token: Any) -> AddedToken:
    details = dict(token) if isinstance(token, dict) else {}
    flags = {
        name: bool(details[name])
        for name in ("single_word", "lstrip", "rstrip", "normalized")
        if name in details
    }
    return AddedToken(_content(token), special=bool(details.get("special", True)), **flags)
