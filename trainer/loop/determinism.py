"""`deterministic: true`: a GPU computes the same bits again, with slower kernels.

By default a few kernels of a GPU add numbers in the order in which its threads arrive: the
backward of attention, and every sum into rows that an index names.  torch has another form of
them, which this key chooses.  A CPU with a fixed number of threads needs no such choice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.config import ConfigError, Problem

#: cuBLAS reads it once, before its first product.  With these values it keeps no workspace that
#: streams share.
VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
VALUES = (":4096:8", ":16:8")
#: What torch raises for a kernel that has no other form.
_NO_OTHER_FORM = " does not have a deterministic implementation"


def why_not(device: torch.device) -> list[Problem]:
    """Why the device cannot be deterministic in this process; empty if it can."""
    if device.type != "cuda":
        return []
    value = os.environ.get(VARIABLE)
    if value is None and torch.cuda.is_initialized():
        message = f"this process has used the GPU without {VARIABLE}"
        return [Problem("deterministic", message, f"{VARIABLE}={VALUES[0]} at its start, or false")]
    if value is not None and value not in VALUES:
        message = f"the environment has {VARIABLE}={value}"
        return [Problem("deterministic", message, f"{', '.join(VALUES)} or no such variable")]
    return []


def settle(wanted: bool, device: torch.device) -> None:
    """Choose a GPU's kernels, before it computes anything.  It holds for the whole process."""
    if device.type != "cuda":
        return
    if wanted:
        os.environ.setdefault(VARIABLE, VALUES[0])
    torch.use_deterministic_algorithms(wanted)
    # Nothing here reads memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def naming_kernels() -> Iterator[None]:
    """Raise a `ConfigError` that names the kernel if one within has no deterministic form."""
    try:
        yield
    except RuntimeError as error:
        kernel, found, _ = str(error).partition(_NO_OTHER_FORM)
        if not found:
            raise
        message = f"{kernel} has no form on this device that gives the same bits again"
        raise ConfigError([Problem("deterministic", message, "false, or device: cpu")]) from error
