"""What a training step on a GPU must not do, as one verdict on the answer of `fake_cuda.run`."""

from __future__ import annotations

from typing import Any

#: A method that solves for its weights on the host reads the Gramian.  Nothing else may wait.
ALLOWED = {"_to_copy from cuda (3, 3) in loop/step.py:_weights"}
#: Operators of a step with three tasks, by precision.  They may become fewer, and not more.
OPERATORS = {"fp32": 325, "tf32": 325, "fp16": 351, "bf16": 334}
#: Operators that torch refuses on a GPU under `deterministic: true`, because they have no form that
#: gives the same bits again.
NOT_DETERMINISTIC = {
    "_embedding_bag_dense_backward", "bincount", "cumsum", "cumsum_", "grid_sampler_2d_backward",
    "histc", "kthvalue", "median", "nll_loss2d_backward", "nll_loss2d_forward", "put_",
    "scatter_reduce", "scatter_reduce_",
}  # fmt: skip


def waits(answer: dict[str, Any]) -> set[str]:
    """What the host waited for in any of the steps, with the places."""
    return {wait for step in answer["steps"] for wait in step["waits"]}


def problem(request: dict[str, Any], answer: dict[str, Any]) -> str:
    """What is wrong with the steps; empty if nothing is.

    The request's `expects` has values that the answer must have (precision, attention, recorded),
    and with `counts` it limits the operators of a step of round robin.
    """
    if "error" in answer:
        return str(answer["error"])
    if unexpected := waits(answer) - (set() if answer["recorded"] else ALLOWED):
        return f"waits: {', '.join(sorted(unexpected))}"
    for key, value in request.get("expects", {}).items():
        if answer[key] != value:
            return f"{key} is {answer[key]}, not {value}"
    for step in answer["steps"] if request.get("counts") else ():
        if step["operators"] > OPERATORS[answer["precision"]]:
            return f"{step['operators']} operators"
    for step in answer["steps"]:
        if found := NOT_DETERMINISTIC & step["by_operator"].keys():
            return f"no deterministic form: {', '.join(sorted(found))}"
    return ""
