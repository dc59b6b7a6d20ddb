"""The tokenizer of a config: its encoder's, or the words of its training sets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from trainer.config import TrainConfig
from trainer.data.file_lock import make_once
from trainer.data.sources import CACHE_FORMAT, cache_folder, digest, examples_of, source_key
from trainer.model.encoder_shape import PRESETS
from trainer.model.pretrained import PACKAGED, find_checkpoint
from trainer.storage.earlier_model import earlier_model, refusal

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
#: Random presets have no vocabulary, so they get the most frequent words of the corpus.
_PRESET_VOCABULARY = 30_522


def tokenizer_of(config: TrainConfig) -> Tokenizer:
    """The encoder's tokenizer, or one of the corpus's words for a random preset.

    Raises:
        DataError: a training file is missing or cannot be used.
        EncoderError: the encoder cannot be found or read.
    """
    checkpoint = find_checkpoint(config.encoder)
    if checkpoint is not None:
        return checkpoint.tokenizer()
    path = _words_file(config)
    make_once(path, lambda: _word_tokenizer(config).to_str().encode())
    return Tokenizer.from_file(str(path))


def known_tokenizer(config: TrainConfig) -> Tokenizer | None:
    """`tokenizer_of` if it is here: nothing is downloaded, and no words are counted."""
    if config.encoder in PRESETS:
        path = _words_file(config)
        return Tokenizer.from_file(str(path)) if path.is_file() else None
    local = config.encoder in PACKAGED or Path(config.encoder).expanduser().is_dir()
    return tokenizer_of(config) if local else None


def _words_file(config: TrainConfig) -> Path:
    """Where a random preset's vocabulary is kept."""
    sources = [
        [task.identity(), source_key(config, task, "train")]
        for task in sorted(config.task_list, key=lambda task: task.name)
    ]
    return cache_folder(config) / f"words-{digest([CACHE_FORMAT, sources])}.json"


def check_vocabulary(config: TrainConfig, tokenizer: Tokenizer) -> None:
    """Check that the ids of the model to start from mean the same words.  Raises as `prepare`."""
    earlier = earlier_model(config.start_from)
    if earlier.tokenizer is not None:
        theirs = Tokenizer.from_file(str(earlier.tokenizer))
    elif earlier.config.encoder == config.encoder and config.encoder not in PRESETS:
        return
    else:
        theirs = tokenizer_of(earlier.config)
    ours = tokenizer.get_vocab()
    if (vocabulary := theirs.get_vocab()) != ours:
        raise refusal(
            f"{earlier.place}: its vocabulary has {len(vocabulary):,} tokens, and this trial's is "
            f"another one of {len(ours):,}; a random encoder's vocabulary are the words of its data"
        )


def _word_tokenizer(config: TrainConfig) -> Tokenizer:
    """The lower-case words of the training sets, the most frequent first, ties in the alphabet."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for task in config.task_list:
        examples = examples_of(config, task, "train")
        for texts in examples.texts if examples else []:
            for text in texts:
                words = splitter.pre_tokenize_str(normalizer.normalize_str(text))
                counts.update(word for word, _ in words)
    common = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = [*_SPECIAL, *common][:_PRESET_VOCABULARY]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    return tokenizer
