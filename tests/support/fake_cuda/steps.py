"""Runs the training steps of trials on the fake device, in a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.fake_cuda.changed_source import put_back


def preload(library: Path) -> None:
    """Load the device before torch, which looks for its guard and hooks only once."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.submodule_search_locations
    libraries = Path(spec.submodule_search_locations[0]) / "lib"
    names = ("libtorch_global_deps.so", "libc10.so", "libtorch_cpu.so")
    for path in (*(libraries / name for name in names), library):
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


if __name__ == "__main__":
    preload(Path(sys.argv[1]))
    if (_FAULT := Path(sys.argv[2]) / "fault.json").exists():
        put_back(**json.loads(_FAULT.read_text()))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils._python_dispatch import (  # noqa: E402
    TorchDispatchMode,
    _disable_current_modes,
    _get_current_dispatch_mode_stack,
)
from torch.utils._pytree import tree_leaves  # noqa: E402

from orchestrator.preflight.probe_steps import ProbeRun  # noqa: E402
from tests.support.small import small_config  # noqa: E402
from trainer.combiners.base import Combiner  # noqa: E402
from trainer.data.corpus import prepare  # noqa: E402
from trainer.loop import cuda_graphs, determinism  # noqa: E402
from trainer.loop.epoch_metrics import EpochMetrics  # noqa: E402
from trainer.loop.run import Run  # noqa: E402
from trainer.model import pretrained, products  # noqa: E402
from trainer.model.attention import kernels  # noqa: E402

ALL_KERNELS = kernels.KERNELS
#: torch has no shape-only kernels for these, which change their arguments and return nothing.
_LIBRARY = torch.library.Library("aten", "IMPL")
for _name in ("_fused_adamw_", "_fused_adamw_.tensor_lr"):
    _LIBRARY.impl(_name, lambda *_, **__: None, "Meta")

#: Operators that run nothing on the device: they make views, or describe a tensor.
VIEWS = {
    "alias", "as_strided", "detach", "device", "diagonal", "expand", "narrow", "permute", "select",
    "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze",
    "view", "_unsafe_view", "is_pinned", "empty", "new_empty", "empty_like", "empty_strided",
    "new_empty_strided", "lift_fresh", "_reshape_alias", "unfold", "real",
}  # fmt: skip
#: Products, whose factors must have one type: torch's shape-only kernels do not ask.
PRODUCTS = {"mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_", "mv", "addmv", "dot"}
#: Operators for which the host waits until the device has a number.
WAITS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "is_nonzero"}


class Stream:
    """A stream, an event or a graph that does nothing."""

    def __init__(self, *_: Any, **__: Any):
        self.cuda_stream = 0

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_stream(self, _: Any) -> None:
        pass

    record_event = wait_event = synchronize = wait_stream


def install(capability: tuple[int, int]) -> None:
    """Answer for the device wherever torch or the trainer asks about it."""
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_capability": lambda device=None: capability,
        "get_device_name": lambda device=None: "a device without memory",
        "is_bf16_supported": lambda including_emulation=True: capability >= (8, 0),
        "synchronize": lambda device=None: None,
        "current_stream": lambda device=None: Stream(),
        "stream": lambda stream: contextlib.nullcontext(),
        "graph_pool_handle": lambda: (0, 0),
        "is_current_stream_capturing": lambda: False,
        "reset_peak_memory_stats": lambda device=None: None,
        "max_memory_allocated": lambda device=None: 0,
        "manual_seed_all": lambda seed: None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    torch.cuda.Stream = Stream  # type: ignore[misc, assignment]
    torch.tensor = _tensor(torch.tensor)  # type: ignore[assignment]
    torch.from_numpy = _real(torch.from_numpy)  # type: ignore[assignment]
    pretrained.load_file = _real(pretrained.load_file)  # type: ignore[assignment]
    Tensor.pin_memory = _pinned  # type: ignore[method-assign]
    nn.Module._apply = _apply  # type: ignore[method-assign]
    # Numbers are needed to compare kernels and products.  Those tests run where there is a GPU.
    kernels.disagreement = lambda *_: ""
    kernels.kernel_for.cache_clear()
    products.disagreement = lambda *_: ""
    products.product_for.cache_clear()
    cuda_graphs._CudaCapture = _Replayed  # type: ignore[misc, assignment]


