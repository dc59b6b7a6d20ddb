"""A trained model as a folder that `transformers` opens, with its heads beside.

The encoder is a plain `BertModel`.  The heads have no class there, so they are tensors, a
description of what they compute, and a README with an example.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from tokenizers import Tokenizer, processors

from orchestrator.export.model_readme import readme
from trainer.config.choices import PAIR_MODES
from trainer.config.tasks import Task
from trainer.inference import Model
from trainer.loop.build import head_of
from trainer.model.encoder import to_hugging_face_names
from trainer.model.heads import RELATED
from trainer.model.wordpiece import SPECIAL_TOKENS
from trainer.printable import json_text
from trainer.storage.local_folder import write_whole

_ENCODER = "encoder."


def model_files(model: Model, sweep: str) -> dict[str, bytes]:
    """The files of the folder by their names.

    Args:
        sweep: the name of the sweep, for the README.
    """
    config, shape, weights = model.config, model.description.shape, model.weights()
    encoder = {k.removeprefix(_ENCODER): t for k, t in weights.items() if k.startswith(_ENCODER)}
    heads = {name: t.contiguous() for name, t in weights.items() if not name.startswith(_ENCODER)}
    bert = {
        "architectures": ["BertModel"],
        **shape.to_hugging_face(),
        "hidden_dropout_prob": config.encoder_dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "pad_token_id": model.tokenizer.token_to_id(SPECIAL_TOKENS["pad_token"]) or 0,
        "dtype": "float32",
    }
    described = describe_heads(model, sweep)
    return {
        "config.json": _json(bert),
        "model.safetensors": save(to_hugging_face_names(encoder, shape.layers), {"format": "pt"}),
        **_tokenizer_files(model.tokenizer, shape.positions),
        "heads.safetensors": save(heads, {"format": "pt"}),
        "heads.json": _json(described),
        "README.md": readme(described).encode(),
    }


#: Names of all files that `model_files` gives.
FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
    "heads.safetensors", "heads.json", "README.md",
)  # fmt: skip


def write_model(files: dict[str, bytes], folder: Path) -> None:
    """Write the files into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(folder / name, content)


def describe_heads(model: Model, sweep: str) -> dict[str, Any]:
    """heads.json: where the model comes from, and for each task how its head computes."""
    about, config = model.description, model.config
    return {
        "sweep": sweep,
        "trial_id": about.trial_id,
        "epoch": about.epoch,
        "precision": about.precision,
        "shared_layer": config.shared_layer,
        "tasks": {name: _described_head(model, task) for name, task in model.tasks.items()},
    }


def _described_head(model: Model, task: Task) -> dict[str, Any]:
    config, head = model.config, head_of(model.config, task)
    pair = {}
    if task.is_pair:
        mode = PAIR_MODES[config.pair_of(task.name)]
        pair = {
            "pair": mode.name,
            "layout": mode.layout,
            "token_type_1": mode.marks_second,
            "positions_restart": mode.restarts_positions,
        }
        pair |= {"features": head.features} if head.vectors == 2 else {}
    labels: dict[str, Any] = {"label_range": list(task.label_range)}
    if task.integer_labels:
        labels = {"classes": list(task.class_names)}
    return {
        "head": head.head,
        "pooling": head.pooling,
        "vectors": head.vectors,
        **pair,
        "relational_layer": config.relational_layer and task.name in RELATED,
        "max_length": config.max_length_of(task),
        "loss": task.loss,
        "metric": task.metric,
        "outputs": task.outputs,
        **labels,
    }


def _tokenizer_files(tokenizer: Tokenizer, positions: int) -> dict[str, bytes]:
    """The tokenizer as transformers' `BertTokenizer` reads it, or as it stands if it is another."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    saved = json.loads(copy.to_str())
    normalizer = saved["normalizer"] or {}
    bert = normalizer.get("type") == "BertNormalizer"
    opening, closing = ((t, copy.token_to_id(t)) for t in ("[CLS]", "[SEP]"))
    copy.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[opening, closing],
    )
    settings = {
        "tokenizer_class": "BertTokenizer" if bert else "PreTrainedTokenizerFast",
        "model_max_length": positions,
        **{key: t for key, t in SPECIAL_TOKENS.items() if copy.token_to_id(t) is not None},
    }
    if bert:
        settings |= {
            "do_lower_case": normalizer["lowercase"],
            "strip_accents": normalizer["strip_accents"],
            "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
        }
    vocabulary = copy.get_vocab(with_added_tokens=False)
    words = sorted(vocabulary, key=lambda word: vocabulary[word])
    return {
        "tokenizer.json": copy.to_str(pretty=True).encode(),
        "tokenizer_config.json": _json(settings),
        "vocab.txt": "".join(f"{word}\n" for word in words).encode(),
    }


def _json(value: Any) -> bytes:
    return f"{json_text(value, indent=1)}\n".encode()
