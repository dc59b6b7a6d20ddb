"""A file of tensors (safetensors), which anybody may have written, and a model that takes it."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from trainer.storage.folder import StoreError

#: Bytes of the header at most: it names each tensor with its shape, about 100 bytes.
_MAX_HEADER = 8 * 2**20


def tensors(content: bytes, where: str) -> dict[str, Tensor]:
    """Name -> tensor, on the CPU.  Raises `StoreError`; `where` names the file in it."""
    if int.from_bytes(content[:8], "little") > min(_MAX_HEADER, len(content)):
        raise StoreError(f"{where}: is no safetensors file: its header is too long")
    try:
        return dict(load(content))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(f"{where}: is no safetensors file: {_first_line(error)}") from error


def load_into(model: nn.Module, content: bytes, where: str) -> None:
    """Give a model its weights.  Raises `StoreError` if they are not the weights of this model."""
    try:
        model.load_state_dict(tensors(content, where))
    except RuntimeError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{where}: does not fit the model: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