def _real(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, whose result keeps its numbers: the host computes with them."""

    def made(*arguments: Any, **kwargs: Any) -> Tensor:
        with _disable_current_modes():
            return make(*arguments, **kwargs)

    return made


def _tensor(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.tensor`, which makes numbers on the host and then copies them."""
    on_host = _real(make)

    def made(data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        if device is None:
            return make(data, **kwargs)
        tensor = on_host(data, **kwargs)
        if any(isinstance(mode, Watched) for mode in _get_current_dispatch_mode_stack()):
            return tensor.to(device)
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)

    return made


def _pinned(tensor: Tensor, *_: Any) -> Tensor:
    with _disable_current_modes():
        copy = tensor.clone()
    copy.is_pinned_here = True  # type: ignore[attr-defined]
    return copy


def _apply(
    module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True
) -> nn.Module:
    """`Module._apply` with new parameters: a fake one cannot take another device in place."""
    for child in module.children():
        child._apply(change)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            changed = change(parameter.detach())
            module._parameters[name] = nn.Parameter(changed, parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = change(buffer)
    return module


def _moved(source: Tensor, dtype: torch.dtype, target: torch.device) -> Tensor:
    """A copy on the other device.  The host computes with its copy: it gets a matrix's diagonal."""
    if target.type == "cuda" or source.device.type == "cpu":
        return torch.empty(source.shape, dtype=dtype, device=target)
    with _disable_current_modes():
        if source.dim() == 2 and source.shape[0] == source.shape[1]:
            return torch.eye(len(source), dtype=dtype)
        return torch.zeros(source.shape, dtype=dtype)


def _on_host(combiner: Combiner) -> Combiner:
    """The combiner; what it solves on the host it solves with real numbers."""

    def weights(gramian: Tensor, *others: Any) -> Tensor:
        copied = gramian.cpu()  # a wait, if it lies on the device
        with _disable_current_modes():
            solvable = torch.eye(len(gramian)) if gramian.device.type == "cpu" else copied
            return combiner.weights(solvable, *others)

    return replace(combiner, weights=weights) if combiner.project is None else combiner


def _check_types(name: str, args: tuple[Any, ...]) -> None:
    """Raise what a GPU raises if a product mixes types; one may ask for another result's type."""
    tensors = [each for each in args if isinstance(each, Tensor)]
    if any(isinstance(each, torch.dtype) for each in args):
        tensors = tensors[-2:]
    if len(types := {str(each.dtype) for each in tensors}) > 1:
        raise RuntimeError(f"{name}: factors of one dtype are needed, not {sorted(types)}")


class _Replayed:
    """A capture that runs the function at every replay."""

    def __call__(self, function: Any, inputs: Any) -> Callable[[], Any]:
        return lambda: function(inputs)


class Watched(TorchDispatchMode):
    """Counts the operators of a step, and finds where it waits and what it copies."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        #: Of the tensors that each operator reads or writes; one that it does both to counts once.
        self.bytes = 0
        #: Copies from the host that it does not wait for.
        self.sent = 0
        #: Copies and operators for which the host waits, with the place in the trainer.
        self.waits: list[str] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = operator._schema.name.partition("::")[2]
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if name in PRODUCTS:
            _check_types(name, args)
        result = self._copied(name, args, kwargs)
        if result is None:
            result = operator(*args, **kwargs)
        made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        if any(each.device.type == "cuda" for each in (*tensors, *made)):
            if name in WAITS:
                self._found(name)
            if name not in VIEWS:
                self.operators[name] += 1
                named = {id(each): each for each in (*tensors, *made)}.values()
                self.bytes += sum(each.nbytes for each in named if each.device.type == "cuda")
        return result

    def _copied(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """The result of a copy between host and device; None for any other operator."""
        if name == "_to_copy" and (device := kwargs.get("device")) is not None:
            source, target = args[0], torch.device(device)
            result = _moved(source, kwargs.get("dtype") or source.dtype, target)
            waits = not kwargs.get("non_blocking")
        elif name == "copy_":
            result, source = args[:2]
            target, waits = result.device, not (len(args) > 2 and args[2])
        else:
            return None
        if source.device.type == target.type:
            return None
        if target.type == "cuda" and getattr(source, "is_pinned_here", False) and not waits:
            self.sent += 1
        else:
            self._found(f"{name} from {source.device.type} {tuple(source.shape)}")
        return result

    def _found(self, what: str) -> None:
        here = [f for f in traceback.extract_stack() if "/trainer/" in f.filename]
        place = f"{here[-1].filename.rpartition('/trainer/')[2]}:{here[-1].name}" if here else "?"
        self.waits.append(f"{what} in {place}")


def take_steps(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Take the first steps of a trial; returns what they did, or `error`."""
    install(tuple(request["capability"]))  # type: ignore[arg-type]
    try:
        kernels.KERNELS = ALL_KERNELS[-1:] if request.get("grids") else ALL_KERNELS
        config = small_config(folder / "cache", **{"device": "cuda", **request["config"]})
        with FakeTensorMode(allow_non_fake_inputs=True):
            corpus = prepare(config)
            run = Run(config, corpus, request.get("kept", ""))
            if request.get("probe"):
                run = ProbeRun(config, lambda: 0)
            run.stepper.combiner = _on_host(run.stepper.combiner)
            run.begin_epoch(1)
            metrics = EpochMetrics(list(run.tasks.values()), corpus.sizes())
            steps = list(_steps(run, metrics, request.get("repeats", 1)))
            graphs = run.stepper.graph_cache.graphs if run.stepper.graph_cache else 0
    except Exception:
        return {"error": traceback.format_exc(limit=-8)}
    shape = run.model.encoder.shape
    return {
        "precision": run.precision,
        "attention": kernels.kernel_for(
            run.device, run.model.encoder.dtype, shape.hidden // shape.heads
        ).name,
        "deterministic": (
            torch.are_deterministic_algorithms_enabled()
            and os.environ.get(determinism.VARIABLE) in determinism.VALUES
        ),
        "graphs": graphs,
        "recorded": run.stepper.graph_cache is not None,
        "replayed": run.stepper.graph_cache.replayed if run.stepper.graph_cache else 0,
        "steps": steps,
    }


def _steps(run: Run, metrics: EpochMetrics, repeats: int) -> Iterator[dict[str, Any]]:
    """The first step of every phase, taken so many times; of the memory probe all its steps."""
    for phase in run.plan(1):
        run.freeze(phase.frozen)
        run.optimizers.get(phase.optimizer)  # `Run.warm_up` has created it
        chosen = phase.steps if isinstance(run, ProbeRun) else [phase.steps[0]] * repeats
        for step in chosen:
            with Watched() as watched:
                run.step(phase, step, metrics)
        yield {
            "phase": phase.name,
            "tasks": [draw.task for draw in phase.steps[0]],
            "operators": sum(watched.operators.values()),
            "by_operator": dict(watched.operators.most_common()),
            "bytes": watched.bytes,
            "sent": watched.sent,
            "waits": sorted(set(watched.waits)),
        }


def main() -> None:
    folder = Path(sys.argv[2])
    requests = json.loads((folder / "requests.json").read_text())
    answers = [take_steps(request, folder) for request in requests]
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
